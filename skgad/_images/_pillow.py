"""Images that Pillow decodes, files and its own: to RGB on the scale 0 to 255.

The EXIF orientation is applied; palettes are resolved; alpha is dropped; grey is repeated in three channels; grey of
more than 8 bits is divided by its highest value and multiplied by 255 (Pillow reads 16-bit colour as 8-bit).

Files are opened in a few formats only. Pillow knows forty, and to read some of them it starts other programs, for EPS
an interpreter that runs what the file says.
"""

import threading
from contextlib import contextmanager
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..exceptions import ImageError

_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_LOADING = threading.Lock()  # a PIL image that is read late may be in a list twice, or shared by threads
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_ORIENTATION = 274  # of EXIF, and what undoes each
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = tuple(_TURNS[number] for number in (5, 6, 7, 8))


def decode_file(content, name):
    """Return the first frame of a file, given by its bytes, as an array (H, W, 3), uint8 or float32.

    Raises
    ------
    ImageError
        If it is none of the formats above, damaged, too large for Pillow, or of unknown range.
    """
    if not content:
        raise ImageError(f"{name}, cannot be read: it is empty. Is it a whole image file?")
    with _named_errors(name), Image.open(BytesIO(content), formats=_find_formats()) as image:
        return _to_rgb(image, name, is_own=True)


def measure_file(path, name):
    """Return the height and width of the first frame of a file, as it is seen; only its head is read.

    Raises
    ------
    ImageError
        As `decode_file` does, as far as the head tells.
    """
    with _named_errors(name), Image.open(path, formats=_find_formats()) as image:
        return measure_picture(image)


def measure_picture(image):
    """Return the height and width of a PIL image, as it is seen."""
    width, height = image.size
    return (width, height) if _find_turn(image) in _QUARTER_TURNS else (height, width)


def decode_picture(image, name):
    """Return a PIL image as an array (H, W, 3), uint8 or float32; its current frame counts.

    Raises
    ------
    ImageError
        As `decode_file` does.
    """
    if image.format is not None and image.format not in _FORMATS:
        raise ImageError(
            f"{name} is of format {image.format}; read are {', '.join(_FORMATS)}. If you trust it, pass "
            "image.convert('RGB')."
        )
    with _named_errors(name):
        with _LOADING:
            image.load()
            _find_turn(image)
        return _to_rgb(image, name)


@cache
def _find_formats():
    """Return those of the formats that this Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _to_rgb(image, name, is_own=False):
    highest = _find_highest(image)
    is_negative = _is_negative(image)
    image.load()
    turn = _find_turn(image)
    if turn is not None:
        image = image.transpose(turn)
    elif not is_own:  # somebody else's stays as it is
        image = image.copy()
    if image.width == 0 or image.height == 0:
        raise ImageError(f"{name} has {image.width} x {image.height} pixels: none.")
    if highest is not None:
        grey = np.asarray(image).astype(np.float32) / np.float32(highest / 255)
        return np.repeat((255 - grey if is_negative else grey)[..., np.newaxis], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name} has {image.mode!r} pixels of 32 bits, whose range is unknown; convert it to 8 or 16 bits."
        )
    image.info.pop("transparency", None)  # alpha is dropped; of a table of it, Pillow would warn
    try:
        return np.asarray(image.convert("RGB"))
    except ValueError:
        raise ImageError(f"{name} has {image.mode!r} pixels, which Pillow does not turn into RGB.") from None


def _find_turn(image):
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # whatever EXIF holds, the picture may be whole
        return None


def _find_highest(image):
    """Return the highest value of grey that has more than 8 bits and a known range, None of anything else."""
    if image.mode.startswith("I;16"):
        return 2 ** _find_tags(image).get(_BITS_PER_SAMPLE, (16,))[0] - 1
    return 65535 if image.mode == "I" and image.format == "PPM" else None  # Pillow scales PGM, whatever its maxval


def _is_negative(image):
    """Return whether zero is white, which Pillow heeds up to 8 bits."""
    return _find_tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _find_tags(image):
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}  # a pickle of it has lost them


@contextmanager
def _named_errors(name):
    """Turn whatever Pillow's readers raise on broken files into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}, has more pixels than Pillow reads: {error} Cut it into tiles; or, where the file can be trusted, "
            "raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except UnidentifiedImageError as error:
        formats = ", ".join(_find_formats())
        raise ImageError(
            f"{name}, cannot be read: it is none of {formats}, or damaged. Is it a whole image file?"
        ) from error
    except Exception as error:
        reason = str(error).split(" <_io.BytesIO")[0].rstrip(".") or type(error).__name__
        raise ImageError(f"{name}, cannot be read: {reason}. Is it a whole image file?") from error
