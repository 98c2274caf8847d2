"""The thread pools of the numerical libraries in this process."""

import os
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def find_pools():
    """Return a controller of the pools; to find them takes milliseconds, once."""
    return ThreadpoolController()


def count_cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
