"""The network at work: loaded once a process; images in, pooled levels out.

The only module that moves data between devices.
"""

import os
import threading
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from ._backbones import find_backbone, stages
from ._weights import check_weights, fingerprint, load_model

_LOADING = threading.Lock()
_RUNNING = threading.Lock()  # the precision settings are the process's own


def load_network(backbone, weights, device):
    """Return the `Network` of these settings; the same object for the same settings, so that clones share it."""
    check_weights(weights)
    state = None if weights == "auto" else os.stat(weights)
    version = state and (state.st_mtime_ns, state.st_size)  # a file that was written anew is another file
    with _LOADING:
        return _load_network(find_backbone(backbone).name, str(weights), version, find_device(device))


def find_device(device):
    """Return the torch device of a name; "auto" is CUDA where there is one.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1'; got {device!r}.") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1'; got {device!r}.")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}, but torch sees {torch.cuda.device_count()} CUDA devices. device='cpu' works."
        )
    return found


class Network:
    """A frozen network on its device.

    Attributes
    ----------
    backbone : Backbone
    sha256 : str
        Of its weights.
    """

    def __init__(self, name, weights, device):
        model = load_model(name, weights).requires_grad_(False)
        self.backbone = find_backbone(name)
        self.sha256 = fingerprint(model)
        model = model.to(device, memory_format=torch.channels_last)
        self._stages = [stage.eval() for _, stage in stages(name, model)]
        self._device = device

    def pool_levels(self, images, levels, image_size):
        """Return the levels of decoded images, averaged over height and width.

        Parameters
        ----------
        images : list of ndarray of shape (H, W, 3)
            On the scale 0..255.
        levels : sequence of int
            Ascending; the forward pass stops after the last.
        image_size : int
            Side of the square that each whole image is resized to.

        Returns
        -------
        ndarray of float32 of shape (n_images, total number of channels)
        """
        no_autocast = torch.autocast(self._device.type, enabled=False)
        with _RUNNING, torch.inference_mode(), no_autocast, _ieee_convolutions():
            x = self._preprocess(images, image_size)
            pooled = []
            for number, stage in enumerate(self._stages[: levels[-1]], start=1):
                x = stage(x)
                if number in levels:
                    pooled.append(x.mean(dim=(2, 3)))
            return torch.cat(pooled, dim=1).cpu().numpy()

    def _preprocess(self, images, image_size):
        batch = torch.stack([_resize(image, image_size) for image in images]).to(self._device)
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=self._device).mul(255).reshape(1, 3, 1, 1)
            for values in (self.backbone.mean, self.backbone.std)
        )
        return batch.sub(mean).div(std).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=4)
def _load_network(name, weights, version, device):
    return Network(name, weights, device)


def _resize(image, image_size):
    """Return the whole image as a float tensor (3, size, size): bilinear, no antialiasing, no crop."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)
    return functional.interpolate(pixels[None], (image_size, image_size), mode="bilinear", align_corners=False)[0]


@contextmanager
def _ieee_convolutions():
    """Run convolutions in IEEE float32, whatever the caller's settings, which come back afterwards.

    TF32, PyTorch's default on CUDA, moves distances by up to 12 % behind a strong NPCA.
    """
    settings = (torch.backends.cudnn.conv, torch.backends.mkldnn.conv)  # type: ignore
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision
