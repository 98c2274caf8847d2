"""Regions of an anomaly map: what lies together beyond a threshold, in the photograph's own pixels."""

import numpy as np
from scipy import ndimage

COLUMNS = ("image", "left", "top", "right", "bottom", "x", "y", "area", "peak", "p_value")
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def find_regions(anomaly_map, threshold, box, size):
    """Return the connected regions of a map beyond a threshold, over the eight neighbours of a pixel.

    Parameters
    ----------
    anomaly_map : ndarray of shape (map_height, map_width)
    threshold : float
    box : (left, top, right, bottom)
        What the map covers, in the photograph's own pixels.
    size : (height, width)
        Of the photograph. What a map covers beyond it is no part of a region.

    Returns
    -------
    ndarray of float of shape (n_regions, 8)
        Left, top, right, bottom, the centre of mass x and y, the area, all in the photograph's pixels, and the largest
        distance; the largest one first.
    """
    labels, n_regions = ndimage.label(anomaly_map > threshold, _EIGHT_NEIGHBOURS)
    if not n_regions:
        return np.empty((0, 8))
    (left, top, right, bottom), (height, width) = box, size
    scale_x, scale_y = (right - left) / anomaly_map.shape[1], (bottom - top) / anomaly_map.shape[0]
    rows = []
    for number, (down, across) in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[down, across] == number
        edges = (
            left + scale_x * across.start,
            top + scale_y * down.start,
            left + scale_x * across.stop,
            top + scale_y * down.stop,
        )
        y, x = np.argwhere(inside).mean(axis=0) + 0.5
        rows.append(
            [
                *np.clip(edges, 0, (width, height, width, height)),
                left + scale_x * (across.start + x),
                top + scale_y * (down.start + y),
                inside.sum() * scale_x * scale_y,
                anomaly_map[down, across][inside].max(),
            ]
        )
    found = np.array(rows)
    found = found[(found[:, 0] < found[:, 2]) & (found[:, 1] < found[:, 3])]  # not those that lie in the padding
    return found[np.argsort(-found[:, 7], kind="stable")]


def lay_over(anomaly_map, box, size):
    """Return a map for every pixel of its photograph, (height, width), float32: bilinear, 0 outside of the box.

    Parameters
    ----------
    anomaly_map, box, size
        As in `find_regions`.
    """
    if box == (0.0, 0.0, float(size[1]), float(size[0])) and anomaly_map.shape == tuple(size):
        return anomaly_map
    left, top, right, bottom = box
    rows = (np.arange(size[0]) + 0.5 - top) / (bottom - top) * anomaly_map.shape[0] - 0.5
    columns = (np.arange(size[1]) + 0.5 - left) / (right - left) * anomaly_map.shape[1] - 0.5
    down, across = (_interpolate(at, n) for at, n in zip((rows, columns), anomaly_map.shape, strict=True))
    values = down @ (across @ anomaly_map.T.astype(np.float32)).T
    values[(rows < -0.5) | (rows > anomaly_map.shape[0] - 0.5)] = 0
    values[:, (columns < -0.5) | (columns > anomaly_map.shape[1] - 0.5)] = 0
    return values


def _interpolate(at, n_from):
    """Return the sparse matrix (n_to, n_from) that takes values at these places between the pixels of a line."""
    from scipy import sparse

    at = np.clip(at, 0, n_from - 1)
    before = np.minimum(at.astype(int), max(n_from - 2, 0))
    share = at - before
    index = np.arange(len(at))
    after = np.minimum(before + 1, n_from - 1)
    values = np.concatenate([1 - share, share]).astype(np.float32)
    places = np.concatenate([index, index]), np.concatenate([before, after])
    return sparse.csr_array((values, places), shape=(len(at), n_from))
