r"""Moments of a sample, exact under union and removal, and the shrinkage that follows from them. NumPy only.

A sample enters as its count, its mean and the central power sums of :math:`z = x - \bar x`

.. math:: \sum_i z_i z_i^\top, \quad \sum_i \lVert z_i \rVert^2 z_i, \quad \sum_i \lVert z_i \rVert^4

Two samples are joined or parted by moving both to the mean of the result and adding or subtracting. The mean is kept as
a fixed pivot and a small offset, so that data far from zero lose no digits on the way. From these sums follow the
covariance :math:`S` (with 1/n) and, exactly as from the rows themselves, the shrinkage intensity of

.. math:: \Sigma = (1 - \rho) S + \rho \, \tfrac{\mathrm{tr} S}{D} I

Fourth powers of very large or very small values are beyond float64, so the sums are those of :math:`z / u`. The unit
:math:`u` is a power of two, which divides without rounding: 1 for all but such values.
"""

from dataclasses import dataclass, replace

import numpy as np

from ._shrinkage import ledoit_wolf_intensity, oas_intensity
from ._triangle import pack, unpack

_BLOCK = 8192  # rows that are centred at a time: no copy of the data is made, and the product stays efficient
_EPS = np.finfo(np.float64).eps
_DROWNED = 1e-7  # of a variance: with more of it in doubt, what is left of the sums is refused
_TAME = 2.0**100  # deviations up to this, and down to its inverse, have fourth powers that float64 holds in a unit of 1
_WILDEST = 2.0**400  # beyond this even variances, of features that vary less than others, would be beyond float64


class DrownedError(ValueError):
    """Rows that were removed have left too few digits of the others."""

    def __init__(self, message=None):
        super().__init__(
            message
            or "The rows to be forgotten lie so far out that the others' moments drown in their rounding: what is left "
            "would be wrong; fit anew on the rows to be kept."
        )


@dataclass(eq=False)
class Moments:
    """The moments of a sample of rows.

    The sum of products is kept in one of three forms: in full, as its diagonal where only variances are wanted, or, as
    long as there are few rows for many features, as the centred rows themselves.
    """

    n_samples: int
    pivot: np.ndarray  # a point near the mean, the same ever after, (n_features,)
    offset: np.ndarray  # mean - pivot
    unit: float  # of z, a power of two; the following are in powers of it
    scatter: np.ndarray | None  # sum of z zᵀ, (n_features, n_features), or its diagonal, (n_features,)
    rows: np.ndarray | None  # the z themselves, (n_samples, n_features), where scatter is None
    cubic: np.ndarray  # sum of ‖z‖² z, (n_features,); zero where only the diagonal is kept
    quartic: float  # sum of ‖z‖⁴, likewise
    peaks: (
        np.ndarray
    )  # the largest sum of each z² that rows were removed from, (n_features,): rounding is a share of it
    quartic_peak: float = 0.0  # the same of ‖z‖⁴

    @property
    def n_features(self):
        return len(self.pivot)

    @property
    def mean(self):
        """The mean of each feature."""
        return self.pivot + self.offset

    @property
    def variances(self):
        """The variance of each feature, with 1/n."""
        return _squares(self) / (self.n_samples / self.unit**2)

    @property
    def rounding(self):
        """What each variance may be off by, because rows that were removed had moved it: zero where none were."""
        return _EPS * self.peaks / (self.n_samples / self.unit**2)

    def __getstate__(self):
        state = self.__dict__.copy()
        if self.scatter is not None and self.scatter.ndim == 2:
            state["scatter"] = pack(self.scatter)
            state["packed"] = True
        return state

    def __setstate__(self, state):
        packed = state.pop("packed", False)
        self.__dict__.update(state)
        if packed:
            self.scatter = unpack(self.scatter, self.n_features)


def moments(X, *, diagonal=False):
    """Return the moments of the rows of `X`, in float64; with `diagonal`, of each feature alone.

    Raises
    ------
    ValueError
        If the squares of the deviations from the mean are beyond float64.
    """
    n_samples, n_features = X.shape
    pivot, unit = _find_pivot_and_unit(X)
    none = np.zeros(n_features)
    if not diagonal and _few(n_samples, n_features):
        rows = (X - pivot) / unit
        left = rows.mean(axis=0)  # what rounding has left of the mean
        squares = np.einsum("ij,ij->i", rows, rows)
        cubic, quartic = squares @ rows, float(squares @ squares)
        return Moments(n_samples, pivot, left * unit, unit, None, rows - left, cubic, quartic, none)
    total, cubic, quartic = np.zeros(n_features), np.zeros(n_features), 0.0
    scatter = np.zeros(n_features if diagonal else (n_features, n_features))
    for block in _centre(X, pivot, unit):
        total += block.sum(axis=0)
        if diagonal:
            scatter += np.einsum("ij,ij->j", block, block)
            continue
        squares = np.einsum("ij,ij->i", block, block)
        scatter += block.T @ block
        cubic += squares @ block
        quartic += float(squares @ squares)
    return Moments(n_samples, pivot, total / n_samples * unit, unit, scatter, None, cubic, quartic, none)


