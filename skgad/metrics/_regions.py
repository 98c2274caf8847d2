"""The pixels of one image after the other, split by its mask: normal ones, and the regions of the anomalous ones.

Only one image is held at a time, so that masks and maps may be generators. Every refusal names the image's position.
"""

from collections.abc import Iterable, Mapping, Set
from itertools import zip_longest
from os import PathLike

import numpy as np
from scipy import ndimage

from ._checks import check_labels, to_array

_ABSENT = object()
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def read_pixels(masks, maps, y=None):
    """Yield each image's normal values, its anomalous values, and the share that each of these has in its region.

    Parameters
    ----------
    masks : iterable of array-like of shape (height, width), or None for a normal image
    maps : iterable of array-like of shape (height, width)
    y : array-like of shape (n_images,), default=None
        Labels that the masks must agree with, +1 normal and -1 anomalous.

    Yields
    ------
    normal : ndarray of shape (n_normal_pixels,)
    anomalous : ndarray of shape (n_anomalous_pixels,)
    shares : ndarray of float of shape (n_anomalous_pixels,)
        One over the size of the region that the pixel belongs to: they sum to the number of regions.

    Raises
    ------
    ValueError
        If a mask or a map cannot be used, a mask does not agree with its label, or there are not as many of one as of
        the other.
    TypeError
        If `masks` or `maps` cannot be iterated over, or has no order.
    """
    for name, images in (("masks", masks), ("maps", maps)):
        if isinstance(images, (str, bytes, Mapping, Set)) or not isinstance(images, Iterable):
            raise TypeError(f"{name} must be a sequence or an iterable of images; got {type(images).__name__}.")
    sources = {"masks": masks, "maps": maps} | ({} if y is None else {"y": check_labels(y)})
    for position, items in enumerate(zip_longest(*sources.values(), fillvalue=_ABSENT)):
        ended = [name for name, item in zip(sources, items, strict=True) if item is _ABSENT]
        if ended:
            longer = next(name for name in sources if name not in ended)
            raise ValueError(
                f"{ended[0]} ends after {position} images, but {longer} goes on; give one of each an image."
            )
        mask, image, *label = items
        pixels = _split(_check_map(image, position), mask, position)
        if label:
            _check_agreement(label[0], mask, len(pixels[1]), position)
        yield pixels


def _check_agreement(label, mask, n_anomalous, position):
    if (label == -1) == (n_anomalous > 0):
        return
    if label == 1:
        raise ValueError(
            f"masks[{position}] marks {n_anomalous} anomalous pixels, but y[{position}] is +1, normal. Are masks and y "
            "in the same order?"
        )
    what = "is None" if mask is None else "marks no pixel"
    raise ValueError(
        f"masks[{position}] {what}, but y[{position}] is -1: all pixels of an anomalous image would count as normal. "
        "Give its mask, or leave the image out of masks, maps and y."
    )


def _split(values, mask, position):
    anomalous = None if mask is None else _check_mask(mask, values.shape, position)
    if anomalous is None or not anomalous.any():
        return values.flatten(), values[:0, 0], np.empty(0)  # a copy: a generator may write its next map here
    regions, _ = ndimage.label(anomalous, structure=_EIGHT_NEIGHBOURS)
    regions = regions[anomalous]
    return values[~anomalous], values[anomalous], 1 / np.bincount(regions)[regions]


def _check_map(image, position):
    values = to_array(f"maps[{position}]", image)
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
    mask = to_array(f"masks[{position}]", mask)
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
