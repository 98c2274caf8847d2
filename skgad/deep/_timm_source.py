"""Networks of timm: which training a name means, where its levels are, what input it wants, and its weights.

Levels are numbered from 1, as in the papers. EfficientNet: 1 = the stem after its activation, then the output of each
stage, last the head convolution after its activation: nine for B0-B7 and Lite. ResNet has five: after the max-pool,
then the four stages. Any other network has the levels of timm's feature table: a vision transformer one a block, others
one a stage. Everything but the weights is known from the architecture alone: no pixel is computed.
"""

import difflib
import re
from collections.abc import Mapping
from functools import cache, cached_property

from ..exceptions import BackboneError
from . import _timm
from ._architecture import Architecture
from ._forward import measure_levels
from ._probe import LIBRARIES
from ._weights import find_file, fingerprint, identify, load_model

# The trainings that the papers used, where a name without a tag would give another: timm's own default for
# tf_efficientnet_b4 is ns_jft_in1k, for resnet18 a1_in1k, for wide_resnet50_2 racm_in1k.
_PAPER_TAGS = (
    (re.compile(r"tf_efficientnet_b[0-7]"), "aa_in1k"),
    (re.compile(r"resnet(18|34|50)|wide_resnet50_2"), "tv_in1k"),
)

# EfficientNet-Lite was trained on (x - 127) / 128; timm's entry rounds that to mean and deviation 0.5.
_LITE = re.compile(r"tf_efficientnet_lite[0-4]")
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3


class TimmSource:
    """A network that timm knows by its name: a `Source`.

    Parameters
    ----------
    name : str
    weights : "auto", path, state dict, bytes or None
        As in `load_model`.

    Raises
    ------
    BackboneError
        If timm does not know the network or the training, or it has no levels that can be taken.
    ValueError
        If the weights are none of these, or there is no such file.
    """

    def __init__(self, name, weights="auto"):
        self.architecture = find_architecture(name)
        self._weights = weights
        self.is_random = weights is None
        self.is_given = isinstance(weights, Mapping)

    @cached_property
    def key(self):
        """What tells this network from others in this process: a state dict is hashed once a source."""
        return self.architecture.name, identify(self._weights)

    def find_identity(self):
        """Return None: only the loaded network knows."""
        return None

    def describe_origin(self):
        """Return where the weights come from, and the libraries, as a text; None where that cannot be told."""
        name, weights = self.key
        if weights == "auto":
            path = find_file(name)
            weights = path and identify(path)
            return weights and f"{name} {weights} {LIBRARIES}"
        return f"{name} {'random' if weights is None else weights} {LIBRARIES}"

    def load(self):
        """Return the network, on the CPU, and the sha256 of its weights."""
        model = load_model(self.architecture.name, self._weights)
        return model, fingerprint(model)

    def check_size(self, height, width):
        """Raise ValueError unless the network takes images of this size, in pixels."""
        _check_size(self.architecture, height, width)

    def find_transform(self, image_size):
        """Return what timm's evaluation transform depends on, as a dict."""
        return _timm.find_transform_config(self.architecture.name, image_size)

    def pack(self, load):
        """Return the weights as safetensors bytes; `load` gives a source's `Network`."""
        return load(self).pack()


def find_architecture(name):
    """Return the `Architecture` of a timm name.

    Raises
    ------
    BackboneError
        If timm does not know the network or the training, or it has no levels that can be taken.
    """
    return _find_architecture(resolve_name(name))


def resolve_name(name):
    """Return a timm name with the tag of its training: without one, the papers' where they used the network."""
    if not isinstance(name, str):
        raise BackboneError(
            f"backbone must be a timm name such as 'tf_efficientnet_b4.aa_in1k', or skgad.deep.Backbone(module, "
            f"levels=[...]); got {type(name).__name__}. (A bare module would be copied by clone, and its joblib hash "
            "changes.)"
        )
    architecture, tag = _timm.split_name(name)
    if not _timm.is_architecture(architecture):
        raise BackboneError(f"Unknown backbone {name!r} in timm {_timm.VERSION}.{_suggest(architecture)}")
    trainings = _timm.list_trainings(architecture)
    if tag and name not in trainings:
        known = ", ".join(sorted(trainings)) or "none"
        raise BackboneError(f"Unknown training {tag!r} of {architecture} in timm {_timm.VERSION}. Known: {known}.")
    if tag:
        return name
    for pattern, paper_tag in _PAPER_TAGS:
        if pattern.fullmatch(architecture):
            return f"{architecture}.{paper_tag}"
    default = _timm.find_config(architecture).tag
    return f"{architecture}.{default}" if default else architecture


@cache
def _check_size(architecture, height, width):
    if height == width == architecture.image_size:
        return
    model, modules, _ = _timm.lay_out(architecture.name)
    try:
        measure_levels(model, modules, (3, height, width), "meta")
    except Exception as error:  # networks check their input in their own ways: asserts, shapes that do not match
        size = height if height == width else (height, width)
        raise ValueError(
            f"image_size={size}: {architecture.name} does not take images of that size "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). Its own is "
            f"{architecture.image_size}; a vision transformer takes multiples of its patches."
        ) from error


@cache
def _find_architecture(name):
    config = _timm.find_config(name)
    lite = _LITE.match(name)
    try:
        model, modules, channels = _timm.lay_out(name)
        n_prefix_tokens = _timm.count_prefix_tokens(model)
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


def _suggest(architecture):
    ported = f"tf_{architecture.removeprefix('tf_').replace('-', '_')}"  # the papers' trainings
    close = difflib.get_close_matches(architecture, _timm.list_architectures(), n=3)
    close = [ported, *(name for name in close if name != ported)] if _timm.is_architecture(ported) else close
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else " timm.list_models() lists the known ones."
