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
    def unexplained(self):
        """The variance of each feature that the features before it leave unexplained: the square of a pivot."""
        return np.square(np.diagonal(self._factor))

    def covariance(self):
        """Return the matrix."""
        return self._factor @ self._factor.T

    def norms(self, centred):
        """Return the norms of the whitened rows."""
        # from the right, centred @ inverse(factor).T: a fifth faster than solve_triangular from the left
        whitened = linalg.blas.dtrsm(1.0, self._factor, centred, side=1, lower=1, trans_a=1)
        return np.sqrt(np.einsum("ij,ij->i", whitened, whitened))

    def __getstate__(self):
        return {"lower": pack(self._factor), "size": len(self._factor)}

    def __setstate__(self, state):
        self._factor = np.tril(unpack(state["lower"], state["size"]))


class Diagonal:
    """A covariance of independent features."""

    def __init__(self, variances):
        self._variances = variances

    def covariance(self):
        """Return the variances."""
        return self._variances

    def norms(self, centred):
        """Return the norms of the rows, each feature in units of its standard deviation."""
        return np.sqrt(np.einsum("ij,ij,j->i", centred, centred, 1.0 / self._variances))


class LowRank:
    """Some directions with a variance of their own, and one variance for all directions perpendicular to them."""

    def __init__(self, axes, variances, floor):
        self._axes = axes  # orthonormal, one a row
        self._variances = variances
        self._floor = floor

    def covariance(self):
        """Return the matrix."""
        full = (self._axes.T * (self._variances - self._floor)) @ self._axes
        full.flat[:: len(full) + 1] += self._floor
        return full

    def norms(self, centred):
        """Return the norms of the whitened rows."""
        along = centred @ self._axes.T
        rest = centred - along @ self._axes  # not ‖x‖² - ‖along‖²: rounding would be divided by a small floor
        squares = np.einsum("ij,ij,j->i", along, along, 1.0 / self._variances)
        return np.sqrt(squares + np.einsum("ij,ij->i", rest, rest) / self._floor)
