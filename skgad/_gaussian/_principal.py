"""A sample in the basis of its own principal axes, where leaving a row out, or adding one, is a rank-one change.

The coordinates come from the rows themselves wherever they are not many more than the features, so that a row that
alone spans a direction is known to do so. NumPy and SciPy only.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg


@dataclass(eq=False)
class PrincipalRows:
    """Centred rows, turned into their principal axes and measured in a unit that lets no power of them overflow."""

    mean: np.ndarray  # of the rows as they came, (n_features,)
    axes: np.ndarray  # one a column, (n_features, n_axes): the directions with variance beyond rounding
    rows: np.ndarray  # coordinates along the axes, (n_samples, n_axes)
    spectrum: np.ndarray  # their sums of squares, decreasing, (n_axes,)
    unit: float  # a power of two, by which mean and rows were divided
    n_all: int | None = None  # rows of the sample, where these are some of them only

    @property
    def n_samples(self):
        return len(self.rows) if self.n_all is None else self.n_all

    @property
    def n_features(self):
        return len(self.axes)

    def coordinates(self, X):
        """Return other rows along the axes, and the squared lengths of what leaves their span."""
        centred = X / self.unit - self.mean
        along = centred @ self.axes
        if self.axes.shape[1] == self.n_features:
            return along, np.zeros(len(along))
        rest = centred - along @ self.axes.T  # not ‖x‖² - ‖along‖², whose rounding a small ridge would magnify
        return along, np.einsum("ij,ij->i", rest, rest)


def principal_rows(X):
    """Return the rows of `X` along their principal axes; O(n D min(n, D)).

    Directions at or below ``max(n, D) * eps`` of the largest sum of squares are rounding, and left out.
    """
    n_samples, n_features = X.shape
    unit = unit_of(X)
    rows, mean = centre(X / unit)
    if n_samples > 2 * n_features:
        spectrum, axes = linalg.eigh(rows.T @ rows, driver="evd", overwrite_a=True, check_finite=False)
        spectrum, axes = np.maximum(spectrum[::-1], 0.0), axes[:, ::-1]
        turned = rows @ axes
    else:
        left, singular, axes = linalg.svd(rows, full_matrices=False, check_finite=False)
        turned, spectrum, axes = left * singular, singular**2, axes.T
    found = np.count_nonzero(spectrum > max(X.shape) * np.finfo(np.float64).eps * spectrum[0])
    return PrincipalRows(mean, axes[:, :found], np.ascontiguousarray(turned[:, :found]), spectrum[:found], unit)


def axes_of(sample):
    """Return the principal axes of a sample without rows along them, from its `Moments` in full; O(D³)."""
    spectrum, axes = linalg.eigh(sample.scatter, driver="evd", check_finite=False)
    spectrum, axes = np.maximum(spectrum[::-1], 0.0), axes[:, ::-1]
    shape = sample.n_samples, sample.n_features
    found = np.count_nonzero(spectrum > max(shape) * np.finfo(np.float64).eps * spectrum[0])
    axes = np.ascontiguousarray(axes[:, :found])
    return PrincipalRows(
        sample.mean / sample.unit, axes, np.empty((0, found)), spectrum[:found], sample.unit, sample.n_samples
    )


def along_axes(axes, X):
    """Return some rows of a sample along its axes: those of `axes_of`."""
    return replace(axes, rows=(X / axes.unit - axes.mean) @ axes.axes)


def centre(rows):
    """Return the rows about their mean, and the mean; twice, so that rows far from zero lose no digits."""
    mean = rows.mean(axis=0)
    rows = rows - mean
    offset = rows.mean(axis=0)
    rows -= offset
    return rows, mean + offset


def unit_of(X):
    """Return the power of two just above the largest number, so that dividing by it costs no digit."""
    return np.ldexp(1.0, int(np.frexp(np.abs(X).max())[1]))
