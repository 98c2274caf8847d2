"""Parameters, checked: what is out of range is refused by name, with what was wanted and what came."""

import math
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any

import numpy as np


def check_int(name, value, least=1, *, optional=False, error=ValueError):
    """Raise an error unless a parameter is an int, `least` or more, or None where it is `optional`."""
    if optional and value is None:
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        what = {0: "a non-negative int", 1: "a positive int"}.get(least, f"an int of at least {least}")
        raise error(f"{name} must be {what}{' or None' if optional else ''}; got {value!r}.")


def read_size(name, value):
    """Return the height and the width in pixels that a parameter means: an int is both; None for None.

    Raises
    ------
    ValueError
        If it is neither a positive int nor a pair of them.
    """
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    integers = all(isinstance(side, Integral) and not isinstance(side, bool) and int(side) > 0 for side in pair)
    if len(pair) != 2 or not integers:
        raise ValueError(f"{name} must be a positive int, (height, width) or None, in pixels; got {value!r}.")
    return int(pair[0]), int(pair[1])


def check_bool(name, value):
    """Raise ValueError unless a parameter is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; got {value!r}.")


def check_length(name, value):
    """Raise ValueError unless a parameter is a finite number that is not negative, of pixels."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} must be a non-negative number of pixels; got {value!r}.")


def check_learning_rate(value):
    """Raise ValueError unless a parameter ``learning_rate`` is a finite number that is not negative."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError(f"learning_rate must be a non-negative number; got {value!r}.")


def check_share(name, value, *, closed=False):
    """Raise ValueError unless a parameter lies in (0, 1), or in (0, 1] where it is `closed`."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (0 < value < 1 or (closed and value == 1)):
        raise ValueError(f"{name} must be a share in (0, 1{']' if closed else ')'}; got {value!r}.")


def check_splitter(cv):
    """Raise ValueError if a parameter `cv` is an iterator, which serves one fit, or a class instead of an object."""
    if isinstance(cv, type):
        raise ValueError(f"cv is the class {cv.__name__}; pass an object of it, such as {cv.__name__}().")
    if hasattr(cv, "__next__"):
        raise ValueError("cv is an iterator, which could be gone through only once; pass list(cv).")


def read_fpr(fpr):
    """Return the fraction that `fpr` says, or raise ValueError unless it lies in (0, 1).

    Of a float that is the simplest fraction which rounds to it: 1/100 for ``0.01`` and ``np.float32(0.01)``, 3/301 for
    ``3 / 301``. Ranks, thresholds and comparisons all start from it, and so agree.
    """
    share = _read_fraction(fpr)
    if not 0 < share < 1:
        raise ValueError(f"fpr must lie in (0, 1): it is a share of the normal images, so 1 % is 0.01; got {fpr!r}.")
    return share


def _read_fraction(value):
    """Return the fraction that a number says; 0 for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        return Fraction(0)
    number: Any = value
    try:
        exact = Fraction(number) if isinstance(number, Rational) else Fraction(*number.as_integer_ratio())
    except (ValueError, OverflowError):  # NaN, infinity
        return Fraction(0)
    if isinstance(number, (Rational, Decimal)) or not 0 < exact < 1:
        return exact
    kind = type(number)
    spacing = np.nextafter(number, kind(1)) - number, number - np.nextafter(number, kind(0))
    above, below = (Fraction(*step.as_integer_ratio()) / 2 for step in spacing)
    return _simplest_between(exact - below, exact + above)


def _simplest_between(low, high):
    """Return the fraction of the smallest denominator from `low` to `high`, by their continued fractions."""
    whole = math.floor(low)
    if whole == low:
        return Fraction(whole)
    if whole < math.floor(high):
        return Fraction(whole + 1)
    return whole + 1 / _simplest_between(1 / (high - whole), 1 / (low - whole))
