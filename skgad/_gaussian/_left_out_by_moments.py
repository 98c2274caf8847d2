r"""Leave-one-out distances from the moments of a sample alone: rows may be far apart, and come a few at a time.

The formulas are those of `_leave_one_out` and `_leave_one_out_joint`, whose sums over all rows are moments. What a row
is measured by is worked out once, in O(D³), and goes wherever the rows are; each row then takes O(D²). A row that holds
nearly all of some direction, and so leaves the others few digits there, is taken out of the moments themselves.
"""

import numpy as np
from scipy import linalg

from ._blocks import block_squares, in_unit_blocks
from ._estimate import DIAGONAL_KINDS, estimate
from ._leave_one_out import moments_of_the_others, weights
from ._leave_one_out_joint import BlockSums, among_features, ridges_of_the_others, variances_of_the_others
from ._leave_one_out_projected import projected_distances_of_some
from ._moments import in_full, moments, remove, varies
from ._principal import along_axes, axes_of
from ._spectrum import kept_components

_EPS = np.finfo(np.float64).eps
_LEAST = 1e-6  # of a direction that the others must hold: the closed form then has ten digits
_BLOCK = 256  # rows that are worked on at a time


class LeftOut:
    """What measures rows of a sample by the Gaussian of the others.

    Parameters
    ----------
    sample : Moments
        Of all rows, three at least.
    kind : str
        As in `estimate`.

    Raises
    ------
    ValueError
        If there are less than three rows.
    """

    def __init__(self, sample, kind):
        if sample.n_samples < 3:
            raise ValueError(f"Leave-one-out needs three rows at least, two to learn from; got {sample.n_samples}.")
        in_blocks = len(sample.sizes) > 1 and kind not in ("empirical", "diagonal")
        if in_blocks or kind == "empirical":
            sample = in_full(sample)
        self.sample, self.kind, self._sums = sample, kind, None
        if in_blocks:
            scaled, self._scales = in_unit_blocks(sample)
            weights_of_blocks = sample.unit / self._scales[sample.block_starts]
            pairs = np.outer(weights_of_blocks**2, weights_of_blocks**2)
            cubic = weights_of_blocks[:, np.newaxis] ** 2 * sample.cubic * (sample.unit / self._scales)
            products = None if kind in DIAGONAL_KINDS else scaled.scatter
            self._sums = BlockSums(sample.n_samples, sample.sizes, products, cubic, sample.quartic * pairs)
            if products is not None:
                self._sums.norms, self._sums.spectrum  # noqa: B018  # here, not wherever the rows are
        elif sample.rows is not None:  # few, which span all that lies between them: O(n² D)
            self._units = np.ones(sample.n_features)
            _, singular, axes = linalg.svd(sample.rows, full_matrices=False, check_finite=False)
            self._spectrum, self._axes = singular**2, axes.T
        elif kind not in DIAGONAL_KINDS:
            self._units = np.sqrt(np.diagonal(sample.scatter)) if kind == "empirical" else np.ones(sample.n_features)
            self._units[self._units == 0] = 1.0
            turned = sample.scatter / np.outer(self._units, self._units)
            self._spectrum, self._axes = linalg.eigh(turned, driver="evd", check_finite=False)
            self._spectrum = np.maximum(self._spectrum, 0.0)

    def distances(self, X):
        """Return the distance of each of some rows of the sample to the Gaussian of all others, unsquared.

        Infinite where that of the others is singular, or a row lies so far out that nothing of the others is left
        beside it.
        """
        return _in_blocks(X, self._measure, self._measure_without)

    def _measure_without(self, row):
        diagonal = self.kind in DIAGONAL_KINDS
        others = remove(self.sample, moments(row, diagonal=diagonal, sizes=self.sample.sizes))
        return estimate(others, self.kind).distances(row)[0]

    def _measure(self, X):
        """Return the distances; NaN where a row leaves the others too few digits for it."""
        centred = X - self.sample.mean
        if self._sums is not None:
            return self._measure_blocks(centred / self._scales)
        n_samples, others = self.sample.n_samples, self.sample.n_samples - 1
        if self.kind == "identity":
            return n_samples / others * np.linalg.norm(centred, axis=1)
        if self.kind == "diagonal":
            return self._measure_features(centred)
        z = centred / self.sample.unit
        squares = np.square((z / self._units) @ self._axes)
        sizes, along = np.einsum("ij,ij->i", z, z), squares @ self._spectrum
        cubic, quartic = z @ self.sample.cubic.sum(axis=0), self.sample.quartic.sum()
        of_others = moments_of_the_others(n_samples, self._spectrum, sizes, along, quartic, cubic)
        alpha, beta = weights(self.kind, others, self.sample.n_features, *of_others)
        return self._solve(squares, alpha, beta, _EPS * sizes**2 <= 1e-11 * of_others[2])

    def _solve(self, squares, alpha, beta, clear):
        sigma = self.sample.n_samples / (self.sample.n_samples - 1)
        diagonal = np.outer(alpha, self._spectrum) + beta[:, np.newaxis]
        solid = diagonal.min(axis=1) > 1e-13 * diagonal.max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            c = (squares / diagonal).sum(axis=1)
            rest = 1.0 - alpha * sigma * c
            distances = sigma * np.sqrt(c / rest)
        if self.kind == "empirical":
            clear = True
        return np.where(clear & solid & (rest > _LEAST), distances, np.nan)

    def _measure_features(self, centred):
        """Return the distances by the variances alone; a feature that is constant counts in its own unit."""
        n_samples, others = self.sample.n_samples, self.sample.n_samples - 1
        squares, total = np.square(centred), n_samples * self.sample.variances
        left = total - n_samples / others * squares
        still = ~varies(self.sample)
        clear = ((left > _LEAST * total) | still).all(axis=1)
        squares *= (n_samples / others) ** 2
        squares = np.divide(others * squares, left, out=squares.copy(), where=~still & (left > 0))
        return np.where(clear, np.sqrt(squares.sum(axis=1)), np.nan)

    def _measure_blocks(self, y):
        n_samples = self.sample.n_samples
        squares = block_squares(y, self.sample.sizes)
        left, constant = variances_of_the_others(n_samples, squares)
        if self.kind == "identity":
            distances = n_samples / (n_samples - 1) * np.sqrt((squares / left).sum(axis=1))
        else:
            ridges, drowning = ridges_of_the_others(self._sums, y, squares, left, self.kind)
            squared, solved = among_features(self._sums, y, ridges)
            with np.errstate(invalid="ignore"):
                distances = np.where(solved & ~drowning, np.sqrt(squared), np.nan)
        return np.where(constant | (left < _LEAST).any(axis=1), np.nan, distances)


