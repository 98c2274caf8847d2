"""From a decoded image of any size to the one that the network sees. Each rule works on one image, on the CPU."""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from .._images._geometry import cropped_box, whole_box
from ._timm import make_transform

RULES = ("bilinear", "antialias", "timm")


def make_resizer(rule, source, image_size):
    """Return a function from an image (H, W, 3) on the scale 0..255 to a float32 tensor (3, height, width) on it.

    Parameters
    ----------
    rule : {"bilinear", "antialias", "timm"}
        The whole image, bilinear without antialiasing, as the papers do; the same with antialiasing; or timm's own
        evaluation transform of this network, which may crop, and which rounds to bytes.
    source : Source
        Of the network.
    image_size : (height, width)
    """
    if rule == "timm":
        return _make_timm_resizer(source.find_transform(image_size[0]))
    return lambda image: resize(image, image_size, antialias=rule == "antialias")


def describe_rule(rule, source, image_size):
    """Return all that a rule depends on besides the image, as a text.

    Raises
    ------
    ValueError
        If the rule is unknown, or is timm's and the network is not, or the images are no squares.
    """
    if rule not in RULES:
        raise ValueError(f"resize must be one of {', '.join(map(repr, RULES))}; got {rule!r}.")
    if rule != "timm":
        return rule
    config = _find_config(source, image_size)
    return f"timm {config['interpolation']} {config['crop_pct']} {config['crop_mode']}"


def find_box(rule, source, image_size, height, width):
    """Return the box of an image of this size that the network sees, as `skgad._images._geometry` has it."""
    if rule != "timm":
        return whole_box(height, width)
    config = _find_config(source, image_size)
    return cropped_box(height, width, image_size[0], config["crop_pct"], config["crop_mode"])


def resize(image, image_size, antialias=False):
    """Return the whole image as a float32 tensor (3, height, width): bilinear, no crop.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3)
    image_size : int or (height, width)
        The side of a square, or both sides.
    antialias : bool, default=False
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)[None]
    if pixels.shape[2:] == size:
        return pixels[0]
    return functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def _find_config(source, image_size):
    """Return what timm's transform depends on, or raise ValueError: it makes squares."""
    height, width = image_size
    if height != width:
        raise ValueError(
            f"resize='timm' makes squares, and image_size is {height} x {width}. Take 'antialias', or an int."
        )
    return source.find_transform(height)


def _make_timm_resizer(config):
    transform = make_transform(config)

    def resize_as_timm(image):
        if image.dtype != np.uint8:
            image = np.rint(image).astype(np.uint8)
        return transform(Image.fromarray(image)).to(torch.float32)

    return resize_as_timm
