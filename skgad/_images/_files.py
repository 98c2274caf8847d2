"""The file of one image: regular, readable and not too large, or an ImageError that names it. No pixels."""

import os
import stat

from ..exceptions import ImageError

# As much as the largest picture that Pillow opens takes in 16-bit colour, uncompressed: 2 * 89,478,485 pixels.
MAX_FILE_BYTES = 2**30


def is_path(item):
    """Return whether an image is given by its path."""
    return isinstance(item, (str, os.PathLike))


def name_image(item, position):
    """Return what errors call an image: its position in ``X``, and its path where it has one."""
    return f"image {position}, {os.fspath(item)!r}" if is_path(item) else f"image {position}"


def find_size(path, position):
    """Return the size of an image's file in bytes. Nothing is opened: a named pipe would wait for its writer.

    Raises
    ------
    ImageError
        If there is no file, it is no regular one, its folder may not be searched, or it has more than 1 GiB.
    """
    name = name_image(path, position)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte, or characters that no path can have
        raise ImageError(f"{name}, {_explain(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name}: this is a folder.")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name}: this is no regular file but a pipe, a socket or a device. Pass the path of a file.")
    if status.st_size > MAX_FILE_BYTES:
        raise ImageError(
            f"{name}: this file has {status.st_size / 2**30:.3g} GiB, and images are read up to {MAX_FILE_BYTES >> 30} "
            "GiB. Cut it into tiles, or pass it as an array."
        )
    return status.st_size


def read_bytes(path, position):
    """Return a file's bytes, or raise ImageError with its path and position."""
    size = find_size(path, position)
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise ImageError(f"{name_image(path, position)}, {_explain(error)}") from error


def _explain(error):
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied. It takes the right to read the file, and to search its folders."
    return f"cannot be read: {getattr(error, 'strerror', None) or error}."
