"""The network at work: loaded once a process; squares in, pooled levels or maps out.

The only module that moves data between devices.
"""

import logging

import numpy as np
import torch

from .._conventions._warnings import warn
from ..exceptions import DeviceMemoryError, DeviceWarning
from ._forward import lay_out_interest, normalise, pool_cells, run_levels
from ._identity import Identity, check_same_network
from ._probe import LIBRARIES, probe_network
from ._recent import Recent
from ._torch import arithmetic
from ._weights import pack

PRECISIONS = ("float32", "tf32", "bfloat16")

_LOGGER = logging.getLogger("skgad")
_loaded = Recent(4)  # networks, by what they were made from


def load_network(source, device):
    """Return the `Network` of a source; the same object for the same source and device, so that clones share it."""
    found = find_device(device)
    if found.type == "cuda" and found.index is None:
        found = torch.device("cuda", torch.cuda.current_device())
    return _loaded.get((source.key, found), lambda: Network(source, found))


def forget_networks():
    """Drop the networks that this process keeps loaded; they are loaded again when they are needed."""
    _loaded.clear()


def find_device(device):
    """Return the torch device of a name; "auto" is CUDA where there is one.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    found = _parse_device(device)
    if not _is_there(found):
        raise ValueError(
            f"device={device!r}, but torch sees {torch.cuda.device_count()} CUDA devices. device='cpu' works."
        )
    return found


def choose_device(device, may_be_absent):
    """Return the name of the device to work on; the CPU, with a warning, where a CUDA device may be absent and is."""
    if may_be_absent and device != "auto" and not _is_there(_parse_device(device)):
        message = f"Fitted with device={device!r}, which is not here: working on the CPU."
        warn(message, DeviceWarning)
        return "cpu"
    find_device(device)
    return device


class Network:
    """A frozen network on its device.

    Attributes
    ----------
    levels : tuple of Level
    identity : Identity

    Raises
    ------
    WeightsError
        If no weights can be had, or the network is not what its source knows it by.
    """

    def __init__(self, source, device):
        architecture = source.architecture
        model, sha256 = source.load()
        self.levels = architecture.levels
        self._source = source  # its key may hold the id of a module, which must live as long
        self._model = model.requires_grad_(False).eval().to(device, torch.float32, memory_format=torch.channels_last)
        self._device = device
        self._most: dict = {}  # the largest batch that fits into memory, by the shape of its images, once one did not
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).mul(255).reshape(1, 3, 1, 1)
            for values in (architecture.mean, architecture.std)
        )
        self.identity = Identity(sha256, probe_network(self._model, architecture, device), LIBRARIES)
        expected = source.find_identity()
        if expected is not None:
            where, anew = "its Backbone was made with", "make a Backbone of it anew, and fit anew"
            check_same_network(architecture.name, self.identity, expected, where, anew)

    @property
    def module(self):
        """The torch module, not to be changed."""
        return self._model

    @property
    def scale(self):
        """The mean and the deviation of the normalisation, on the scale 0..255: tensors (1, 3, 1, 1)."""
        return self._mean, self._std

    def pool_levels(self, batch, numbers, how="mean", precision="float32", sides=(1,)):
        """Return the levels of images, each averaged over its locations, or its maximum, cell by cell.

        Parameters
        ----------
        batch : Tensor of float32 of shape (n_images, 3 or 4, height, width)
            On the CPU, on the scale 0..255. A fourth channel says how much of each pixel is of interest.
        numbers : sequence of int
            Of the levels, ascending; the forward pass stops after the last.
        how : {"mean", "max"}
        precision : {"float32", "tf32", "bfloat16"}
        sides : tuple of int, default=(1,)
            Of the grids whose cells are averaged over; (1,) is the whole image.

        Returns
        -------
        ndarray of float32 of shape (n_images, number of cells times total number of channels)

        Raises
        ------
        BackboneError
            If there are cells, and a level has no locations.
        ValueError
            If a grid has more rows or columns than a level.
        DeviceMemoryError
            If the memory of the device does not suffice for one image.
        """
        parts = self._run(
            batch,
            numbers,
            precision,
            take=lambda output, level, *seen: pool_cells(output, level, how, sides, *seen),
            collect=lambda pooled: torch.cat(pooled, dim=1).cpu().numpy(),
        )
        return np.concatenate(parts)

    def map_levels(self, batch, numbers, precision="float32"):
        """Return the feature maps of images, level by level.

        Parameters
        ----------
        batch, numbers, precision
            As in `pool_levels`.

        Returns
        -------
        list of ndarray of float32 of shape (n_images, height, width, channels)
            One a level.

        Raises
        ------
        BackboneError
            If a level has no locations.
        DeviceMemoryError
            If the memory of the device does not suffice for one image.
        """
        parts = self._run(
            batch,
            numbers,
            precision,
            take=lay_out_interest,
            collect=lambda maps: [one.cpu().numpy() for one in maps],
        )
        return parts[0] if len(parts) == 1 else [np.concatenate(level) for level in zip(*parts, strict=True)]

    def pack(self):
        """Return the weights as safetensors bytes."""
        return pack(self._model)

    def _run(self, batch, numbers, precision, *, take, collect):
        """Return what `collect` makes of the levels, for each part of the batch: one, as long as memory suffices."""
        levels = [self.levels[number - 1] for number in numbers]
        with torch.inference_mode(), arithmetic(self._device, precision):
            parts = []
            while len(batch):
                part = batch[: self._most.get(batch.shape[1:])]
                try:
                    parts.append(collect(self._forward(part, levels, take)))
                    batch = batch[len(part) :]
                    continue
                except torch.OutOfMemoryError:
                    pass  # only when the exception is gone, so are the activations that its traceback holds
                self._halve(part)
            return parts

    def _forward(self, batch, levels, take):
        if self._device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self._device, non_blocking=True)
        shares = batch[:, 3:] / 255 if batch.shape[1] == 4 else None
        x = normalise(batch[:, :3], self._mean, self._std)
        return run_levels(self._model, x, levels, lambda level, output: take(output, level, x.shape[2:], shares))

    def _halve(self, batch):
        if len(batch) == 1:
            raise DeviceMemoryError(
                f"The memory of {self._device} does not suffice for a single image. Take a smaller image_size or "
                "backbone, or device='cpu'."
            )
        self._most[batch.shape[1:]] = len(batch) // 2
        torch.cuda.empty_cache()  # does nothing without CUDA
        _LOGGER.warning("Out of memory on %s: going on with batches of %d images.", self._device, len(batch) // 2)


def _parse_device(device):
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1'; got {device!r}.") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1'; got {device!r}.")
    return found


def _is_there(device):
    return device.type == "cpu" or (device.index or 0) < torch.cuda.device_count()
