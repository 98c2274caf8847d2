"""Images in whatever form they come, checked, and decoded one at a time to RGB.

One rule for each form. Files and PIL images: the first frame counts; the EXIF orientation is applied; palettes are
resolved; an alpha channel is dropped; grey is repeated in three channels; 16-bit grey is divided by 257 (Pillow reads
16-bit colour as 8-bit). Arrays: (H, W) or (H, W, C) with 1, 3 or 4 channels; tensors: (H, W) or (C, H, W); uint8 as it
is, uint16 divided by 257, floats taken for the range 0 to 1. Of a pair (image, target), as a Dataset gives, the image
counts. All end on the scale 0 to 255.
"""

import os
import sys
import threading
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from ..exceptions import ImageError

_ROUNDING = 1e-5  # by so much floats may miss [0, 1]
_LOADING = threading.Lock()  # a PIL image that is read late may be in a list twice, or shared by threads

_REMEDY = (
    "X must be a list of paths, an array of shape (n, H, W) or (n, H, W, 3), a tensor (n, 3, H, W), a list of such "
    "images, or a Dataset"
)


def check_images(X, files=True):
    """Return `X` as a sequence of images, with all that can be seen without decoding checked.

    Parameters
    ----------
    X : sequence of images
    files : bool, default=True
        Whether a file must be there.

    Raises
    ------
    ImageError
        If there is no image, an item is no image, or a file is missing. The message names the position.
    """
    if isinstance(X, (str, os.PathLike)):
        raise ImageError(f"X is a single path, {str(X)!r}; pass a list of paths. For a folder: load_image_folder.")
    if _is_tensor(X):
        return _check_array(_to_array(X, "X", batch=True))
    if isinstance(X, np.ndarray) and X.dtype != object and X.dtype.kind not in "US":
        return _check_array(X)
    if hasattr(X, "columns"):
        raise ImageError("X is a frame; pass the column that holds the paths, X['path'], not the frame.")
    if hasattr(X, "__next__"):
        raise ImageError("X is an iterator, which could be gone through only once; pass list(X).")
    if _is_dataset(X):
        return _check_dataset(X)
    try:
        items = list(X)
    except TypeError:
        raise ImageError(f"X is {type(X).__name__}. {_REMEDY}.") from None
    if not items:
        raise ImageError(f"X is empty, n_samples = 0. {_REMEDY}.")
    for position, item in enumerate(items):
        _check_item(_drop_target(item), position, files)
    return items


def fetch(images, position):
    """Return one image of a sequence.

    Raises
    ------
    ImageError
        If it is a Dataset that cannot give it.
    """
    if not _is_dataset(images):
        return _drop_target(images[position])
    try:
        return _drop_target(images[position])
    except Exception as error:  # a Dataset raises what it likes
        raise ImageError(f"image {position} of the Dataset cannot be read: {error}.") from error


def is_path(item):
    """Return whether an image is given by its path."""
    return isinstance(item, (str, os.PathLike))


def decode(item, position, content=None):
    """Return an image as an array (H, W, 3) on the scale 0..255, uint8 or float32.

    Parameters
    ----------
    item : path, array, tensor or PIL image
    position : int
        Where it stands in ``X``, for the error.
    content : bytes, default=None
        Of the file, where it has been read.

    Raises
    ------
    ImageError
        If it cannot be decoded, or its shape, type or values are none of those above.
    """
    name = f"image {position}"
    if _is_tensor(item):
        item = _to_array(item, name, batch=False)
    if isinstance(item, np.ndarray):
        return _decode_array(item, name)
    try:
        if isinstance(item, Image.Image):
            with _LOADING:
                item.load()
            return _decode_pil(item, name)
        _check_item(item, position)
        name = f"{name}, {os.fspath(item)!r}"
        with Image.open(BytesIO(read_bytes(item, position) if content is None else content)) as image:
            return _decode_pil(image, name)
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise what they like on broken files
        reason = "it is empty" if content == b"" else str(error).split(" <_io.BytesIO")[0].rstrip(".")
        raise ImageError(f"{name}, cannot be read: {reason}. Is it a whole image file?") from error


def read_bytes(path, position):
    """Return a file's bytes, or raise ImageError with its path and position."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ImageError(
            f"image {position}, {os.fspath(path)!r}, cannot be read: {error.strerror or error}."
        ) from error


def _is_tensor(item):
    torch = sys.modules.get("torch")  # whoever passes a tensor has imported torch
    return torch is not None and isinstance(item, torch.Tensor)


def _is_dataset(X):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.utils.data.Dataset)


def _to_array(tensor, name, batch):
    """Return a tensor with channels first as an array with channels last."""
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy knows no bfloat16
    array = tensor.detach().cpu().numpy()
    n_axes = array.ndim - batch
    if n_axes == 3 and array.shape[-3] not in (1, 3, 4):
        form = "(n, C, H, W)" if batch else "(C, H, W)"
        raise ImageError(f"{name} is a tensor of shape {tuple(tensor.shape)}; {form} with C = 1, 3 or 4 is needed.")
    if batch and array.ndim == 3 and len(array) in (3, 4):
        raise ImageError(
            f"X is a tensor of shape {tuple(tensor.shape)}: one colour image, or {len(array)} grey ones? Pass X[None] "
            "for the one, X[:, None] for the others."
        )
    return np.moveaxis(array, -3, -1) if n_axes == 3 else array


def _drop_target(item):
    return item[0] if isinstance(item, tuple) and len(item) else item


def _check_dataset(X):
    if not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise ImageError("X is a Dataset without length or without access by position; pass one that has both.")
    if len(X) == 0:
        raise ImageError(f"X is empty, n_samples = 0. {_REMEDY}.")
    return X


def _check_array(X):
    if X.ndim not in (3, 4):
        raise ImageError(f"X has shape {X.shape}. {_REMEDY}.")
    if len(X) == 0:
        raise ImageError(f"X is empty, n_samples = 0 (shape {X.shape}). {_REMEDY}.")
    if X.ndim == 3 and X.shape[-1] in (1, 3, 4):
        raise ImageError(f"X of shape {X.shape} looks like one colour image; pass X[np.newaxis] for a single image.")
    _check_item(X[0], 0)
    return X


def _check_item(item, position, files=True):
    if is_path(item):
        if files and not os.path.isfile(item):
            what = "this is a folder" if os.path.isdir(item) else "there is no such file"
            raise ImageError(f"image {position}, {os.fspath(item)!r}: {what}.")
    elif isinstance(item, np.ndarray) and item.dtype.kind in "OUS":
        raise ImageError(f"image {position} is an array of {item.dtype.name}; for an array of paths pass X.ravel().")
    elif _is_tensor(item):
        _check_form(_to_array(item, f"image {position}", batch=False), f"image {position}")
    elif isinstance(item, np.ndarray):
        _check_form(item, f"image {position}")
    elif not isinstance(item, Image.Image):
        raise ImageError(f"image {position} is {type(item).__name__}, no path, array, tensor or PIL image. {_REMEDY}.")


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
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise ImageError(
                f"{name} has floats from {low:.6g} to {high:.6g}; they must lie in [0, 1]: divide by 255, or pass uint8"
            )
        image = np.clip(image.astype(np.float32), 0, 1) * np.float32(255)
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
