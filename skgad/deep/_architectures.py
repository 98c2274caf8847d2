"""Which networks are known, which training a name means, where their levels are, and what input they want.

Levels are numbered from 1, as in the papers. EfficientNet: 1 = the stem after its activation, then the output of each
stage, last the head convolution after its activation: nine for B0-B7 and Lite. ResNet has five: after the max-pool,
then the four stages. Any other network has the levels of timm's feature table: a vision transformer one a block, others
one a stage. Everything but the weights is known from the architecture alone: no pixel is computed.
"""

import difflib
import re
from functools import cache
from typing import NamedTuple

import pandas as pd
import timm
import torch
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet

from ..exceptions import BackboneError
from ._backbone import Backbone, Level
from ._forward import measure_levels

# The trainings that the papers used, where a name without a tag would give another: timm's own default for
# tf_efficientnet_b4 is ns_jft_in1k, for resnet18 a1_in1k, for wide_resnet50_2 racm_in1k.
_PAPER_TAGS = (
    (re.compile(r"tf_efficientnet_b[0-7]"), "aa_in1k"),
    (re.compile(r"resnet(18|34|50)|wide_resnet50_2"), "tv_in1k"),
)

# EfficientNet-Lite was trained on (x - 127) / 128; timm's entry rounds that to mean and deviation 0.5.
_LITE = re.compile(r"tf_efficientnet_lite[0-4]")
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3


class Architecture(NamedTuple):
    """What is known of a network before its weights are there."""

    name: str  # with the tag of its training
    image_size: int  # nominal side of its square input, pixels
    mean: tuple  # of its input normalisation, on the scale 0..1
    std: tuple
    levels: tuple[Level, ...]


def level_table(backbone="tf_efficientnet_b4.aa_in1k"):
    """Return the levels of a backbone, known without its weights.

    Parameters
    ----------
    backbone : str or Backbone, default="tf_efficientnet_b4.aa_in1k"
        A timm name, or your own network.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``level``, from 1, with the columns ``module`` (whose output it is, a dotted name), ``channels`` (its
        features after pooling) and ``reduction`` (input pixels per location, along a side, at the nominal size).

    Raises
    ------
    BackboneError
        If the network or the training is unknown, or has no levels.

    Examples
    --------
    >>> from skgad.deep import level_table
    >>> level_table("resnet18").loc[3].to_dict()
    {'module': 'layer2', 'channels': 128, 'reduction': 8}
    """
    levels = find_architecture(backbone).levels
    rows = [(level.module, level.channels, level.reduction) for level in levels]
    index = pd.Index([level.number for level in levels], name="level")
    return pd.DataFrame(rows, columns=["module", "channels", "reduction"], index=index)


def find_architecture(backbone):
    """Return the `Architecture` of a timm name or of a `Backbone`.

    Raises
    ------
    BackboneError
        If timm does not know the network or the training, or it has no levels that can be taken.
    """
    if isinstance(backbone, Backbone):
        return Architecture(backbone.name, backbone.image_size, backbone.mean, backbone.std, backbone.levels)
    return _find_architecture(resolve_name(backbone))


def resolve_name(name):
    """Return a timm name with the tag of its training: without one, the papers' where they used the network."""
    if not isinstance(name, str):
        raise BackboneError(
            f"backbone must be a timm name such as 'tf_efficientnet_b4.aa_in1k', or skgad.deep.Backbone(module, "
            f"levels=[...]); got {type(name).__name__}. (A bare module would be copied by clone, and its joblib hash "
            "changes.)"
        )
    architecture, tag = timm.models.split_model_name_tag(name)
    if not timm.models.is_model(architecture):
        raise BackboneError(f"Unknown backbone {name!r} in timm {timm.__version__}.{_suggest(architecture)}")
    trainings = {key for key in timm.models.get_arch_pretrained_cfgs(architecture) if "." in key}
    if tag and name not in trainings:
        known = ", ".join(sorted(trainings)) or "none"
        raise BackboneError(f"Unknown training {tag!r} of {architecture} in timm {timm.__version__}. Known: {known}.")
    if tag:
        return name
    for pattern, paper_tag in _PAPER_TAGS:
        if pattern.fullmatch(architecture):
            return f"{architecture}.{paper_tag}"
    default = _find_config(architecture).tag
    return f"{architecture}.{default}" if default else architecture


def create_model(name, pretrained=False):
    """Return a timm network; a vision transformer takes any image size that its patches divide."""
    try:
        return timm.create_model(name, pretrained=pretrained, dynamic_img_size=True)
    except TypeError:  # another kind of network
        return timm.create_model(name, pretrained=pretrained)


def check_image_size(backbone, image_size):
    """Raise ValueError unless a network takes square images of this side, in pixels."""
    if not isinstance(backbone, Backbone):  # your own network says so itself when it runs
        _check_image_size(find_architecture(backbone), image_size)


@cache
def _check_image_size(architecture, image_size):
    if image_size == architecture.image_size:
        return
    model, modules, _ = _lay_out(architecture.name)
    try:
        measure_levels(model, modules, (3, image_size, image_size), "meta")
    except Exception as error:  # networks check their input in their own ways: asserts, shapes that do not match
        raise ValueError(
            f"image_size={image_size}: {architecture.name} does not take images of that side "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). Its own is "
            f"{architecture.image_size}; a vision transformer takes multiples of its patches."
        ) from error


@cache
def _find_architecture(name):
    config = _find_config(name)
    lite = _LITE.match(name)
    try:
        model, modules, channels = _lay_out(name)
        n_prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        levels = measure_levels(model, modules, config.input_size, "meta", channels, n_prefix_tokens)
    except Exception as error:  # what a network's code does without numbers is its own affair
        raise BackboneError(f"The levels of backbone {name!r} are not known: {error}") from error
    return Architecture(
        name=name,
        image_size=config.input_size[-1],
        mean=_LITE_MEAN if lite else tuple(config.mean),
        std=_LITE_STD if lite else tuple(config.std),
        levels=levels,
    )


def _lay_out(name):
    """Return the network without numbers (on torch's meta device), its levels' modules, and their channels if told."""
    with torch.device("meta"):  # shapes only: no weight is made, nothing is computed
        model = create_model(name).eval()
    if isinstance(model, EfficientNet):
        return model, ["bn1", *(f"blocks.{index}" for index in range(len(model.blocks))), "bn2"], None
    if isinstance(model, ResNet):
        return model, ["maxpool", *(f"layer{index}" for index in range(1, 5))], None
    table = list(getattr(model, "feature_info", None) or [])
    if not table:
        raise BackboneError("timm has no feature table of it.")
    return model, [entry["module"] for entry in table], [entry["num_chs"] for entry in table]


def _find_config(name):
    config = timm.models.get_pretrained_cfg(name)
    if config is None:
        raise BackboneError(f"timm has no pre-trained configuration of backbone {name!r}.")
    return config


def _suggest(architecture):
    ported = f"tf_{architecture.removeprefix('tf_').replace('-', '_')}"  # the papers' trainings
    close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    close = [ported, *(name for name in close if name != ported)] if timm.models.is_model(ported) else close
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else " timm.list_models() lists the known ones."
