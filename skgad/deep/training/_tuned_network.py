"""A network whose weights may change: a copy of the one that a source loads, on its device."""

import torch

from .._forward import normalise, run_levels
from ._trained_network import TrainedNetwork


class TunedNetwork(TrainedNetwork):
    """The trainable copy of a network. Batch norm keeps its statistics, and nothing is dropped out.

    Parameters
    ----------
    source : Source
    numbers : list of int
        Of the levels, ascending; the forward pass stops after the last.
    device : torch.device
    precision : {"float32", "tf32", "bfloat16"}
        Of the forward pass; weights and losses are float32.

    Attributes
    ----------
    model : torch.nn.Module
        In evaluation mode: the affine parameters of batch norm are trained, its statistics are not.
    sha256 : str
        Of the weights it began with.
    """

    def __init__(self, source, numbers, device, precision):
        architecture = source.architecture
        model, self.sha256 = source.load()
        self.model = model.eval().to(device, torch.float32, memory_format=torch.channels_last).requires_grad_(True)
        self.device = device
        self._levels = [architecture.levels[number - 1] for number in numbers]
        self.precision = precision
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).mul(255).reshape(1, 3, 1, 1)
            for values in (architecture.mean, architecture.std)
        )

    def __call__(self, squares, take=None):
        """Return what `take` keeps of the levels, of images (n, 3, height, width) on the scale 0..255."""
        x = normalise(squares.to(self.device), self._mean, self._std)
        return run_levels(self.model, x, self._levels, lambda level, output: take(level, output, squares.shape[2:]))
