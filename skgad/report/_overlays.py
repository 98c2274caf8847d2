"""A photograph with its anomaly map over it and boxes around its regions, as a small picture. No matplotlib."""

import numpy as np
from PIL import Image, ImageDraw

from .._images._interest import decode_bytes
from ..spatial._found_regions import lay_over

_HOT = np.array([213.0, 94.0, 0.0])  # vermillion, as in the displays
_MOST = 0.65  # of the colour, at twice the threshold


def read_small(item, side):
    """Return a photograph as a picture of at most so many pixels a side, and its own height and width.

    Parameters
    ----------
    item : image
    side : int

    Returns
    -------
    picture : PIL.Image.Image
    size : (height, width)

    Raises
    ------
    ImageError
        If it cannot be used.
    """
    pixels = decode_bytes(item, 0)
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return picture, pixels.shape[:2]


def lay_map_over(picture, size, anomaly_map, box, threshold, regions=()):
    """Return a picture with what is anomalous in it coloured, and boxes around regions.

    Parameters
    ----------
    picture : PIL.Image.Image
    size : (height, width)
        Of the photograph, of which it is a smaller picture.
    anomaly_map : ndarray of shape (map_height, map_width)
        Distances.
    box : (left, top, right, bottom)
        What the map covers, in the photograph's pixels.
    threshold : float
        The distance from which on a place is anomalous; colour begins at half of it, and is full at twice.
    regions : sequence of (left, top, right, bottom)
        In the photograph's pixels.
    """
    scale = np.array([picture.width / size[1], picture.height / size[0]])
    small = lay_over(anomaly_map, tuple(np.array(box) * np.tile(scale, 2)), (picture.height, picture.width))
    share = _MOST * np.clip((small / threshold - 0.5) / 1.5, 0, 1)[:, :, np.newaxis]
    drawn = Image.fromarray(np.rint(np.asarray(picture) * (1 - share) + _HOT * share).astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for region in regions:
        left, top, right, bottom = np.array(region) * np.tile(scale, 2)
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=(255, 255, 255), width=3)
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=(0, 0, 0), width=1)
    return drawn
