r"""Moments of a sample, exact under union and removal, and the shrinkage that follows from them. NumPy only.

A sample enters as its count, its mean and the central power sums of :math:`z = x - \bar x`

.. math:: \sum_i z_i z_i^\top, \quad \sum_i \lVert z_i \rVert^2 z_i, \quad \sum_i \lVert z_i \rVert^4

Two samples are joined or parted by moving both to the mean of the result and adding or subtracting. The mean is kept as
a fixed pivot and a small offset, so that data far from zero lose no digits on the way. From these sums follow the
covariance :math:`S` (with 1/n) and, exactly as from the rows themselves, the shrinkage intensity of

.. math:: \Sigma = (1 - \rho) S + \rho \, \tfrac{\mathrm{tr} S}{D} I
"""

from dataclasses import dataclass, replace

import numpy as np

from ._shrinkage import ledoit_wolf_intensity, oas_intensity
from ._triangle import pack, unpack

_BLOCK = 8192  # rows that are centred at a time: no copy of the data is made, and the product stays efficient


@dataclass(eq=False)
class Moments:
    """The moments of a sample of rows.

    The sum of products is kept in one of three forms: in full, as its diagonal where only variances are wanted, or, as
    long as there are few rows for many features, as the centred rows themselves.
    """

    n_samples: int
    pivot: np.ndarray  # a point near the mean, the same ever after, (n_features,)
    offset: np.ndarray  # mean - pivot
    scatter: np.ndarray | None  # sum of z zᵀ, (n_features, n_features), or its diagonal, (n_features,)
    rows: np.ndarray | None  # the z themselves, (n_samples, n_features), where scatter is None
    cubic: np.ndarray  # sum of ‖z‖² z, (n_features,)
    quartic: float  # sum of ‖z‖⁴

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
        if self.rows is not None:
            return np.square(self.rows).sum(axis=0) / self.n_samples
        scatter = np.asarray(self.scatter)
        return (scatter if scatter.ndim == 1 else np.diagonal(scatter)) / self.n_samples

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
    """Return the moments of the rows of `X`, in float64; with `diagonal`, of each feature alone."""
    n_samples, n_features = X.shape
    pivot = X.mean(axis=0, dtype=np.float64)
    if not diagonal and _few(n_samples, n_features):
        rows = X - pivot
        offset = rows.mean(axis=0)  # what rounding has left of the mean
        squares = np.einsum("ij,ij->i", rows, rows)
        return Moments(n_samples, pivot, offset, None, rows - offset, squares @ rows, float(squares @ squares))
    total, cubic, quartic = np.zeros(n_features), np.zeros(n_features), 0.0
    scatter = np.zeros(n_features if diagonal else (n_features, n_features))
    buffer = np.empty((min(_BLOCK, n_samples), n_features))
    for start in range(0, n_samples, _BLOCK):
        rows = X[start : start + _BLOCK]
        block = np.subtract(rows, pivot, out=buffer[: len(rows)])
        total += block.sum(axis=0)
        squares = np.einsum("ij,ij->i", block, block)
        scatter += np.einsum("ij,ij->j", block, block) if diagonal else block.T @ block
        cubic += squares @ block
        quartic += float(squares @ squares)
    return Moments(n_samples, pivot, total / n_samples, scatter, None, cubic, quartic)


def merge(one, other):
    """Return the moments of two samples together."""
    n_samples = one.n_samples + other.n_samples
    between = (other.pivot - one.pivot) + (other.offset - one.offset)
    step = between * (other.n_samples / n_samples)
    few = one.rows is not None and other.rows is not None and _few(n_samples, one.n_features)
    one, other = _shift(one, step, keep_rows=few), _shift(other, step - between, keep_rows=few)
    return Moments(
        n_samples,
        one.pivot,
        one.offset,
        None if few else one.scatter + other.scatter,
        np.concatenate([one.rows, other.rows]) if few else None,
        one.cubic + other.cubic,
        one.quartic + other.quartic,
    )


