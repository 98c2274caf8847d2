"""The thread pools of the numerical libraries in this process."""

from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def find_pools():
    """Return a controller of the pools; to find them takes milliseconds, once."""
    return ThreadpoolController()
