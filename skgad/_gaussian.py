r"""Arithmetic of one Gaussian: moments, shrinkage, whitening, distances. NumPy and SciPy only; no estimator lives here.

A sample enters as its power sums about a pivot :math:`p` (`Moments`); mean, covariance and shrinkage follow from them:

.. math:: d = \tfrac1n \sum_i z_i, \quad S = \tfrac1n \sum_i z_i z_i^\top - d d^\top, \quad z_i = x_i - p

.. math:: \Sigma = (1 - \rho) S + \rho \, \tfrac{\mathrm{tr} S}{D} I

The Mahalanobis distance is a whitening and a norm, :math:`M(x) = \lVert L^{-1} (x - \mu) \rVert` with
:math:`\Sigma = L L^\top`. No matrix is ever inverted. All of it runs in float64.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy import linalg, stats


class Moments(NamedTuple):
    """Power sums of ``z = x - pivot`` over a sample: all that the mean, the covariance and its shrinkage need."""

    n_samples: int
    pivot: np.ndarray  # (n_features,)
    total: np.ndarray  # sum of z, (n_features,)
    scatter: np.ndarray  # sum of z zᵀ, (n_features, n_features)
    cubic: np.ndarray  # sum of ‖z‖² z, (n_features,)
    quartic: float  # sum of ‖z‖⁴


def moments(X, pivot=None):
    """Return the moments of the rows of `X` about `pivot`, by default about their mean."""
    X = np.asarray(X, dtype=np.float64)
    pivot = X.mean(axis=0) if pivot is None else pivot
    Z = X - pivot
    squares = np.einsum("ij,ij->i", Z, Z)
    return Moments(len(Z), pivot, Z.sum(axis=0), Z.T @ Z, squares @ Z, float(squares @ squares))


def mean(sample):
    """Return the mean of a sample from its moments."""
    return sample.pivot + sample.total / sample.n_samples


def empirical_covariance(sample):
    """Return the covariance with 1/n, as the shrinkage formulas and scikit-learn take it."""
    shift = sample.total / sample.n_samples
    return sample.scatter / sample.n_samples - np.outer(shift, shift)


def ledoit_wolf_shrinkage(sample, covariance):
    """Return the shrinkage intensity of Ledoit and Wolf (2004), exactly as from the rows themselves.

    Parameters
    ----------
    sample : Moments
    covariance : ndarray of shape (n_features, n_features)
        Its empirical covariance, with 1/n.

    Returns
    -------
    float
        In [0, 1].
    """
    n_features = len(covariance)
    norm = np.vdot(covariance, covariance)
    noise = (_central_quartic(sample) / sample.n_samples - norm) / (sample.n_samples * n_features)
    signal = norm / n_features - (np.trace(covariance) / n_features) ** 2
    noise = min(noise, signal)
    return float(noise / signal) if noise > 0.0 else 0.0


def oas_shrinkage(sample, covariance):
    """Return the shrinkage intensity of the oracle approximating shrinkage of Chen et al. (2010)."""
    n_features = len(covariance)
    mean_square = np.vdot(covariance, covariance) / n_features**2
    squared_mean = (np.trace(covariance) / n_features) ** 2
    if n_features == 1:
        return 0.0  # one variance is its own target
    divisor = (sample.n_samples + 1) * (mean_square - squared_mean / n_features)
    return float(min((mean_square + squared_mean) / divisor, 1.0)) if divisor > 0 else 1.0


def shrink(covariance, shrinkage):
    """Return the covariance drawn towards the scaled identity: equation (6) of the paper."""
    shrunk = (1.0 - shrinkage) * covariance
    shrunk.flat[:: len(shrunk) + 1] += shrinkage * np.trace(covariance) / len(covariance)
    return shrunk


class Gaussian:
    """A mean and a covariance, factorised.

    Parameters
    ----------
    location : ndarray of shape (n_features,)
    covariance : ndarray of shape (n_features, n_features) or (n_features,)
        A vector stands for a diagonal matrix.
    shrinkage : float or None
        The intensity that went into `covariance`, to be looked up later.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is singular: a direction has no variance beyond rounding.

    Notes
    -----
    A pickle holds the lower triangle of the covariance once; the factor is rebuilt on loading.
    """

    def __init__(self, location, covariance, shrinkage=None):
        self.location = location
        self.covariance = covariance
        self.shrinkage = shrinkage
        self._factor = _factor(covariance)

    def distances(self, X):
        """Return the Mahalanobis distance of each row, unsquared: equation (2) of the paper."""
        return np.linalg.norm(self.whiten(X), axis=1)

    def whiten(self, X):
        """Return ``L⁻¹ (x - location)`` for each row, of shape (n_samples, n_features)."""
        centred = np.asarray(X, dtype=np.float64) - self.location
        if self._factor.ndim == 1:
            return centred / self._factor
        return linalg.solve_triangular(self._factor, centred.T, lower=True, check_finite=False).T

    def __getstate__(self):
        covariance = self.covariance
        packed = covariance if covariance.ndim == 1 else covariance[np.tril_indices(len(covariance))]
        return {
            "location": self.location,
            "covariance": packed,
            "diagonal": covariance.ndim == 1,
            "shrinkage": self.shrinkage,
        }

    def __setstate__(self, state):
        covariance = state["covariance"]
        if not state["diagonal"]:
            covariance = _unpack(covariance, len(state["location"]))
        self.location = state["location"]
        self.covariance = covariance
        self.shrinkage = state["shrinkage"]
        self._factor = _factor(covariance)


def chi_quantile(fpr, dof):
    """Return the distance that a share `fpr` of a Gaussian lies beyond: equation (8) of the paper.

    Parameters
    ----------
    fpr : float
        In (0, 1).
    dof : int or array-like
        Degrees of freedom: the number of features behind the distance.

    Returns
    -------
    float or ndarray
        ``sqrt(chi2.ppf(1 - fpr, dof))``, a distance, unsquared.
    """
    return np.sqrt(stats.chi2.isf(fpr, dof))


def predictive_fpr(threshold, n_samples, dof):
    """Return the share of new draws beyond `threshold` when mean and covariance were estimated from `n_samples` draws.

    On exactly Gaussian data, with the empirical covariance and ``n_samples > dof``, the squared distance of a new draw
    follows Hotelling's law, a scaled F, not the chi-square law. NaN for ``n_samples <= dof``.
    """
    n_samples, dof = np.broadcast_arrays(np.asarray(n_samples, dtype=float), np.asarray(dof, dtype=float))
    spare = np.where(n_samples > dof, n_samples - dof, np.nan)
    return stats.f.sf(np.square(threshold) * spare / (dof * (n_samples + 1)), dof, spare)


def check_fpr(fpr):
    """Return `fpr` as the exact fraction that its decimal form says, or raise ValueError unless it is in (0, 1)."""
    try:
        share = Fraction(repr(float(fpr)))
    except (TypeError, ValueError):
        raise ValueError(f"fpr must be a number in (0, 1), a share of the normal images; got {fpr!r}.") from None
    if not 0 < share < 1:
        raise ValueError(f"fpr must lie in (0, 1): it is a share, so 1 % is 0.01; got {fpr!r}.")
    return share


def _central_quartic(sample):
    """Return the sum of ‖x - mean‖⁴."""
    shift = sample.total / sample.n_samples
    square = shift @ shift
    return (
        sample.quartic
        - 4 * shift @ sample.cubic
        + 2 * square * np.trace(sample.scatter)
        + 4 * shift @ sample.scatter @ shift
        - 4 * square * (shift @ sample.total)
        + sample.n_samples * square**2
    )


def _factor(covariance):
    """Return the lower Cholesky factor, or the standard deviations of a diagonal."""
    if covariance.ndim == 1:
        if not np.all(covariance > 0):
            raise np.linalg.LinAlgError("A feature has no variance.")
        return np.sqrt(covariance)
    factor = linalg.cholesky(covariance, lower=True, check_finite=False)
    # The square of a pivot is the variance that the features before it leave unexplained; as a share of the feature's
    # own variance it does not depend on units, and rounding makes it about D·eps where it should be zero.
    unexplained = np.square(np.diagonal(factor)) / np.diagonal(covariance)
    if unexplained.min() <= 10 * len(factor) * np.finfo(np.float64).eps:
        raise np.linalg.LinAlgError("A feature is a combination of the others.")
    return factor


def _unpack(triangle, n_features):
    covariance = np.empty((n_features, n_features))
    lower = np.tril_indices(n_features)
    covariance[lower] = triangle
    covariance.T[lower] = triangle
    return covariance
