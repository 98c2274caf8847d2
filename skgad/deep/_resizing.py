"""From a decoded image of any size to the square that the network sees. Each rule works on one image, on the CPU."""

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch.nn import functional

from .._images._geometry import cropped_box, whole_box
from ._backbone import Backbone

RULES = ("bilinear", "antialias", "timm")


def make_resizer(rule, backbone, architecture, image_size):
    """Return a function from an image (H, W, 3) on the scale 0..255 to a float32 tensor (3, size, size) on that scale.

    Parameters
    ----------
    rule : {"bilinear", "antialias", "timm"}
        The whole image, bilinear without antialiasing, as the papers do; the same with antialiasing; or timm's own
        evaluation transform of this network, which may crop, and which rounds to bytes.
    backbone : str or Backbone
    architecture : Architecture
    image_size : int
    """
    if rule == "timm":
        return _make_timm_resizer(_find_timm_config(backbone, architecture, image_size))
    return lambda image: resize(image, image_size, antialias=rule == "antialias")


def describe_rule(rule, backbone, architecture, image_size):
    """Return all that a rule depends on besides the image, as a text.

    Raises
    ------
    ValueError
        If the rule is unknown, or is timm's and the network is not.
    """
    if rule not in RULES:
        raise ValueError(f"resize must be one of {', '.join(map(repr, RULES))}; got {rule!r}.")
    if rule != "timm":
        return rule
    config = _find_timm_config(backbone, architecture, image_size)
    return f"timm {config['interpolation']} {config['crop_pct']} {config['crop_mode']}"


def find_box(rule, backbone, architecture, image_size, height, width):
    """Return the box of an image of this size that the square shows, as `skgad._images._geometry` has it."""
    if rule != "timm":
        return whole_box(height, width)
    config = _find_timm_config(backbone, architecture, image_size)
    return cropped_box(height, width, image_size, config["crop_pct"], config["crop_mode"])


def resize(image, image_size, antialias=False):
    """Return the whole image as a float32 tensor (3, size, size): bilinear, no crop."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)[None]
    if pixels.shape[2:] == (image_size, image_size):
        return pixels[0]
    size = (image_size, image_size)
    return functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def _find_timm_config(backbone, architecture, image_size):
    if isinstance(backbone, Backbone):
        raise ValueError("resize='timm' is timm's transform of a timm network; a Backbone has none. Use 'antialias'.")
    found = timm.models.get_pretrained_cfg(architecture.name)
    config = resolve_data_config(pretrained_cfg=found.to_dict())  # type: ignore[union-attr]  # it has been found before
    return {**config, "input_size": (3, image_size, image_size)}


def _make_timm_resizer(config):
    names = ("input_size", "interpolation", "crop_pct", "crop_mode")
    transform = create_transform(**{name: config[name] for name in names}, normalize=False)

    def resize_as_timm(image):
        if image.dtype != np.uint8:
            image = np.rint(image).astype(np.uint8)
        return transform(Image.fromarray(image)).to(torch.float32)

    return resize_as_timm
