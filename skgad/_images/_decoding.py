"""One image in whatever form it comes, checked and decoded: a path, an array, a tensor or a PIL image.

All end as an array (H, W, 3) on the scale 0 to 255. `_files`, `_arrays` and `_pillow` have the rule of each form.
"""

import numpy as np
from PIL import Image

from ..exceptions import ImageError
from ._arrays import check_form, is_tensor, scale_array, to_array
from ._files import find_size, is_path, name_image, read_bytes
from ._pillow import decode_file, decode_picture, measure_file, measure_picture


def check_image(item, position):
    """Raise ImageError if it can be seen without decoding that an item is no image, or that its file is not there."""
    name = name_image(item, position)
    if is_path(item):
        find_size(item, position)
    elif is_tensor(item):
        check_form(to_array(item, name), name, was_tensor=True)
    elif isinstance(item, np.ndarray) and item.dtype.kind in "OSTU":
        raise ImageError(f"{name} is an array of {item.dtype.name}; for an array of paths pass X.ravel().")
    elif isinstance(item, np.ndarray):
        check_form(item, name)
    elif not isinstance(item, Image.Image):
        value = f" ({item!r})" if isinstance(item, (bool, int, float)) else ""
        raise ImageError(f"{name} is {type(item).__name__}{value}, no path, array, tensor or PIL image.")


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
        If it cannot be decoded, or its shape, type or values are not those of an image.
    """
    name = name_image(item, position)
    if is_path(item):
        return decode_file(read_bytes(item, position) if content is None else content, name)
    check_image(item, position)
    if isinstance(item, Image.Image):
        return decode_picture(item, name)
    return scale_array(to_array(item, name) if is_tensor(item) else item, name)


def measure(item, position):
    """Return the height and width of an image, as `decode` would give it; of a file, only the head is read.

    Parameters
    ----------
    item, position
        As in `decode`.

    Raises
    ------
    ImageError
        As `decode` does, as far as can be told without decoding.
    """
    name = name_image(item, position)
    check_image(item, position)
    if is_path(item):
        return measure_file(item, name)
    if isinstance(item, Image.Image):
        return measure_picture(item)
    return (to_array(item, name) if is_tensor(item) else item).shape[:2]
