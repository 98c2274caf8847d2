"""Your own network as a backbone: a handle that `clone` leaves alone and that pickles without the network."""

import copy
import math
import threading
from weakref import WeakSet

from .._conventions._parameters import check_int
from ..exceptions import BackboneError
from ._architecture import Architecture, Level
from ._identity import Identity, agree

# torch is imported where it is needed: `import skgad` stays light.

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The handles of this process that have their network: an unpickled one finds its own again.
_handles: WeakSet = WeakSet()
_LOCK = threading.Lock()  # threads iterate over them


class Backbone:
    """A handle on your own network, to pass as ``backbone=``.

    The network is copied, in float32: what you do to it afterwards does not enter. The handle itself is never copied,
    so that `sklearn.base.clone` and a search stay cheap; its joblib hash is the same in each process of a machine.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It takes float32 images (n, 3, `image_size`, `image_size`), normalised by `mean` and `std`.
    levels : list of str
        The modules whose outputs are the levels, as dotted names (``"layer1"``, ``"encoder.blocks.3"``), in the order
        in which the forward pass reaches them; level 1 is the first. Their outputs are maps (n, channels, height,
        width), or tokens (n, n_tokens, channels), or vectors (n, channels).
    name : str, default=None
        What to call it in messages and progress bars; None for the name of its class.
    image_size : int, default=224
        Side of its square input, in pixels.
    mean, std : sequence of 3 floats, default=ImageNet's
        Of the input normalisation, on the scale 0 to 1.
    n_prefix_tokens : int, default=0
        How many tokens in front (class token, registers) stand for no place in the image; they are left out.
    channels_last : bool, default=False
        True if maps come as (n, height, width, channels).

    Attributes
    ----------
    levels : tuple of Level
        Number, module, channels, reduction and layout of each.
    module : torch.nn.Module
        The copy.
    identity : Identity
        The fingerprint, and the *probe*: the features of one fixed image, which know what no weight shows, an attribute
        or the code of ``forward``. Two networks are the same if both agree, the probe within 1e-4 of each level.

    Raises
    ------
    BackboneError
        If `module` is no network, one of `levels` is not in it or is never reached, or its output has another form.

    Notes
    -----
    A pickle holds what is known of the network and its fingerprint, but not the network: in another process, the
    workers of ``n_jobs=2`` included, only cached features can be had, until you give the network again
    (``set_params(backbone=Backbone(module, levels=[...]))``; another one is refused), unless the transformer was made
    with ``store_weights=True``: then pickles hold the whole module. (skops cannot.)

    Examples
    --------
    >>> import torch
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.deep import Backbone
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 3))
    >>> backbone = Backbone(module, levels=["1", "2"], image_size=32)
    >>> images = [torch.zeros(3, 40, 50)]
    >>> DeepFeatureTransformer(backbone).fit_transform(images).shape
    (1, 13)
    """

    def __init__(
        self,
        module,
        levels,
        *,
        name=None,
        image_size=224,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        n_prefix_tokens=0,
        channels_last=False,
    ):
        check_int("image_size", image_size, 1, error=BackboneError)
        check_int("n_prefix_tokens", n_prefix_tokens, 0, error=BackboneError)
        self._module = _copy_frozen(module)
        self.name = name or type(module).__name__
        self.image_size = int(image_size)
        self.mean, self.std = _check_statistics("mean", mean), _check_statistics("std", std)
        self.levels = _measure(self._module, self.name, levels, image_size, n_prefix_tokens, channels_last)
        self.identity = self._identify()
        _keep(self)

    @property
    def sha256(self):
        """Fingerprint of the network: its name, weights, buffers and printed form."""
        return self.identity.sha256

    @property
    def module(self):
        """The copy of the network, on the CPU, in evaluation mode; BackboneError where a pickle left it behind."""
        if self._module is None:
            self._module = _find_module(self.identity)
            _keep(self)
        if self._module is None:
            raise BackboneError(
                f"The network {self.name!r} is not in this process: a pickle holds none. Give it again, "
                "set_params(backbone=Backbone(module, levels=[...])), or store it with store_weights=True."
            )
        return self._module

    def attach(self, module):
        """Return a handle on the same network with its module, which a pickle left behind.

        Parameters
        ----------
        module : torch.nn.Module

        Returns
        -------
        Backbone
        """
        handle = type(self).__new__(type(self))
        vars(handle).update(vars(self), _module=module)
        _keep(handle)
        return handle

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self  # clone() copies parameters: the network must not be

    def __getstate__(self):
        return {**vars(self), "_module": None, "levels": [tuple(level) for level in self.levels]}

    def __setstate__(self, state):
        vars(self).update(state, levels=tuple(Level(*level) for level in state["levels"]))

    def __repr__(self):
        return f"Backbone({self.name}, levels={[level.module for level in self.levels]})"

    def _identify(self):
        import torch

        from ._probe import LIBRARIES, probe_network

        architecture = Architecture(self.name, self.image_size, self.mean, self.std, self.levels)
        sha256 = fingerprint_module(self._module, self.name)
        return Identity(sha256, probe_network(self._module, architecture, torch.device("cpu")), LIBRARIES)


def _keep(handle):
    with _LOCK:
        _handles.add(handle)


def _find_module(identity):
    """Return the network that another handle of this process has, None where none is of this identity."""
    with _LOCK:
        others = [handle for handle in _handles if handle._module is not None]
    for handle in others:
        if handle.sha256 == identity.sha256 and agree(handle.identity.probe, identity.probe):
            return handle._module
    return None


def fingerprint_module(module, name):
    """Return the sha256 of a network of one's own: its name, weights, buffers and printed form."""
    from ._digests import digest_tensors

    buffers = {f"buffer {key}": tensor for key, tensor in module.named_buffers()}  # some are not in the state dict
    return digest_tensors({**module.state_dict(), **buffers}, name, repr(module))


def _copy_frozen(module):
    from torch import nn

    if not isinstance(module, nn.Module):
        raise BackboneError(f"module must be a torch.nn.Module; got {type(module).__name__}.")
    return copy.deepcopy(module).cpu().float().eval().requires_grad_(False)


def _measure(module, name, levels, image_size, n_prefix_tokens, channels_last):
    from ._forward import measure_levels

    if isinstance(levels, str) or not levels or not all(isinstance(level, str) for level in levels):
        raise BackboneError(f"levels must be a list of dotted names of modules, such as ['layer1']; got {levels!r}.")
    twice = next((level for level in levels if list(levels).count(level) > 1), None)
    if twice is not None:
        raise BackboneError(
            f"levels must name each module once; got {twice!r} twice, whose channels would count twice."
        )
    try:
        return measure_levels(
            module,
            list(levels),
            (3, image_size, image_size),
            "cpu",
            n_prefix_tokens=n_prefix_tokens,
            channels_last=channels_last,
        )
    except Exception as error:  # whatever its layers raise on an image of that size
        raise BackboneError(f"Backbone {name!r}, image_size={image_size}: {error}") from error


def _check_statistics(name, values):
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or (name == "std" and min(numbers) <= 0):
        sign = "positive" if name == "std" else "finite"
        raise BackboneError(f"{name} must be three {sign} numbers, one a colour, on the scale 0 to 1; got {values!r}.")
    return numbers
