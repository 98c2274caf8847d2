"""The thread pools of the numerical libraries in this process."""

import os
from functools import cache

from threadpoolctl import ThreadpoolController

_FEW_CORES = 2  # up to which readers are a loss beside a network on the CPU: examples/bench_extractor.py


@cache
def find_pools():
    """Return a controller of the pools; to find them takes milliseconds, once."""
    return ThreadpoolController()


def count_cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def choose_workers(num_workers, device_type):
    """Return how many threads read images: as was said, or, for None, what suits this machine."""
    if num_workers is not None:
        return num_workers
    return 0 if device_type == "cpu" and count_cores() <= _FEW_CORES else 1
