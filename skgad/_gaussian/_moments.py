r"""Moments of a sample, exact under union and removal, and the shrinkage that follows from them. NumPy only.

A sample enters as its count, its mean and the central power sums of :math:`z = x - \bar x`

.. math:: \sum_i z_i z_i^\top, \quad \sum_i \lVert z_{ib} \rVert^2 z_i, \quad
    \sum_i \lVert z_{ib} \rVert^2 \lVert z_{ic} \rVert^2

over all features, or, where blocks of them are to be brought to one scale before their Gaussian is estimated, for each
block b and pair of blocks b, c: the scales are known at the end of a stream only.

Two samples are joined or parted by moving both to the mean of the result and adding or subtracting. The mean is kept as
a fixed pivot and a small offset, so that data far from zero lose no digits on the way. From these sums follow the
covariance :math:`S` (with 1/n) and, exactly as from the rows themselves, the shrinkage intensity of

.. math:: \Sigma = (1 - \rho) S + \rho \, \tfrac{\mathrm{tr} S}{D} I

Fourth powers of very large or very small values are beyond float64, so the sums are those of :math:`z / u`. The unit
:math:`u` is a power of two, which divides without rounding: 1 for all but such values.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ._blocks import block_squares, block_starts
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
    cubic: np.ndarray  # sums of ‖z_b‖² z, (n_blocks, n_features); zero where only the diagonal is kept
    quartic: np.ndarray  # sums of ‖z_b‖² ‖z_c‖², (n_blocks, n_blocks), likewise
    # the largest sum of each z² that rows were removed from, (n_features,): rounding is a share of it
    peaks: np.ndarray
    quartic_peak: np.ndarray | float = 0.0  # the same of the quartic sums
    sizes: tuple = ()  # of the blocks, adjacent features; none: all of them are one block

    @property
    def n_features(self):
        return len(self.pivot)

    @property
    def block_starts(self):
        """Where each block begins, for ``np.add.reduceat``."""
        return block_starts(self.sizes)

    @cached_property
    def gram(self):
        """The products of the rows with each other, where they are kept, in the unit."""
        rows = np.asarray(self.rows)
        return rows @ rows.T

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
        state.pop("gram", None)
        if self.scatter is not None and self.scatter.ndim == 2:
            state["scatter"] = pack(self.scatter)
            state["packed"] = True
        if self.rows is not None:
            plain = original_rows(self)
            state["rows"] = plain if plain.dtype == np.float32 else self.rows
        return state

    def __setstate__(self, state):
        packed = state.pop("packed", False)
        self.__dict__.update(state)
        if packed:
            self.scatter = unpack(self.scatter, self.n_features)
        if self.rows is not None and self.rows.dtype == np.float32:
            self.rows = (self.rows - self.pivot - self.offset) / self.unit


def moments(X, *, diagonal=False, sizes=()):
    """Return the moments of the rows of `X`, in float64; with `diagonal`, of each feature alone.

    `sizes` are those of the blocks of adjacent features, where there is more than one.

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
        squares = block_squares(rows, sizes)
        cubic, quartic = squares.T @ rows, squares.T @ squares
        return Moments(n_samples, pivot, left * unit, unit, None, rows - left, cubic, quartic, none, sizes=sizes)
    n_blocks = max(len(sizes), 1)
    total, cubic, quartic = np.zeros(n_features), np.zeros((n_blocks, n_features)), np.zeros((n_blocks, n_blocks))
    scatter = np.zeros(n_features if diagonal else (n_features, n_features))
    for block in _centre(X, pivot, unit):
        total += block.sum(axis=0)
        if diagonal:
            scatter += np.einsum("ij,ij->j", block, block)
            continue
        squares = block_squares(block, sizes)
        scatter += block.T @ block
        cubic += squares.T @ block
        quartic += squares.T @ squares
    return Moments(n_samples, pivot, total / n_samples * unit, unit, scatter, None, cubic, quartic, none, sizes=sizes)


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
        quartic_peak=np.maximum(one.quartic_peak, other.quartic_peak),
    )


def in_full(sample):
    """Return the same moments without the rows, where they are kept."""
    return sample if sample.rows is None else replace(sample, scatter=sample.rows.T @ sample.rows, rows=None)


def at_zero(sample):
    """Return the moments of the rows less their mean: about another mean, zero, and otherwise the same."""
    return replace(sample, pivot=np.zeros_like(sample.pivot), offset=np.zeros_like(sample.offset))


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
        quartic_peak=np.maximum(np.maximum(whole.quartic_peak, part.quartic_peak), moved.quartic),
    )
    if not _can_be(left, squares, still):
        raise ValueError(
            "These rows were never learnt: without them a variance would be negative. Nothing was changed."
        )
    if _has_drowned(left):
        raise DrownedError
    return left


def original_rows(sample):
    """Return the rows that are kept as they came: in float32 where they follow from that."""
    full = sample.rows * sample.unit + sample.offset + sample.pivot
    with np.errstate(over="ignore"):  # what is beyond float32 does not follow from it
        plain = full.astype(np.float32)
    rows = (plain - sample.pivot - sample.offset) / sample.unit
    rounding = 8 * _EPS * (np.abs(sample.rows) + np.abs(sample.mean / sample.unit))
    return plain if np.all(np.abs(rows - sample.rows) <= rounding) else full


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
    return float(ledoit_wolf_intensity(sample.n_samples, sample.n_features, trace, norm, sample.quartic.sum()))


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
        scatter, rows = None, sample.rows - step
        along = _block_sums(sample.rows * step, sample)
        products, traces = along.T @ sample.rows, block_squares(sample.rows, sample.sizes).sum(axis=0)
    else:
        scatter, rows = _full_scatter(sample), None
        products, traces = _block_sums(scatter * step, sample).T, _block_sums(np.diagonal(scatter), sample)
        scatter = scatter + sample.n_samples * np.outer(step, step)
    squares = _block_sums(step**2, sample)
    cubic = sample.cubic - 2 * products - np.outer(traces + sample.n_samples * squares, step)
    along_cubic = _block_sums(sample.cubic * step, sample)
    between = np.outer(traces, squares)
    quartic = (
        sample.quartic
        + 4 * _block_sums(products * step, sample)
        - 2 * (along_cubic + along_cubic.T)
        + between
        + between.T
        + sample.n_samples * np.outer(squares, squares)
    )
    return replace(sample, offset=offset, scatter=scatter, rows=rows, cubic=cubic, quartic=quartic)


def _block_sums(values, sample):
    """Return the sums over each block of the last axis."""
    return np.add.reduceat(values, sample.block_starts, axis=-1)


def _has_drowned(left):
    """Return whether removed rows have left too few digits of any block, each weighed by its own variance."""
    totals = _block_sums(_squares(left), left)
    weights = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
    fourth, lost = weights @ left.quartic @ weights, weights @ left.quartic_peak @ weights
    return bool(_EPS * lost > 1e-6 * fourth or np.any(_EPS * _block_sums(left.peaks, left) > _DROWNED * totals))


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
    gram = (sample.scatter if sample.rows is None else sample.gram) / sample.n_samples
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
