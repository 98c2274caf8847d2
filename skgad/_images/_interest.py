"""Regions of interest: masks of what is learnt and scored in an image. What they leave out is painted over.

A photograph and its mask go on together, as four channels: red, green, blue, and where it is of interest, 255, or 0.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..exceptions import ImageError
from ._decoding import decode
from ._files import is_path


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """An image with a region of interest of its own, to stand among the images that an extractor or detector takes.

    Parameters
    ----------
    image : path, PIL image, tensor or array
        One image, as `skgad.DeepFeatureTransformer` takes it.
    roi : path, or array-like of shape (height, width)
        The region of interest, of the image's own size, as it is seen: booleans, 0 and 1, or 0 and 255. Pixels at 0 are
        neither learnt nor scored, nor do they change what is.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.deep import MaskedImage
    >>> image = np.zeros((64, 64, 3), dtype=np.uint8)
    >>> roi = np.zeros((64, 64), dtype=bool)
    >>> roi[:, :40] = True
    >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[6], image_size=64)
    >>> features.fit_transform([MaskedImage(image, roi)]).shape
    (1, 112)
    """

    image: Any
    roi: Any


class Interest:
    """A region of interest for all images of a set.

    Parameters
    ----------
    roi : path, or array-like of shape (height, width)

    Attributes
    ----------
    mask : ndarray of bool of shape (height, width)
    digest : str
        Of its shape and pixels.

    Raises
    ------
    ImageError
        If it is a file that cannot be read.
    ValueError
        If it is no mask, or leaves nothing.
    """

    def __init__(self, roi):
        self.mask = read_mask(roi, "roi")
        if not self.mask.any():
            raise ValueError("roi is 0 everywhere: nothing is left to learn. Pixels of interest are 1 or 255.")
        self.digest = digest_mask(self.mask)


def read_mask(mask, name):
    """Return where a mask, or the file of one, is set; raise ImageError or ValueError if it is none.

    Parameters
    ----------
    mask : path, or array-like of shape (height, width)
        Booleans, 0 and 1, or 0 and 255.
    name : str
        What errors call it.
    """
    if is_path(mask):
        try:
            mask = decode(mask, 0).max(axis=-1)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
    if isinstance(mask, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array. Fill what is masked, {name}.filled(value).")
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size or mask.dtype.kind not in "biuf":
        raise ValueError(f"{name} must have shape (height, width); got shape {mask.shape} of {mask.dtype}.")
    top = mask.max()
    if top not in (0, 1, 255) or not np.isin(mask, (0, top)).all():
        raise ValueError(
            f"{name} must hold booleans, or only 0 and 1, or only 0 and 255; it has other values. {name} > 0 or "
            f"{name} > 127 makes such a mask."
        )
    return mask > 0


def read_lit(path, values=False):
    """Return where the mask in a file is not 0, whatever its values, or the values; raise ImageError."""
    grey = decode(path, 0).max(axis=-1)
    return grey if values else grey > 0


def digest_mask(mask):
    """Return a text that tells masks apart."""
    return hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()


def split(item):
    """Return an image and its own region of interest; None for an image without."""
    return (item.image, item.roi) if isinstance(item, MaskedImage) else (item, None)


def decode_bytes(item, position):
    """Return an image, without its region of interest, as bytes, (height, width, 3); raise ImageError as `decode`."""
    pixels = decode(split(item)[0], position)
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels).astype(np.uint8)


def read_own(roi, name):
    """Return the mask of an image's own region of interest, None for None; raise ImageError that names the image."""
    try:
        return None if roi is None else read_mask(roi, "roi")
    except ValueError as error:
        raise ImageError(f"{name}: {error}") from error


def find_interest(image, own, common, name):
    """Return what is of interest in a decoded image, (height, width); None for all of it.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3)
    own : ndarray of bool or None
        The image's own, as `read_own` gives it.
    common : Interest or None
        That of all images.
    name : str
        What errors call the image.

    Raises
    ------
    ImageError
        If a mask is of another size than the image, or nothing is left.
    """
    masks = [mask for mask in (None if common is None else common.mask, own) if mask is not None]
    for mask in masks:
        if mask.shape != image.shape[:2]:
            raise ImageError(
                f"{name} has {image.shape[0]} x {image.shape[1]} pixels, and its region of interest "
                f"{mask.shape[0]} x {mask.shape[1]}: it must have the size of the photograph, as it is seen."
            )
    if not masks:
        return None
    whole = np.logical_and.reduce(masks)
    if not whole.any():
        raise ImageError(f"{name}: its region of interest is empty, so nothing is left to learn or to score.")
    return whole


def paint_over(image, interest, colour):
    """Return an image whose pixels of no interest have one colour, on the scale 0..255."""
    painted = image.copy()
    painted[~interest] = np.rint(colour).astype(image.dtype)
    return painted
