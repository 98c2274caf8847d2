"""One image, its anomaly map and its mask: read and checked, never changed."""

import numpy as np

from .._images._geometry import whole_box
from .._images._interest import decode_bytes
from .._images._sequence import fetch
from ..exceptions import ImageError
from ._numbers import refuse_masked


def read_image(image):
    """Return one image as uint8 RGB of shape (height, width, 3), or raise ImageError."""
    if isinstance(image, list) or (isinstance(image, np.ndarray) and image.ndim == 4):
        raise ImageError(f"image holds {len(image)} images, and one is drawn at a time: pass image=images[0].")
    return decode_bytes(fetch([image], 0), 0)


def check_map(anomaly_map):
    """Return a map of distances as an array, or raise ValueError."""
    refuse_masked("anomaly_map", anomaly_map)
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


def check_box(box, height, width):
    """Return a box in an image of this size, the whole image for None, as floats; raise ValueError if it is none."""
    if box is None:
        return whole_box(height, width)
    refuse_masked("box", box)
    values = np.asarray(box)
    if values.shape != (4,) or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"box must be four numbers, (left, top, right, bottom), in pixels of the image; got {box!r}.")
    left, top, right, bottom = map(float, values)
    if not (left < min(right, width) and top < min(bottom, height) and right > 0 and bottom > 0):
        raise ValueError(
            f"box must be (left, top, right, bottom) with left < right and top < bottom, and meet the image of "
            f"{width} x {height} pixels; got {box!r}."
        )
    return left, top, right, bottom
