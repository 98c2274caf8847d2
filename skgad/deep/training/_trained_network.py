"""What the loop asks of every network that it trains."""

from typing import Any

import torch

from .._torch import arithmetic


class TrainedNetwork:
    """A network that learns, on its device."""

    model: torch.nn.Module
    device: torch.device
    precision = "float32"  # of the forward pass; weights and losses are float32

    def __call__(self, squares, take=None) -> Any:
        """Return what the objective takes, of images (n, 3, size, size) on the scale 0..255."""
        raise NotImplementedError

    def at_work(self):
        """Return a context in which it computes in its precision, whatever the caller's settings."""
        return arithmetic(self.device, self.precision)

    def state(self):
        """Return a copy of its weights on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def restore(self, state):
        """Take weights that `state` has returned."""
        self.model.load_state_dict(state)
