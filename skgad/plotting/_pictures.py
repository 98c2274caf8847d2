"""One image, its anomaly map and its mask: read and checked, never changed."""

import numpy as np

from .._images._decoding import decode
from .._images._files import is_path
from .._images._sequence import fetch
from ..exceptions import ImageError


def read_image(image):
    """Return one image as uint8 RGB of shape (height, width, 3), or raise ImageError."""
    if isinstance(image, list) or (isinstance(image, np.ndarray) and image.ndim == 4):
        raise ImageError(f"image holds {len(image)} images, and one is drawn at a time: pass image=images[0].")
    return np.rint(decode(fetch([image], 0), 0)).astype(np.uint8)


def check_map(anomaly_map):
    """Return a map of distances as an array, or raise ValueError."""
    _refuse_masked("anomaly_map", anomaly_map)
    values = np.asarray(anomaly_map)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "iuf":
        raise ValueError(
            f"anomaly_map must be numbers of shape (map_height, map_width); got shape {values.shape} of "
            f"{values.dtype}. detector.score_maps([image])[0] is one."
        )
    good = np.isfinite(values) & (values >= 0)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise ValueError(
            f"anomaly_map holds {values[row, column]} at row {row}, column {column}; distances are finite and not "
            "negative. For a map of scores, pass -anomaly_map."
        )
    return values


def read_mask(mask):
    """Return where a mask, or the file of one, is anomalous; raise ImageError or ValueError if it is none."""
    if is_path(mask):
        try:
            mask = decode(mask, 0).max(axis=-1)
        except ImageError as error:
            raise ImageError(f"mask: {error}") from error
    _refuse_masked("mask", mask)
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size or mask.dtype.kind not in "biuf":
        raise ValueError(f"mask must have shape (mask_height, mask_width); got shape {mask.shape} of {mask.dtype}.")
    top = mask.max()
    if top not in (0, 1, 255) or not np.isin(mask, (0, top)).all():
        raise ValueError(
            "mask must hold booleans, or only 0 and 1, or only 0 and 255 (normal, anomalous); it has other values. "
            "mask > 0 or mask > 127 makes such a mask."
        )
    return mask > 0


def _refuse_masked(name, values):
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, whose hidden pixels would be drawn. Fill them, .filled(0).")
