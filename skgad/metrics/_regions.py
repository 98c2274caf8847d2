"""Masks and maps, taken one image at a time: checked, and split into normal and anomalous pixels.

Only one image is held at a time, so that either side may be a generator. Every refusal names the image's position.
"""

from collections.abc import Iterable
from itertools import zip_longest
from os import PathLike

import numpy as np
from scipy import ndimage

_ABSENT = object()
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def read_pixels(masks, maps):
    """Yield each image's normal values, its anomalous values, and the share that each of these has in its region.

    Parameters
    ----------
    masks : iterable of array-like of shape (height, width), or None for a normal image
    maps : iterable of array-like of shape (height, width)

    Yields
    ------
    normal : ndarray of shape (n_normal_pixels,)
    anomalous : ndarray of shape (n_anomalous_pixels,)
    shares : ndarray of float of shape (n_anomalous_pixels,)
        One over the size of the region that the pixel belongs to: they sum to the number of regions.

    Raises
    ------
    ValueError
        If a mask or a map cannot be used, or there are not as many of one as of the other.
    TypeError
        If `masks` or `maps` cannot be iterated over.
    """
    for name, images in (("masks", masks), ("maps", maps)):
        if isinstance(images, (str, bytes)) or not isinstance(images, Iterable):
            raise TypeError(f"{name} must be a sequence or an iterable of images; got {type(images).__name__}.")
    for position, (mask, image) in enumerate(zip_longest(masks, maps, fillvalue=_ABSENT)):
        if mask is _ABSENT or image is _ABSENT:
            short, long = ("masks", "maps") if mask is _ABSENT else ("maps", "masks")
            raise ValueError(f"{short} ends after {position} images, but {long} goes on; give one of each an image.")
        yield _split(_check_map(image, position), mask, position)


def _split(values, mask, position):
    anomalous = None if mask is None else _check_mask(mask, values.shape, position)
    if anomalous is None or not anomalous.any():
        return values.flatten(), values[:0, 0], np.empty(0)  # a copy: a generator may write its next map here
    regions, _ = ndimage.label(anomalous, structure=_EIGHT_NEIGHBOURS)
    regions = regions[anomalous]
    return values[~anomalous], values[anomalous], 1 / np.bincount(regions)[regions]


def _check_map(image, position):
    values = np.asarray(image)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "biuf":
        raise ValueError(
            f"maps[{position}] must be an array of real numbers of shape (height, width); got shape {values.shape} of "
            f"{values.dtype}. A single map goes into a list; itertools.chain.from_iterable joins batches of maps."
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"maps[{position}] holds {values[row, column]} at row {row}, column {column}; every pixel needs a finite "
            "distance. Leave the image out of both masks and maps, or mend its map."
        )
    return values


def _check_mask(mask, shape, position):
    """Return where the mask is anomalous."""
    if isinstance(mask, (str, bytes, PathLike)):
        raise ValueError(
            f"masks[{position}] is a path, {mask!r}; give what it holds: np.asarray(PIL.Image.open(path).convert('L'))."
        )
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise ValueError(
            f"masks[{position}] has shape {mask.shape}, but maps[{position}] has {shape}; wanted is (height, width). "
            "Resize the map to the mask, not the mask to the map: the ground truth should stay what it is."
        )
    top = mask.max() if mask.dtype.kind in "biuf" else None
    anomalous = mask == top
    if top not in (0, 1, 255) or not (anomalous | (mask == 0)).all():
        raise ValueError(
            f"masks[{position}] must hold booleans, or only 0 and 1, or only 0 and 255 (normal, anomalous); got "
            f"{mask.dtype} with other values. masks > 0 or masks > 127 makes such a mask; masks come before maps."
        )
    return anomalous if top else None
