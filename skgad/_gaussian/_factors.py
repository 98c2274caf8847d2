r"""A covariance as a factor: what whitens the rows, so that a Mahalanobis distance is a norm.

The distance is a whitening and a norm, :math:`M(x) = \lVert W (x - \mu) \rVert` with
:math:`W^\top W = \Sigma^{-1}`. No matrix is ever inverted: :math:`W` is applied by a triangular solve, or, where the
covariance is a few directions on top of a multiple of the identity, through those directions alone (Woodbury). float64.
"""

import numpy as np
from scipy import linalg

from ._triangle import pack, unpack


class Cholesky:
    """A covariance given in full. A pickle holds its lower triangle; the factor is rebuilt on loading.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is singular: a direction has no variance beyond rounding.
    """

    def __init__(self, full):
        self._factor = linalg.cholesky(full, lower=True, check_finite=False)
        # As a share of the feature's own variance this does not depend on units; rounding makes it about D·eps where it
        # should be zero.
        unexplained = self.unexplained / np.diagonal(full)
        if unexplained.min() <= 10 * len(full) * np.finfo(np.float64).eps:
            raise np.linalg.LinAlgError("A feature is a combination of the others.")

    @property
    def whitener(self):
        """The matrix W with rows centred @ W.T whitened: the inverse of the factor."""
        return linalg.solve_triangular(self._factor, np.eye(len(self._factor)), lower=True, check_finite=False)

    @property
    def unexplained(self):
        """The variance of each feature that the features before it leave unexplained: the square of a pivot."""
        return np.square(np.diagonal(self._factor))

    def covariance(self):
        """Return the matrix."""
        return self._factor @ self._factor.T

    def norms(self, centred):
        """Return the norms of the whitened rows."""
        whitened = self.whiten(centred)
        return np.sqrt(np.einsum("ij,ij->i", whitened, whitened))

    def whiten(self, centred):
        """Return rows whose norms are the distances, and so are those of their differences."""
        # from the right, centred @ inverse(factor).T: a fifth faster than solve_triangular from the left
        return linalg.blas.dtrsm(1.0, self._factor, centred, side=1, lower=1, trans_a=1)

    def solve(self, centred):
        """Return each row times the inverse of the matrix."""
        return linalg.cho_solve((self._factor, True), centred.T, check_finite=False).T

    def __getstate__(self):
        return {"lower": pack(self._factor), "size": len(self._factor)}

    def __setstate__(self, state):
        self._factor = np.tril(unpack(state["lower"], state["size"]))


class Diagonal:
    """A covariance of independent features."""

    def __init__(self, variances):
        self._variances = variances

    @property
    def scales(self):
        """The standard deviation of each feature."""
        return np.sqrt(self._variances)

    def covariance(self):
        """Return the variances."""
        return self._variances

    def norms(self, centred):
        """Return the norms of the rows, each feature in units of its standard deviation."""
        return np.sqrt(np.einsum("ij,ij,j->i", centred, centred, 1.0 / self._variances))

    def whiten(self, centred):
        """Return rows whose norms are the distances, and so are those of their differences."""
        return centred / np.sqrt(self._variances)

    def solve(self, centred):
        """Return each row times the inverse of the matrix."""
        return centred / self._variances


class LowRank:
    """Some directions with a variance of their own, and one variance for all directions perpendicular to them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        What spans the directions: orthonormal axes, or with `turn` any rows.
    variances : ndarray of shape (n_axes,)
    floor : float
        The variance of all other directions, and the least of all.
    turn : ndarray of shape (n_rows, n_axes), default=None
        ``turn.T @ rows`` are the axes. None: the rows are. For a floor that is more than `FLAT` of the
        largest variance.
    """

    FLAT = 1e-4  # of the largest variance: with a floor above it, a difference of squares loses four digits at most

    def __init__(self, rows, variances, floor, turn=None):
        self._rows = rows
        self._variances = variances
        self._floor = floor
        self._turn = turn

    @property
    def axes(self):
        """The orthonormal directions with a variance of their own, (n_axes, n_features)."""
        return self._rows if self._turn is None else self._turn.T @ self._rows

    @property
    def variances(self):
        """The variance along each axis, (n_axes,)."""
        return self._variances

    @property
    def floor(self):
        """The variance of all other directions."""
        return self._floor

    def covariance(self):
        """Return the matrix."""
        axes = self.axes
        full = (axes.T * (self._variances - self._floor)) @ axes
        full.flat[:: len(full) + 1] += self._floor
        return full

    def norms(self, centred):
        """Return the norms of the whitened rows."""
        along = centred @ self._rows.T
        if self._turn is not None:
            along = along @ self._turn
            gain = 1.0 - self._floor / self._variances
            squares = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij,j->i", along, along, gain)
            return np.sqrt(np.maximum(squares, 0.0) / self._floor)
        rest = centred - along @ self._rows  # not ‖x‖² - ‖along‖²: rounding would be divided by a small floor
        squares = np.einsum("ij,ij,j->i", along, along, 1.0 / self._variances)
        return np.sqrt(squares + np.einsum("ij,ij->i", rest, rest) / self._floor)

    def solve(self, centred):
        """Return each row times the inverse of the matrix."""
        return self._divide(centred, self._variances, self._floor)

    def whiten(self, centred):
        """Return rows whose norms are the distances, and so are those of their differences."""
        return self._divide(centred, np.sqrt(self._variances), np.sqrt(self._floor))

    def _divide(self, centred, along_axes, elsewhere):
        """Return each row, its parts along the axes divided by these numbers, and all else by one."""
        along = centred @ self._rows.T
        if self._turn is not None:
            along = along @ self._turn
            return (centred - (along * (1.0 - elsewhere / along_axes)) @ self._turn.T @ self._rows) / elsewhere
        rest = centred - along @ self._rows
        rest -= (rest @ self._rows.T) @ self._rows  # what rounding has left along the axes a small floor would enlarge
        return rest / elsewhere + (along / along_axes) @ self._rows


class Scaled:
    """A covariance of features that were divided by scales, in terms of the features themselves."""

    def __init__(self, factor, scales):
        self._factor = factor
        self._scales = scales

    @property
    def inner(self):
        """The covariance of the features that were divided."""
        return self._factor

    @property
    def scales(self):
        """What each feature is divided by."""
        return self._scales

    def covariance(self):
        """Return the matrix, or the variances."""
        inner = self._factor.covariance()
        return inner * (np.outer(self._scales, self._scales) if inner.ndim == 2 else self._scales**2)

    def norms(self, centred):
        """Return the norms of the whitened rows."""
        return self._factor.norms(centred / self._scales)

    def whiten(self, centred):
        """Return rows whose norms are the distances, and so are those of their differences."""
        return self._factor.whiten(centred / self._scales)

    def solve(self, centred):
        """Return each row times the inverse of the matrix."""
        return self._factor.solve(centred / self._scales) / self._scales