def merge(one, other):
    """Return the moments of two samples together."""
    n_samples = one.n_samples + other.n_samples
    one, other, between = _in_one_unit(one, other)
    step = -between * (other.n_samples / n_samples)
    few = one.rows is not None and other.rows is not None and _few(n_samples, one.n_features)
    one, other = _shift(one, step, keep_rows=few), _shift(other, step + between, keep_rows=few)
    return replace(
        one,
        n_samples=n_samples,
        scatter=None if few else one.scatter + other.scatter,
        rows=np.concatenate([one.rows, other.rows]) if few else None,
        cubic=one.cubic + other.cubic,
        quartic=one.quartic + other.quartic,
        peaks=np.maximum(one.peaks, other.peaks),
        quartic_peak=max(one.quartic_peak, other.quartic_peak),
    )


def remove(whole, part):
    """Return the moments of a sample without some of its rows.

    Raises
    ------
    ValueError
        If fewer than two rows would be left; or if a direction is left with a negative variance, so that `part` cannot
        have been part of `whole` (other rows that never were in it cannot be told).
    DrownedError
        If the rows are so much larger than those left that they leave too few digits of them, over all features.
        `estimate` tells what is left of each.
    """
    n_samples = whole.n_samples - part.n_samples
    if n_samples < 2:
        raise ValueError(
            f"{part.n_samples} of {whole.n_samples} rows cannot be forgotten: at least two must be left. Fit anew."
        )
    whole, part, between = _in_one_unit(whole, part)
    step = between * (part.n_samples / n_samples)
    moved, taken = _shift(whole, step, keep_rows=False), _shift(part, between + step, keep_rows=False)
    squares, still = _squares(moved), _squares_of_a_constant(moved)
    left = replace(
        moved,
        n_samples=n_samples,
        scatter=moved.scatter - taken.scatter,
        cubic=moved.cubic - taken.cubic,
        quartic=moved.quartic - taken.quartic,
        peaks=np.maximum(np.maximum(whole.peaks, part.peaks), np.where(squares > still, squares, 0.0)),
        quartic_peak=max(whole.quartic_peak, part.quartic_peak, moved.quartic),
    )
    if not _can_be(left, squares, still):
        raise ValueError(
            "These rows were never learnt: without them a variance would be negative. Nothing was changed."
        )
    if _EPS * left.quartic_peak > 1e-6 * left.quartic or left.rounding.sum() > _DROWNED * left.variances.sum():
        raise DrownedError
    return left


def covariance(sample):
    """Return the empirical covariance, with 1/n, as the shrinkage formulas and scikit-learn take it."""
    return _full_scatter(sample) / (sample.n_samples / sample.unit**2)


def varies(sample):
    """Return which features vary beyond rounding, by the bound that scikit-learn's StandardScaler takes."""
    eps, variances = sample.n_samples * _EPS, sample.variances
    return variances > eps * variances + np.square(eps * sample.mean)


def refuse_drowned(sample, variances):
    """Raise DrownedError if what each feature is divided by has lost its digits to rows that were removed."""
    if np.any(sample.rounding > _DROWNED * np.maximum(variances, 0.0)):  # rounding leaves a constant below zero
        raise DrownedError


def ledoit_wolf_shrinkage(sample):
    """Return the shrinkage intensity of Ledoit and Wolf (2004), in [0, 1], exactly as from the rows themselves."""
    trace, norm = _trace_and_norm(sample)
    return float(ledoit_wolf_intensity(sample.n_samples, sample.n_features, trace, norm, sample.quartic))


def oas_shrinkage(sample):
    """Return the shrinkage intensity of the oracle approximating shrinkage of Chen et al. (2010), in [0, 1]."""
    return float(oas_intensity(sample.n_samples, sample.n_features, *_trace_and_norm(sample)))


def _few(n_samples, n_features):
    """Return whether the rows take less room than half of the symmetric matrix, and less work."""
    return 2 * n_samples <= n_features


def _centre(X, pivot, unit):
    """Yield the deviations of some rows at a time from the pivot, in the unit; each is written over the one before."""
    buffer = np.empty((min(_BLOCK, len(X)), X.shape[1]))
    for start in range(0, len(X), _BLOCK):
        rows = X[start : start + _BLOCK]
        block = np.subtract(rows, pivot, out=buffer[: len(rows)])
        if unit != 1.0:
            block /= unit
        yield block


