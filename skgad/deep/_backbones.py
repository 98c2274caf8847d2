"""Which networks are known, which training a name means, where their levels are, and what input they want.

Levels are numbered from 1, as in the papers. EfficientNet has nine: 1 = the stem after its activation, 2-8 = the output
of the last block of each of the seven stages, 9 = the head convolution after its activation. ResNet has five: after the
max-pool, then the four stages. Everything but the weights is known from the architecture alone: no pixel is computed.
"""

import difflib
import math
import re
from functools import cache
from typing import NamedTuple

import timm
import torch
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet
from torch import nn

# The trainings that the papers used, where a name without a tag would give another: timm's own default for
# tf_efficientnet_b4 is ns_jft_in1k, for resnet18 a1_in1k.
_PAPER_TAGS = (
    (re.compile(r"tf_efficientnet_b[0-7]"), "aa_in1k"),
    (re.compile(r"resnet(18|34|50)"), "tv_in1k"),
)

# EfficientNet-Lite was trained on (x - 127) / 128; timm's entry rounds that to mean and deviation 0.5.
_LITE = re.compile(r"tf_efficientnet_lite[0-4]")
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

_KNOWN = (
    "EfficientNet (tf_efficientnet_b0 ... b7, tf_efficientnet_lite0 ... lite4) and "
    "ResNet (resnet18, resnet34, resnet50, wide_resnet50_2)"
)


class Level(NamedTuple):
    """One level of a backbone."""

    number: int  # from 1
    module: str  # the module whose output it is, a dotted name
    channels: int  # its features after pooling
    reduction: int  # input pixels per location, along a side


class Backbone(NamedTuple):
    """What is known of a network before its weights are there."""

    name: str  # with the tag of its training
    image_size: int  # nominal side of its square input, pixels
    mean: tuple  # of its input normalisation, on the scale 0..1
    std: tuple
    levels: tuple  # of Level


def find_backbone(name):
    """Return the `Backbone` of a timm name.

    Raises
    ------
    ValueError
        If timm does not know the network or the training, or its levels are not known to skgad.
    """
    return _find_backbone(resolve_name(name))


def resolve_name(name):
    """Return a timm name with the tag of its training: without one, the papers' where they used the network."""
    if not isinstance(name, str):
        raise ValueError(
            f"backbone must be a timm name such as 'tf_efficientnet_b4.aa_in1k'; got {type(name).__name__}. "
            "(A bare module would be copied by clone, and its joblib hash changes.)"
        )
    architecture, tag = timm.models.split_model_name_tag(name)
    if not timm.models.is_model(architecture):
        raise ValueError(f"Unknown backbone {name!r}.{_suggest(architecture)} Known: {_KNOWN}.")
    trainings = {key for key in timm.models.get_arch_pretrained_cfgs(architecture) if "." in key}
    if tag and name not in trainings:
        known = ", ".join(sorted(trainings)) or "none"
        raise ValueError(f"Unknown training {tag!r} of {architecture}. Known: {known}.")
    if tag:
        return name
    for pattern, paper_tag in _PAPER_TAGS:
        if pattern.fullmatch(architecture):
            return f"{architecture}.{paper_tag}"
    default = _find_config(architecture).tag
    return f"{architecture}.{default}" if default else architecture


def stages(name, model):
    """Return the network as a chain of (module name, module), one for each level."""
    if isinstance(model, EfficientNet) and len(model.blocks) == 7:
        return [
            ("bn1", nn.Sequential(model.conv_stem, model.bn1)),
            *((f"blocks.{index}", block) for index, block in enumerate(model.blocks)),
            ("bn2", nn.Sequential(model.conv_head, model.bn2)),
        ]
    if isinstance(model, ResNet):
        stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
        return [("maxpool", stem), *((f"layer{index}", getattr(model, f"layer{index}")) for index in range(1, 5))]
    raise ValueError(f"The levels of backbone {name!r} are not known. Known: {_KNOWN}.")


@cache
def _find_backbone(name):
    config = _find_config(name)
    lite = _LITE.match(name)
    with torch.device("meta"):  # shapes without numbers: no weight is made, nothing is computed
        model = timm.create_model(name).eval()
    size = config.input_size[-1]
    return Backbone(
        name=name,
        image_size=size,
        mean=_LITE_MEAN if lite else tuple(config.mean),
        std=_LITE_STD if lite else tuple(config.std),
        levels=_measure_levels(stages(name, model), config.input_size),
    )


def _find_config(name):
    config = timm.models.get_pretrained_cfg(name)
    if config is None:
        raise ValueError(f"timm has no pre-trained configuration of backbone {name!r}. Known: {_KNOWN}.")
    return config


def _measure_levels(chain, input_size):
    x = torch.empty((1, *input_size), device="meta")
    levels = []
    with torch.inference_mode():
        for number, (module, stage) in enumerate(chain, start=1):
            x = stage(x)
            levels.append(Level(number, module, x.shape[1], 2 ** round(math.log2(input_size[-1] / x.shape[-1]))))
    return tuple(levels)


def _suggest(architecture):
    ported = f"tf_{architecture.removeprefix('tf_').replace('-', '_')}"  # the papers' trainings
    close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    close = [ported, *(name for name in close if name != ported)] if timm.models.is_model(ported) else close
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
