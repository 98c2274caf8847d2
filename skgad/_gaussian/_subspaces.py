"""The residual outside of a principal subspace: how far a row is from what most variance lies in. NumPy only."""

import numpy as np

from ._places import place_variances, pooled_covariance
from ._spectrum import find_crossing


class Residual:
    """The distance of rows to the subspace that explains a share of the variance, about the mean; not whitened.

    Parameters
    ----------
    mean : ndarray of shape (n_channels,)
    axes : ndarray of shape (n_kept, n_channels)
        Orthonormal rows that span the subspace.
    rest : ndarray of shape (n_channels - n_kept,)
        The variances outside of it.
    """

    def __init__(self, mean, axes, rest):
        self.mean = mean.astype(np.float32)
        self.axes = axes.astype(np.float32)
        self.rest = rest

    def distances(self, maps):
        """Return the residual's norm at each location of maps (n, height, width, channels), float32; NaN stays NaN."""
        flat = maps.reshape(-1, maps.shape[-1])
        result = np.empty(len(flat), dtype=np.float32)
        for start in range(0, len(flat), _ROWS):
            centred = flat[start : start + _ROWS] - self.mean
            centred -= (centred @ self.axes.T) @ self.axes
            result[start : start + _ROWS] = np.sqrt(np.einsum("ij,ij->i", centred, centred))
        return result.reshape(maps.shape[:3])


_ROWS = 2**13  # that are worked on at a time


def find_residual(sums, share):
    """Return the `Residual` of a "global" `PlaceSums`, outside of the directions that explain a share of its variance.

    Parameters
    ----------
    sums : PlaceSums
        Of one place.
    share : float in (0, 1)

    Raises
    ------
    numpy.linalg.LinAlgError
        If there is no variance.
    """
    if not place_variances(sums)[0] > 0:
        raise np.linalg.LinAlgError("There is no variance.")
    variances, axes = np.linalg.eigh(pooled_covariance(sums))
    variances, axes = np.maximum(variances[::-1], 0.0), axes.T[::-1]
    n_kept = int(find_crossing(variances, 1.0 - share)) + 1  # the first at which the share is exceeded
    return Residual(sums.mean[0], axes[:n_kept], sums.unit**2 * variances[n_kept:])
