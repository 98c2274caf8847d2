"""torch's process-wide settings, changed for a moment and given back: all of torch that may change with its version.

Checked with torch 2.14.1. Where a newer torch names these otherwise, this is the file to mend.
"""

import threading
from contextlib import contextmanager

import torch

VERSION = str(torch.__version__)
_ARITHMETIC = threading.RLock()  # the settings of the arithmetic are the process's own


@contextmanager
def undisturbed():
    """Make networks in float32 on the CPU, whatever the caller's defaults, and draw nothing from his generator."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def seed_weights():
    """Start torch's generator of the CPU anew, inside `undisturbed`: random networks are the same at each call."""
    torch.default_generator.manual_seed(0)


@contextmanager
def arithmetic(device, precision):
    """Compute in this precision, whatever the caller's settings, which come back afterwards.

    IEEE float32 is our default: TF32, PyTorch's own for convolutions on CUDA, keeps 10 bits of the mantissa, and the
    directions of least variance, which NPCA keeps, are where its rounding shows. One thread computes at a time.
    """
    low = precision == "bfloat16"
    with (
        _ARITHMETIC,
        _set_precision(_find_settings(device), "tf32" if precision == "tf32" else "ieee"),
        torch.autocast(device.type, torch.bfloat16 if low else None, enabled=low),
    ):
        yield


@contextmanager
def _set_precision(settings, wanted):
    """Touch only the settings that differ."""
    changed = [(setting, setting.fp32_precision) for setting in settings]
    changed = [(setting, before) for setting, before in changed if not _agree(before, wanted)]
    try:
        for setting, _ in changed:
            setting.fp32_precision = wanted
        yield
    finally:
        for setting, before in changed:
            setting.fp32_precision = "none"  # what torch's global setting says,
            if setting.fp32_precision != before:
                setting.fp32_precision = before  # unless the caller has set this one


def _find_settings(device):
    backends = torch.backends
    if device.type == "cuda":
        return backends.cudnn.conv, backends.cuda.matmul  # type: ignore[attr-defined]
    return backends.mkldnn.conv, backends.mkldnn.matmul  # type: ignore[attr-defined]


def _agree(setting, wanted):
    return setting == wanted or (wanted == "ieee" and setting == "none")  # none is torch's default, IEEE


def list_devices():
    """Return the names of the devices of this machine: "cpu", "cuda:0 NVIDIA ..."."""
    return ["cpu", *(f"cuda:{at} {torch.cuda.get_device_name(at)}" for at in range(torch.cuda.device_count()))]
