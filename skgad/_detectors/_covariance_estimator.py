"""A Gaussian by any of scikit-learn's covariance estimators, in place of our own moments."""

import numpy as np
from sklearn.base import clone

from .._gaussian._estimate import KINDS, Gaussian
from .._gaussian._factors import Cholesky, Scaled


def fit_gaussian(estimator, X, level, blocks=None):
    """Return the Gaussian of a clone of an estimator, fitted in float64.

    Parameters
    ----------
    estimator : estimator
        With ``covariance_`` after ``fit``; its ``location_`` and ``shrinkage_`` are used where it has them.
    X : ndarray of shape (n_samples, n_features)
    level : str
        The name of the level, "" for none.
    blocks : dict of str to int, default=None
        Names and sizes of blocks of columns that are brought to one scale first.

    Raises
    ------
    ValueError
        If it estimates no covariance, or a singular one; names the level.
    """
    X = X.astype(np.float64)
    if blocks:
        scales = _find_scales(X, blocks)
        inner = fit_gaussian(estimator, X / scales, level)
        return Gaussian(inner.location * scales, Scaled(inner.factor, scales), inner.shrinkage)
    fitted = clone(estimator).fit(X)
    if not hasattr(fitted, "covariance_"):
        raise ValueError(f"covariance={estimator!r} has no covariance_ after fit; it must estimate one.")
    location = getattr(fitted, "location_", X.mean(axis=0))
    try:
        return Gaussian(location, Cholesky(fitted.covariance_), getattr(fitted, "shrinkage_", None))
    except np.linalg.LinAlgError as error:
        raise ValueError(f"The covariance of {level or 'the data'} by {estimator!r} is singular.") from error


def _find_scales(X, blocks):
    """Return for each column the root of the total variance of its block."""
    sizes = list(blocks.values())
    totals = np.add.reduceat(X.var(axis=0), np.cumsum([0, *sizes[:-1]]))
    for name, total in zip(blocks, totals, strict=True):
        if total == 0:
            raise ValueError(f"All features of {name} are constant: there is nothing to learn from.")
    return np.repeat(np.sqrt(totals), sizes)


def check_covariance(covariance):
    """Raise ValueError unless this says how a covariance is estimated: a word, or an estimator."""
    is_kind = isinstance(covariance, str) and covariance in KINDS
    if not is_kind and not hasattr(covariance, "fit"):
        raise ValueError(
            f"covariance must be one of {', '.join(map(repr, KINDS))}, or an estimator with covariance_ after fit; "
            f"got {covariance!r}."
        )
