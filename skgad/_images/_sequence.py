"""Images in whatever sequence they come, checked, and handed out one at a time.

A list, array or Series of paths, arrays, tensors or PIL images; an array or a tensor of images; a map-style Dataset. Of
a pair (image, target), as a Dataset gives, the image counts. Any of them may be a `MaskedImage`.
"""

import sys
from collections.abc import Mapping

import numpy as np

from ..exceptions import ImageError
from ._arrays import check_form, is_tensor, to_array
from ._decoding import check_image, measure
from ._files import is_path
from ._interest import split

_REMEDY = (
    "X must be a list of paths, an array of shape (n, H, W) or (n, H, W, 3), a tensor (n, 3, H, W), a list of such "
    "images, or a Dataset"
)


def check_images(X, items=True):
    """Return `X` as a sequence of images, with all that can be seen without decoding checked.

    Parameters
    ----------
    X : sequence of images
    items : bool, default=True
        Whether each item of a list must be an image, and its file be there. If not, a bad item, such as a missing path,
        is an error when it is decoded.

    Raises
    ------
    ImageError
        If `X` is no sequence, there is no image, or an item is none; the message names its position.
    """
    if is_tensor(X):
        return _check_array(to_array(X, "X", batch=True), was_tensor=True)
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OSTU":
        return _check_array(X)
    if _is_dataset(X):
        return _check_dataset(X)
    _refuse_other_containers(X)
    try:
        images = list(X)
    except TypeError:
        raise ImageError(f"X is {type(X).__name__}. {_REMEDY}.") from None
    if not images:
        raise ImageError(f"X is empty, n_samples = 0. {_REMEDY}.")
    for position, item in enumerate(images if items else ()):
        check_image(split(_drop_target(item))[0], position)
    return images


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
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(f"image {position} of the Dataset cannot be read: {reason}.") from error


def measure_image(images, position):
    """Return the height and width of one image of a sequence, as it is seen; raise ImageError as `fetch` does."""
    return measure(split(fetch(images, position))[0], position)


def find_first_size(images, strict=True):
    """Return the height and width of the first image of a sequence; if not `strict`, of the first that can be used.

    Raises
    ------
    ImageError
        If it, or every one, cannot be used.
    """
    for position in range(len(images)):
        try:
            return measure_image(images, position)
        except ImageError:
            if strict or position == len(images) - 1:
                raise
    raise ImageError("there is no image.")


def _refuse_other_containers(X):
    """Raise ImageError for what Python can go through, but not as a sequence of images."""
    if is_path(X):
        raise ImageError(f"X is a single path, {str(X)!r}; pass a list of paths. For a folder: load_image_folder.")
    if isinstance(X, (bytes, bytearray, memoryview)):
        raise ImageError(f"X is {type(X).__name__}; pass a list of paths, of type str. {_REMEDY}.")
    if isinstance(X, np.ndarray) and X.ndim > 1:
        raise ImageError(
            f"X is an array of {X.dtype.name}, of shape {X.shape}; pass X.ravel() of paths, X.astype(np.uint8) of "
            "pixels."
        )
    if hasattr(X, "columns"):
        raise ImageError("X is a frame; pass the column that holds the paths, X['path'], not the frame.")
    if isinstance(X, Mapping):
        raise ImageError(f"X is {type(X).__name__}, whose keys would count as the images; pass list(X.values()).")
    if isinstance(X, (set, frozenset)):
        raise ImageError(f"X is a {type(X).__name__}, whose order differs from process to process; pass sorted(X).")
    if hasattr(X, "__next__"):
        raise ImageError("X is an iterator, which could be gone through only once; pass list(X).")


def _is_dataset(X):
    torch = sys.modules.get("torch")  # whoever passes a Dataset has imported torch
    return torch is not None and isinstance(X, torch.utils.data.Dataset)


def _drop_target(item):
    return item[0] if isinstance(item, tuple) and len(item) else item


def _check_dataset(X):
    if not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise ImageError("X is a Dataset without length or without access by position; pass one that has both.")
    if len(X) == 0:
        raise ImageError(f"X is empty, n_samples = 0. {_REMEDY}.")
    return X


def _check_array(X, was_tensor=False):
    if X.ndim not in (3, 4):
        raise ImageError(f"X has shape {X.shape}. {_REMEDY}.")
    if len(X) == 0:
        raise ImageError(f"X is empty, n_samples = 0 (shape {X.shape}). {_REMEDY}.")
    if X.ndim == 3 and X.shape[-1] in (1, 3, 4):
        raise ImageError(f"X of shape {X.shape} looks like one colour image; pass X[np.newaxis] for a single image.")
    check_form(X[0], "image 0", was_tensor)
    return X
