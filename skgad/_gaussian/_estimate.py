r"""One Gaussian: estimated from moments, factorised, and what follows: distances, leave-one-out, quantiles.

The Mahalanobis distance is a whitening and a norm, :math:`M(x) = \lVert W (x - \mu) \rVert` with
:math:`W^\top W = \Sigma^{-1}`. No matrix is ever inverted: :math:`W` is applied by a triangular solve, or, where the
covariance is a few directions on top of a multiple of the identity, through those directions alone (Woodbury). float64.
"""

from numbers import Real

import numpy as np
from scipy import linalg, special, stats

from ._moments import covariance, ledoit_wolf_shrinkage, oas_shrinkage, varies
from ._triangle import pack, unpack

_SHRINKAGES = {"ledoit_wolf": ledoit_wolf_shrinkage, "oas": oas_shrinkage, "empirical": lambda sample: 0.0}
_BLOCK = 256  # rows: scoring 2000 of them at D = 272 takes 40 % less time than in one piece
KINDS = (*_SHRINKAGES, "diagonal", "identity")


class Gaussian:
    """A mean and a factorised covariance.

    Parameters
    ----------
    location : ndarray of shape (n_features,)
    factor : Cholesky, Diagonal or LowRank
    shrinkage : float or None
        The intensity that went into the covariance.
    """

    def __init__(self, location, factor, shrinkage=None):
        self.location = location
        self.factor = factor
        self.shrinkage = shrinkage

    @property
    def covariance(self):
        """The covariance, of shape (n_features, n_features), or (n_features,) if it is diagonal."""
        return self.factor.covariance()

    def distances(self, X):
        """Return the Mahalanobis distance of each row, unsquared: equation (2) of the paper."""
        return _norms(self.factor, X, self.location)


class Cholesky:
    """A covariance given in full. A pickle holds its lower triangle; the factor is rebuilt on loading.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is singular: a direction has no variance beyond rounding.
    """

    def __init__(self, full):
        self._factor = linalg.cholesky(full, lower=True, check_finite=False)
        # The square of a pivot is the variance that the features before it leave unexplained. As a share of the
        # feature's own variance it does not depend on units, and rounding makes it about D·eps where it should be zero.
        unexplained = np.square(np.diagonal(self._factor)) / np.diagonal(full)
        if unexplained.min() <= 10 * len(full) * np.finfo(np.float64).eps:
            raise np.linalg.LinAlgError("A feature is a combination of the others.")

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


def estimate(sample, kind):
    """Return the Gaussian of a sample.

    Parameters
    ----------
    sample : Moments
    kind : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"}

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is singular.
    """
    if kind == "identity":
        return Gaussian(sample.mean, Diagonal(np.ones(sample.n_features)))
    if kind == "diagonal":
        return Gaussian(sample.mean, Diagonal(_variances_to_divide_by(sample)))
    shrinkage = _SHRINKAGES[kind](sample)
    return Gaussian(sample.mean, _factorise(sample, 1.0 - shrinkage, shrinkage), shrinkage)


def leave_one_out_distances(X, sample, kind):
    r"""Return the distance of each row of a sample to the Gaussian of the others, in closed form.

    With the shrinkage and its target held fixed, leaving a row out is a rank-one change:

    .. math:: M_{-i}^2 = \Bigl(\tfrac{n}{n-1}\Bigr)^2 \frac{q}{1 - c q}, \quad
        q = d^\top A^{-1} d, \quad A = (1-\rho) \tfrac{n}{n-1} S + \rho m I, \quad c = (1-\rho) \tfrac{n}{(n-1)^2}

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        All rows of the sample.
    sample : Moments
    kind : as in `estimate`
    """
    n_samples = sample.n_samples
    ratio = n_samples / (n_samples - 1)
    if kind == "identity":
        return ratio * np.linalg.norm(X - sample.mean, axis=1)
    if kind == "diagonal":
        centred = X - sample.mean
        squares = centred**2 / (ratio * _variances_to_divide_by(sample))
        squares = _without_itself(squares, ratio / (n_samples - 1))
        # a feature that only this row moves is constant without it, and counts in its own unit
        return ratio * np.sqrt(np.where(np.isinf(squares), centred**2, squares).sum(axis=1))
    shrinkage = _SHRINKAGES[kind](sample)
    squares = _norms(_factorise(sample, (1.0 - shrinkage) * ratio, shrinkage), X, sample.mean) ** 2
    return ratio * np.sqrt(_without_itself(squares, (1.0 - shrinkage) * ratio / (n_samples - 1)))


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


