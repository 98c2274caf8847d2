"""Images in whatever form they come, checked, and decoded one at a time to RGB.

One rule for each form. Files and PIL images: the EXIF orientation is applied; palettes are resolved; an alpha channel
is dropped; grey is repeated in three channels; 16-bit grey is divided by 257. Arrays: (H, W) or (H, W, C) with 1, 3 or
4 channels; uint8 as it is, uint16 divided by 257, floats taken for the range 0 to 1. All end on the scale 0 to 255.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..exceptions import ImageError

_REMEDY = "X must be a list of paths, an array of shape (n, H, W) or (n, H, W, 3), or a list of such images"


def check_images(X):
    """Return `X` as a sequence of images, with all that can be seen without decoding checked.

    Raises
    ------
    ImageError
        If there is no image, an item is no image, or a file is missing. The message names the position.
    """
    if isinstance(X, (str, os.PathLike)):
        raise ImageError(f"X is a single path, {str(X)!r}; pass a list of paths. For a folder: load_image_folder.")
    if isinstance(X, np.ndarray) and X.dtype != object and X.dtype.kind not in "US":
        return _check_array(X)
    if hasattr(X, "columns"):
        raise ImageError("X is a frame; pass the column that holds the paths, X['path'], not the frame.")
    if hasattr(X, "__next__"):
        raise ImageError("X is an iterator, which could be gone through only once; pass list(X).")
    try:
        items = list(X)
    except TypeError:
        raise ImageError(f"X is {type(X).__name__}. {_REMEDY}.") from None
    if not items:
        raise ImageError(f"X is empty, n_samples = 0. {_REMEDY}.")
    for position, item in enumerate(items):
        _check_item(item, position)
    return items


def decode(item, position):
    """Return an image as an array (H, W, 3) on the scale 0..255, uint8 or float32.

    Raises
    ------
    ImageError
        If it cannot be decoded, or its shape, type or values are none of those above.
    """
    name = f"image {position}"
    if isinstance(item, np.ndarray):
        return _decode_array(item, name)
    try:
        if isinstance(item, Image.Image):
            return _decode_pil(item, name)
        name = f"{name}, {os.fspath(item)!r}"
        with Image.open(item) as image:
            return _decode_pil(image, name)
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise what they like on broken files
        raise ImageError(f"{name}, cannot be read: {error}. Is it a whole image file?") from error


def read_bytes(path, position):
    """Return a file's bytes, or raise ImageError with its path and position."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"image {position}, {os.fspath(path)!r}, cannot be read: {error}.") from error


def _check_array(X):
    if X.ndim not in (3, 4):
        raise ImageError(f"X has shape {X.shape}. {_REMEDY}.")
    if len(X) == 0:
        raise ImageError(f"X is empty, n_samples = 0 (shape {X.shape}). {_REMEDY}.")
    if X.ndim == 3 and X.shape[-1] in (1, 3, 4):
        raise ImageError(f"X of shape {X.shape} looks like one colour image; pass X[np.newaxis] for a single image.")
    _check_item(X[0], 0)
    return X


def _check_item(item, position):
    if isinstance(item, (str, os.PathLike)):
        if not os.path.isfile(item):
            what = "this is a folder" if os.path.isdir(item) else "there is no such file"
            raise ImageError(f"image {position}, {os.fspath(item)!r}: {what}.")
    elif isinstance(item, np.ndarray) and item.dtype.kind in "OUS":
        raise ImageError(f"image {position} is an array of {item.dtype.name}; for an array of paths pass X.ravel().")
    elif isinstance(item, np.ndarray):
        _check_form(item, f"image {position}")
    elif not isinstance(item, Image.Image):
        raise ImageError(f"image {position} is {type(item).__name__}, neither path nor array nor PIL image. {_REMEDY}.")


def _check_form(image, name):
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] not in (1, 3, 4)):
        raise ImageError(f"{name} has shape {image.shape}; (H, W) or (H, W, C) with 1, 3 or 4 channels is needed.")
    if 0 in image.shape:
        raise ImageError(f"{name} has shape {image.shape}: no pixels.")
    if image.dtype.kind != "f" and (image.dtype.kind, image.dtype.itemsize) not in (("u", 1), ("u", 2)):
        raise ImageError(
            f"{name} has type {image.dtype}; uint8, uint16 or floats in [0, 1] are needed. Is it on the scale 0..255? "
            "Then pass it .astype(np.uint8)."
        )


def _decode_array(image, name):
    _check_form(image, name)
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            raise ImageError(f"{name} has NaN or infinite values.")
        low, high = image.min(), image.max()
        if low < 0 or high > 1:
            raise ImageError(
                f"{name} has floats from {low:.4g} to {high:.4g}; they must lie in [0, 1]: divide by 255, or pass uint8"
            )
        image = image.astype(np.float32) * np.float32(255)
    elif image.dtype.itemsize == 2:
        image = image.astype(np.float32) / np.float32(257)
    image = image[..., np.newaxis] if image.ndim == 2 else image[..., :3]
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _decode_pil(image, name):
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _decode_array(np.asarray(image).astype(np.uint16), name)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name} has {image.mode!r} pixels of 32 bits, whose range is unknown; convert it to 8 or 16 bits."
        )
    return np.asarray(image.convert("RGB"))
