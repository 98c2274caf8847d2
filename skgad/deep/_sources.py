"""Where networks come from: one interface, and its implementations, timm's names and a module of your own."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from ._architecture import Architecture
from ._backbone import Backbone
from ._identity import Identity
from ._own_source import OwnSource
from ._timm_source import TimmSource


class Source(Protocol):
    """Where a network comes from, and all that is known of it before it is loaded.

    Another kind of network, say ONNX, would be another implementation.
    """

    architecture: Architecture
    is_random: bool  # whether its features tell nothing
    is_given: bool  # whether only the caller has it: another process, a worker, finds it only in a file that holds it

    @property
    def key(self) -> Hashable:
        """What tells this network from others in this process."""

    def find_identity(self) -> Identity | None:
        """Return what the network is known by, where that is known without loading it."""

    def describe_origin(self) -> str | None:
        """Return a text that changes whenever the network may have changed; None where there is none."""

    def load(self) -> tuple[Any, str]:
        """Return the network, a torch module of its own on the CPU, and the sha256 of its weights."""

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError unless the network takes images of this size, in pixels."""

    def find_transform(self, image_size: int) -> dict:
        """Return what timm's evaluation transform of it depends on, or raise ValueError."""

    def pack(self, load: Callable) -> Any:
        """Return what a file holds of it; `load` gives a source's `Network`."""


def find_source(backbone, weights="auto") -> Source:
    """Return the source that an extractor's parameters mean.

    Parameters
    ----------
    backbone : str or Backbone
    weights : "auto", path, state dict, bytes or None
        Of a timm network; your own has its weights.

    Raises
    ------
    BackboneError
        If the network is unknown, or has no levels that can be taken.
    """
    return OwnSource(backbone) if isinstance(backbone, Backbone) else TimmSource(backbone, weights)
