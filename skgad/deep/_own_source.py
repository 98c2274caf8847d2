"""A network of one's own, which a `Backbone` holds."""

import copy

from ._architecture import Architecture
from ._backbone import fingerprint_module


class OwnSource:
    """The network of a `Backbone`: a `Source`.

    Parameters
    ----------
    backbone : Backbone
    """

    is_random = False
    is_given = True

    def __init__(self, backbone):
        self._backbone = backbone
        self.architecture = Architecture(
            backbone.name, backbone.image_size, backbone.mean, backbone.std, backbone.levels
        )

    @property
    def key(self):
        """What tells this network from others in this process: the module itself, since no digest knows all of it."""
        return id(self._backbone.module), *self.architecture

    def find_identity(self):
        """Return the `Identity` that the handle was made with."""
        return self._backbone.identity

    def describe_origin(self):
        """Return None: it comes from nowhere."""
        return None

    def load(self):
        """Return a copy of the network, and the sha256 of what it is now: somebody may have altered it."""
        module = self._backbone.module
        return copy.deepcopy(module), fingerprint_module(module, self._backbone.name)

    def check_size(self, height, width):
        """Do nothing: your own network says so itself when it runs."""

    def find_transform(self, image_size):
        """Raise ValueError: timm has no transform of it."""
        raise ValueError("resize='timm' is timm's transform of a timm network; a Backbone has none. Use 'antialias'.")

    def pack(self, load):
        """Return the whole module."""
        return self._backbone.module
