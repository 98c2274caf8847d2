"""Where this runs, and what is said of it: the Dask worker, errors and warnings that name it and the images."""

import ctypes
import os
import re
import sys
import warnings
from contextlib import contextmanager
from functools import cache

from ..exceptions import ImageError, ImageWarning

_DASK_TRIM = "65536"  # what Dask sets: distributed.nanny.pre-spawn-environ
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def find_worker():
    """Return the Dask worker that this runs on; None elsewhere."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


@cache
def keep_freed_memory():
    """Have a Dask worker's process reuse the memory that it frees, up to 128 MB, in place of handing it back.

    Dask starts workers with a small ``MALLOC_TRIM_THRESHOLD_``, by which glibc also stops raising the size from which
    each allocation is a mapping of its own. A network frees and takes tens of megabytes a batch, and would wait for
    fresh pages: it took 1.6 times as long. Does nothing elsewhere, or where somebody has set the sizes.
    """
    if find_worker() is None or os.environ.get("MALLOC_TRIM_THRESHOLD_") != _DASK_TRIM:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        for parameter, size in ((_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**27)):
            mallopt(ctypes.c_int(parameter), ctypes.c_int(size))


def find_address():
    """Return the address of the worker that this runs on; "" elsewhere."""
    worker = find_worker()
    return "" if worker is None else worker.address


@contextmanager
def name_errors(part):
    """Tell errors by the position of an image among all, and the worker; give a set for what is warned of meanwhile.

    It holds categories and texts, to be said once by the fit or the score, and no list of images that cannot be used.
    """
    keep_freed_memory()
    where = find_address()
    notes: set = set()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield notes
    except ImageError as error:
        raise ImageError(renumber(str(error), part.positions) + (f" (worker {where})" if where else "")) from None
    except Exception as error:
        worker = f", on worker {where}" if where else ""
        error.add_note(f"With images {part.positions[0]} to {part.positions[-1]} of X{worker}.")
        raise
    notes |= {(one.category, str(one.message)) for one in caught if not issubclass(one.category, ImageWarning)}


def renumber(text, positions):
    """Return what is said of an image of a part, said of its position among all."""
    return re.sub(r"^image (\d+)", lambda match: f"image {positions[int(match[1])]}", text)
