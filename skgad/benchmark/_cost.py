"""What a piece of work costs: seconds, and resident memory at its peak."""

import ctypes
import time
from contextlib import contextmanager, suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Cost:
    """Seconds on the clock, and the growth of resident memory at its peak, in MiB; NaN where that is not known."""

    seconds = float("nan")
    peak_mib = float("nan")


@contextmanager
def measured():
    """Give a `Cost` that is filled in when the block ends.

    The peak is the kernel's own count for the whole process (Linux), reset at the start, after memory that was freed
    has been handed back: that of libraries counts, and that of threads that work beside.
    """
    cost = Cost()
    before = _reset_peak()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        cost.peak_mib = max(_read("VmHWM") - before, 0.0) if before is not None else float("nan")


def _reset_peak():
    """Return the resident memory in MiB, from which on the peak counts; None where there is no such count."""
    try:
        _hand_back()
        _RESET.write_text("5")
        return _read("VmRSS")
    except (OSError, StopIteration):
        return None


def _hand_back():
    """Let the C library give freed memory back to the system, where it can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _read(name):
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
