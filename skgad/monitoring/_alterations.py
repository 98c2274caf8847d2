"""What lamps, lenses and mounts do to photographs: the same images, a little altered."""

import numpy as np
from PIL import Image, ImageFilter

from .._images._interest import MaskedImage, decode_bytes, split
from .._images._relighting import relight

_STEP = 0.01  # of the shorter side: how far an image is moved
_BLUR = 0.004  # of the shorter side, the radius


def alterations(picture):
    """Return for the name of each alteration a function from an image to the altered one, uint8 (height, width, 3)."""
    known = {
        "brighter": lambda image: relight(image, brightness=1.1),
        "darker": lambda image: relight(image, brightness=0.9),
        "more contrast": lambda image: relight(image, contrast=1.15),
        "less contrast": lambda image: relight(image, contrast=0.85),
        "out of focus": _blur,
        "sharper": _sharpen,
        "noisier": _add_noise,
        "moved to the right": lambda image: _move(image, 1, 0),
        "moved to the left": lambda image: _move(image, -1, 0),
        "moved down": lambda image: _move(image, 0, 1),
        "moved up": lambda image: _move(image, 0, -1),
        "light from the right": lambda image: _light_from(image, 1, 0),
        "light from the left": lambda image: _light_from(image, -1, 0),
        "light from below": lambda image: _light_from(image, 0, 1),
        "light from above": lambda image: _light_from(image, 0, -1),
    }
    if np.ptp(picture, axis=2).max() > 8:  # a colour camera
        known["warmer"] = lambda image: _tint(image, 1.06, 0.94)
        known["cooler"] = lambda image: _tint(image, 0.94, 1.06)
    return known


def alter(item, position, name):
    """Return an image of a sequence, altered in the way of this name; its region of interest goes with it."""
    picture, (_, roi) = decode_bytes(item, position), split(item)
    altered = alterations(picture)[name](picture)
    return altered if roi is None else MaskedImage(altered, roi)


def find_names(item, position):
    """Return the names of the alterations that an image can show."""
    return list(alterations(decode_bytes(item, position)))


def _blur(image):
    radius = max(0.8, _BLUR * min(image.shape[:2]))
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _sharpen(image):
    radius = max(0.8, _BLUR * min(image.shape[:2]))
    return np.asarray(Image.fromarray(image).filter(ImageFilter.UnsharpMask(radius, percent=80, threshold=0)))


def _add_noise(image):
    noise = np.random.default_rng(0).normal(scale=4.0, size=image.shape[:2])[:, :, np.newaxis]
    return _round(image + noise)


def _move(image, right, down):
    step = max(1, round(_STEP * min(image.shape[:2])))
    padded = np.pad(image, ((step, step), (step, step), (0, 0)), mode="edge")
    top, left = step - down * step, step - right * step
    return np.ascontiguousarray(padded[top : top + image.shape[0], left : left + image.shape[1]])


def _light_from(image, right, down):
    height, width = image.shape[:2]
    ramp = right * np.linspace(-1, 1, width)[np.newaxis, :] + down * np.linspace(-1, 1, height)[:, np.newaxis]
    return _round(image * (1 + 0.1 * ramp)[:, :, np.newaxis])


def _tint(image, red, blue):
    return _round(image * np.array([red, 1.0, blue]))


def _round(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
