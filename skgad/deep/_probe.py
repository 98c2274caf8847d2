"""The probe: a network's answer to one fixed image, always in IEEE float32, whatever `precision` an extractor has.

So it asks whether this is the same network, not how it is rounded: TF32 and bfloat16 are settings, which are compared
as such.
"""

from contextlib import contextmanager

import numpy as np
import torch

from . import _timm, _torch
from ._forward import normalise, pool_locations, run_levels
from ._identity import condense

LIBRARIES = f"timm {_timm.VERSION}, torch {_torch.VERSION}"


def make_probe_image(side):
    """Return the image, a float32 tensor (3, side, side) of 0..255: from smooth to rough, in three colours.

    It is made of whole numbers only, so that it is the same on every machine.
    """
    along = torch.arange(side, device="cpu")
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    waves = [(2 + colour) * rows * rows + 3 * columns * columns + (5 - colour) * rows * columns for colour in range(3)]
    return (torch.stack(waves) // 32 % 256).to(torch.float32)


def probe_network(model, architecture, device):
    """Return what a network makes of the probe image: each level, averaged over its locations and condensed.

    On a CPU one thread computes it, so that machines of a kind give the same bits, however many threads they have.

    Parameters
    ----------
    model : torch.nn.Module
        In float32, on `device`.
    architecture : Architecture
    device : torch.device

    Returns
    -------
    ndarray of float32 of shape (n_levels, 8)
    """
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).mul(255).reshape(1, 3, 1, 1)
        for values in (architecture.mean, architecture.std)
    )
    image = make_probe_image(architecture.image_size).to(device)
    with torch.inference_mode(), _torch.arithmetic(device, "float32"), _one_thread(device):
        pooled = run_levels(
            model,
            normalise(image[None], mean, std),
            architecture.levels,
            lambda level, output: pool_locations(output, level, "mean"),
        )
    return np.stack([condense(level[0].cpu().numpy()) for level in pooled])


@contextmanager
def _one_thread(device):
    """Let torch compute in one thread; a limit of OpenMP alone does not reach oneDNN's own choice, of kernels too."""
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