def _find_pivot_and_unit(X):
    """Return the mean of the rows, as exact as one pass makes it, and the unit of the deviations from it."""
    with np.errstate(over="ignore", invalid="ignore"):  # a mean that overflows is refused with the rest
        pivot = X.mean(axis=0, dtype=np.float64)
        largest = np.maximum(X.max(axis=0) - pivot, pivot - X.min(axis=0)).max()
    return pivot, _unit_of(largest)


def _unit_of(largest):
    """Return the unit for deviations up to this; the smallest for none, so that any other sample's is taken."""
    if largest == 0:
        return 1.0 / _WILDEST
    if not 1.0 / _WILDEST < largest < _WILDEST:
        raise ValueError(
            f"The values lie up to {largest:.0e} from their mean, and float64 does not hold the squares of that; "
            f"between {1 / _WILDEST:.0e} and {_WILDEST:.0e} it does. Divide all values by one constant."
        )
    return 1.0 if 1.0 / _TAME < largest < _TAME else float(2.0 ** np.frexp(largest)[1])


def _in_one_unit(one, other):
    """Return both samples in a unit that holds the two together, and the step from the other's mean to the one's."""
    between = (one.pivot - other.pivot) + (one.offset - other.offset)
    unit = max(one.unit, other.unit, _unit_of(np.abs(between).max()))
    return _to_unit(one, unit), _to_unit(other, unit), between


def _to_unit(sample, unit):
    if sample.unit == unit:
        return sample
    ratio = sample.unit / unit
    return replace(
        sample,
        unit=unit,
        scatter=None if sample.scatter is None else sample.scatter * ratio**2,
        rows=None if sample.rows is None else sample.rows * ratio,
        cubic=sample.cubic * ratio**3,
        quartic=sample.quartic * ratio**4,
        peaks=sample.peaks * ratio**2,
        quartic_peak=sample.quartic_peak * ratio**4,
    )


def _shift(sample, step, keep_rows):
    """Return the power sums of a sample about ``mean + step``, in full unless the rows are to be kept."""
    offset, step = sample.offset + step, step / sample.unit
    if sample.rows is None and sample.scatter.ndim == 1:
        return replace(sample, offset=offset, scatter=sample.scatter + sample.n_samples * step**2)
    if sample.rows is not None and keep_rows:
        scatter, rows, product = None, sample.rows - step, sample.rows.T @ (sample.rows @ step)
        trace = np.vdot(sample.rows, sample.rows)
    else:
        scatter, rows = _full_scatter(sample), None
        product, trace = scatter @ step, np.trace(scatter)
        scatter = scatter + sample.n_samples * np.outer(step, step)
    square = step @ step
    cubic = sample.cubic - 2 * product - (trace + sample.n_samples * square) * step
    quartic = (
        sample.quartic
        + 4 * step @ product
        - 4 * step @ sample.cubic
        + 2 * square * trace
        + sample.n_samples * square**2
    )
    return replace(sample, offset=offset, scatter=scatter, rows=rows, cubic=cubic, quartic=float(quartic))


def _squares(sample):
    """Return the sum of the squares of each feature, in the unit."""
    if sample.rows is not None:
        return np.square(sample.rows).sum(axis=0)
    return sample.scatter if sample.scatter.ndim == 1 else np.diagonal(sample.scatter)


def _squares_of_a_constant(sample):
    """Return what rounding can make of the sum of the squares of a feature that does not vary, in the unit."""
    return sample.n_samples * np.square(sample.n_samples * _EPS * sample.mean / sample.unit)


def _full_scatter(sample):
    return sample.rows.T @ sample.rows if sample.scatter is None else sample.scatter


def _trace_and_norm(sample):
    """Return the trace of the covariance and its squared Frobenius norm, the latter from the smaller Gram matrix."""
    gram = _full_scatter(sample) if sample.rows is None else sample.rows @ sample.rows.T
    gram = gram / sample.n_samples
    return np.trace(gram), np.vdot(gram, gram)


def _can_be(left, scale, still):
    """Return whether the sums can be those of any rows: no variance below zero, in no direction, beyond rounding.

    Each feature is measured by its own sum of squares before the removal, `scale`, unless it is `still`.
    """
    tolerance = 1e-9
    scale = np.maximum(scale, still / tolerance)
    units = np.sqrt(np.where(scale > 0, scale, 1.0))
    if np.any(_squares(left) < -tolerance * units**2):
        return False
    if left.scatter.ndim == 1:
        return True
    scaled = left.scatter / np.outer(units, units)
    scaled.flat[:: left.n_features + 1] += tolerance
    try:
        np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        return False
    return True