class LeftOutBehind:
    """What measures rows by a projection and the Gaussian behind it, both of the others.

    Parameters
    ----------
    sample : Moments
        Of all rows, in front of the projection.
    projected : Moments
        Of all rows, behind the projection of all.
    n_components : float or int
        What it keeps, the directions of least variance, as in `NPCA`.
    kind : str
        As in `estimate`.
    """

    def __init__(self, sample, projected, n_components, kind):
        self.sample, self.n_components, self.kind = in_full(sample), n_components, kind
        self._axes = axes_of(self.sample)
        mean_square = projected.variances.sum() / projected.unit**2
        quartic = projected.quartic.sum() / projected.n_samples  # zero where it is not needed
        self._kurtosis = quartic / mean_square**2 if mean_square > 0 else 1.0

    def distances(self, X):
        """Return the distance of each of some rows; infinite as in `LeftOut`."""
        return _in_blocks(X, self._measure, self._measure_without)

    def _measure(self, X):
        some = along_axes(self._axes, X)
        return projected_distances_of_some(some, self.n_components, self.kind, self._kurtosis)

    def _measure_without(self, row):
        """Return the distance of one row, from the spectrum of the moments without it."""
        axes = axes_of(remove(self.sample, moments(row)))
        shape = axes.n_samples, axes.n_features
        first, end = kept_components(axes.spectrum, self.n_components, shape)
        kept = axes.spectrum[first:end]
        trace, norm = kept.sum(), kept @ kept
        quartic = self._kurtosis * trace**2 / axes.n_samples
        parts = (np.array([one]) for one in (trace, norm, quartic))
        alpha, beta = weights(self.kind, axes.n_samples, len(kept), *parts)
        squares = np.square(along_axes(axes, row).rows[0, first:end])
        unit = axes.unit if self.kind == "identity" else 1.0
        return unit * np.sqrt((squares / (alpha * kept + beta)).sum())


def _in_blocks(X, measure, measure_without):
    """Return distances some rows at a time; where there is NaN, of the row alone, infinite if nothing is left."""
    X = X.astype(np.float64, copy=False)
    parts = [measure(X[row : row + _BLOCK]) for row in range(0, len(X), _BLOCK)]
    distances = np.concatenate([np.empty(0), *parts])
    for row in np.flatnonzero(np.isnan(distances)):
        try:
            distances[row] = measure_without(X[row : row + 1])
        except (ValueError, np.linalg.LinAlgError):
            distances[row] = np.inf
    return distances
