"""Where the square that a network sees lies in its photograph, for each rule of resizing.

A *box* is (left, top, right, bottom) in the photograph's own pixels, as Pillow takes it: pixel (0, 0) reaches from 0 to
1, so that the whole photograph is (0, 0, width, height). A box may be cut anywhere in a pixel; where a rule pads, it
reaches beyond the photograph. The photograph is as it is seen, turned as its EXIF orientation says.
"""

import math


def whole_box(height, width):
    """Return the box of a photograph that is stretched to the square, whatever its shape."""
    return 0.0, 0.0, float(width), float(height)


def cropped_box(height, width, image_size, crop_pct, crop_mode):
    """Return the box of a photograph that is resized, and then cropped or padded about its centre, as timm does.

    Parameters
    ----------
    height, width : int
        Of the photograph.
    image_size : int
        Side of the square.
    crop_pct : float
        The side of the square as a share of what is cropped.
    crop_mode : {"center", "squash", "border"}
        What is made as long as that before the crop: the shorter side, both, or the longer one.
    """
    resized = _resize(height, width, math.floor(image_size / crop_pct), crop_mode)
    (top, bottom), (left, right) = (
        _cut(n, n_resized, image_size) for n, n_resized in zip((height, width), resized, strict=True)
    )
    return left, top, right, bottom


def _resize(height, width, side, crop_mode):
    """Return the height and width between the two steps; the rounding is torchvision's and timm's."""
    if crop_mode == "squash":
        return side, side
    if crop_mode == "border":
        ratio = max(height / side, width / side)
        return round(height / ratio), round(width / ratio)
    shorter, longer = min(height, width), max(height, width)
    longer_resized = int(side * longer / shorter)
    return (longer_resized, side) if height > width else (side, longer_resized)


def _cut(n, n_resized, image_size):
    """Return where the square begins and ends along a side of n pixels, resized to `n_resized`."""
    spare = n_resized - image_size
    first = round(spare / 2) if spare >= 0 else -(-spare // 2)
    return first * n / n_resized, (first + image_size) * n / n_resized