def sigma_to_fpr(n):
    """Return the false-positive rate that "n sigma" stands for: the share of a normal variable beyond ±n.

    Both tails count, as in Table IV of the paper, whose targets for 1 to 5 sigma are these.

    Parameters
    ----------
    n : float
        More than 0; 38 sigma are the most that a float can tell from a rate of zero.

    Returns
    -------
    float
        ``1 - erf(n / sqrt(2))``, without cancellation.

    Raises
    ------
    ValueError
        If `n` is not a number in that range.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, Table IV.

    Examples
    --------
    >>> from skgad import sigma_to_fpr
    >>> [f"{100 * sigma_to_fpr(n):.1g} %" for n in (3, 4, 5)]
    ['0.3 %', '0.006 %', '6e-05 %']
    """
    if not isinstance(n, Real) or isinstance(n, bool) or not 0 < float(n) <= 38:
        raise ValueError(f"n must be a number of standard deviations in (0, 38]; got {n!r}.")
    return float(special.erfc(float(n) / np.sqrt(2)))


def predictive_fpr(threshold, n_samples, dof):
    """Return the share of new draws beyond `threshold` when mean and covariance were estimated from `n_samples` draws.

    On exactly Gaussian data, with the empirical covariance and ``n_samples > dof``, the squared distance of a new draw
    follows Hotelling's law, a scaled F, not the chi-square law. NaN for ``n_samples <= dof``.
    """
    n_samples, dof = np.broadcast_arrays(np.asarray(n_samples, dtype=float), np.asarray(dof, dtype=float))
    spare = np.where(n_samples > dof, n_samples - dof, np.nan)
    return stats.f.sf(np.square(threshold) * spare / (dof * (n_samples + 1)), dof, spare)


def _norms(factor, X, location):
    """Return the norms of the centred and whitened rows, some rows at a time, which stay in the processor's cache."""
    return np.concatenate([factor.norms(X[row : row + _BLOCK] - location) for row in range(0, len(X), _BLOCK)])


def _factorise(sample, weight, shrinkage):
    """Return the factor of ``weight·S + shrinkage·tr(S)/D·I``: equation (6) of the paper."""
    floor = shrinkage * sample.variances.mean()
    if sample.rows is not None and floor > 0:
        return _factorise_rows(sample, weight, floor)
    full = covariance(sample)
    full *= weight
    full.flat[:: len(full) + 1] += floor
    return Cholesky(full)


def _factorise_rows(sample, weight, floor):
    """Return the same from the few rows themselves, in O(n² D)."""
    _, singular, axes = linalg.svd(sample.rows, full_matrices=False, check_finite=False)
    if floor <= 10 * sample.n_features * np.finfo(np.float64).eps * singular[0] ** 2 / sample.n_samples:
        raise np.linalg.LinAlgError("The rows show no noise to shrink by.")
    return LowRank(axes, weight * singular**2 / sample.n_samples + floor, floor)


def _without_itself(squares, c):
    """Return ``q / (1 - c q)``, infinite where a row alone spans its direction, as far as rounding tells."""
    rest = 1.0 - c * squares
    with np.errstate(divide="ignore"):
        return squares / np.where(rest > 100 * squares.size * np.finfo(np.float64).eps, rest, 0.0)


def _variances_to_divide_by(sample):
    """Return the variances, and 1 for a feature that is constant."""
    return np.where(varies(sample), sample.variances, 1.0)
