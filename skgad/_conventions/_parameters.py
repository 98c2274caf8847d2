"""Parameters, checked: what is out of range is refused by name, with what was wanted and what came."""

from fractions import Fraction
from numbers import Real


def read_fpr(fpr):
    """Return `fpr` as the exact fraction that its decimal form says, or raise ValueError unless it is in (0, 1)."""
    if not isinstance(fpr, Real) or isinstance(fpr, bool) or not 0 < float(fpr) < 1:
        raise ValueError(f"fpr must lie in (0, 1): it is a share of the normal images, so 1 % is 0.01; got {fpr!r}.")
    return Fraction(str(fpr))