def remove(whole, part):
    """Return the moments of a sample without some of its rows.

    Raises
    ------
    ValueError
        If fewer than two rows would be left; if a direction is left with a negative variance, so that `part` cannot
        have been part of `whole` (other rows that never were in it cannot be told); or if the rows are so much larger
        than those left that their fourth powers leave no digits of them.
    """
    n_samples = whole.n_samples - part.n_samples
    if n_samples < 2:
        raise ValueError(
            f"{part.n_samples} of {whole.n_samples} rows cannot be forgotten: at least two must be left. Fit anew."
        )
    between = (whole.pivot - part.pivot) + (whole.offset - part.offset)
    step = between * (part.n_samples / n_samples)
    moved, taken = _shift(whole, step, keep_rows=False), _shift(part, between + step, keep_rows=False)
    left = replace(
        moved,
        n_samples=n_samples,
        scatter=moved.scatter - taken.scatter,
        cubic=moved.cubic - taken.cubic,
        quartic=moved.quartic - taken.quartic,
    )
    if not _can_be(left, moved.variances * moved.n_samples):
        raise ValueError(
            "These rows were never learnt: without them a variance would be negative. Nothing was changed."
        )
    if np.finfo(np.float64).eps * moved.quartic > 1e-6 * left.quartic:
        raise ValueError(
            "These rows lie so far out that the others' moments drown in their rounding: what is left would be wrong. "
            "Nothing was changed; fit anew on the rows to be kept."
        )
    return left


def covariance(sample):
    """Return the empirical covariance, with 1/n, as the shrinkage formulas and scikit-learn take it."""
    scatter = sample.rows.T @ sample.rows if sample.scatter is None else sample.scatter
    return scatter / sample.n_samples


def varies(sample):
    """Return which features vary beyond rounding, by the bound that scikit-learn's StandardScaler takes."""
    eps, variances = np.finfo(np.float64).eps, sample.variances
    return variances > sample.n_samples * eps * variances + np.square(sample.n_samples * eps * sample.mean)


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


def _shift(sample, step, keep_rows):
    """Return the power sums of a sample about ``mean + step``, in full unless the rows are to be kept."""
    square = step @ step
    if sample.rows is not None and keep_rows:
        scatter, rows, product = None, sample.rows - step, sample.rows.T @ (sample.rows @ step)
        trace = np.vdot(sample.rows, sample.rows)
    else:
        scatter, rows = sample.scatter if sample.rows is None else sample.rows.T @ sample.rows, None
        full = scatter.ndim == 2
        product = scatter @ step if full else scatter * step
        trace = np.trace(scatter) if full else scatter.sum()
        scatter = scatter + sample.n_samples * (np.outer(step, step) if full else step**2)
    cubic = sample.cubic - 2 * product - (trace + sample.n_samples * square) * step
    quartic = (
        sample.quartic
        + 4 * step @ product
        - 4 * step @ sample.cubic
        + 2 * square * trace
        + sample.n_samples * square**2
    )
    offset = sample.offset + step
    return replace(sample, offset=offset, scatter=scatter, rows=rows, cubic=cubic, quartic=float(quartic))


def _trace_and_norm(sample):
    """Return the trace of the covariance and its squared Frobenius norm, the latter from the smaller Gram matrix."""
    if sample.rows is not None:
        gram = sample.rows @ sample.rows.T / sample.n_samples
        return np.trace(gram), np.vdot(gram, gram)
    empirical = covariance(sample)
    return np.trace(empirical), np.vdot(empirical, empirical)


def _can_be(left, scale):
    """Return whether the sums can be those of any rows: no variance below zero, in no direction, beyond rounding.

    Each feature is measured by its own sum of squares before the removal, `scale`.
    """
    tolerance = 1e-9
    units = np.sqrt(np.where(scale > 0, scale, 1.0))
    diagonal = left.scatter if left.scatter.ndim == 1 else np.diagonal(left.scatter)
    if np.any(diagonal < -tolerance * units**2):
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
