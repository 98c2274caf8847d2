"""timm as this room knows it: all that is asked of its registry, its networks' insides, its transforms and its hub.

Much of it is private, or may change with timm's version. Checked with timm 1.0.31 and huggingface_hub 2.4.0. Where
newer ones name these otherwise, this is the file to mend.
"""

from pathlib import Path

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from timm.data import create_transform, resolve_data_config
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet

from ..exceptions import BackboneError

VERSION = str(timm.__version__)


def split_name(name):
    """Return the architecture and the tag of the training, "" without one, of a timm name."""
    return timm.models.split_model_name_tag(name)


def is_architecture(architecture):
    """Return whether timm has a network of this name, without a tag."""
    return timm.models.is_model(architecture)


def list_architectures():
    """Return the names of all of timm's networks, without tags."""
    return timm.list_models()


def list_trainings(architecture):
    """Return the names, with their tags, of all trainings of an architecture."""
    return {name for name in timm.models.get_arch_pretrained_cfgs(architecture) if "." in name}


def find_config(name):
    """Return timm's pre-trained configuration of a name.

    Raises
    ------
    BackboneError
        If it has none.
    """
    config = timm.models.get_pretrained_cfg(name)
    if config is None:
        raise BackboneError(f"timm has no pre-trained configuration of backbone {name!r}.")
    return config


def find_downloaded(name):
    """Return the file that timm has downloaded from the hub before, None where there is none."""
    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    for filename in ("model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(config.hf_hub_id, filename)
        if isinstance(path, str):
            return Path(path).resolve()  # the blob, not the link of the current revision
    return None


def create_model(name, pretrained=False):
    """Return a timm network; a vision transformer takes any image size that its patches divide."""
    try:
        return timm.create_model(name, pretrained=pretrained, dynamic_img_size=True)
    except TypeError:  # another kind of network
        return timm.create_model(name, pretrained=pretrained)


def create_encoder(name, n_outputs):
    """Return a timm network with random weights, whose classifier gives so many numbers."""
    return timm.create_model(name, pretrained=False, num_classes=n_outputs)


def lay_out(name):
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


def count_prefix_tokens(model):
    """Return how many tokens of a network stand for no place in the image: class token, registers."""
    return getattr(model, "num_prefix_tokens", 0)


def find_classifier(model):
    """Return what the names of the classifier's tensors begin with; a fine-tuned file may have another one, or none."""
    config = getattr(model, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def find_transform_config(name, image_size):
    """Return what timm's evaluation transform of a network depends on, as a dict, for squares of a side in pixels."""
    config = resolve_data_config(pretrained_cfg=find_config(name).to_dict())
    chosen = {key: config[key] for key in ("interpolation", "crop_pct", "crop_mode")}
    return {"input_size": (3, image_size, image_size), **chosen}


def make_transform(config):
    """Return timm's evaluation transform, from a PIL image to a tensor (3, size, size) of bytes."""
    return create_transform(**config, normalize=False)
