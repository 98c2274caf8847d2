"""A Gaussian by any of scikit-learn's covariance estimators, in place of our own moments."""

import numpy as np
from sklearn.base import clone

from .._gaussian._estimate import KINDS, Gaussian
from .._gaussian._factors import Cholesky


def fit_gaussian(estimator, X, level):
    """Return the Gaussian of a clone of an estimator, fitted in float64.

    Parameters
    ----------
    estimator : estimator
        With ``covariance_`` after ``fit``; its ``location_`` and ``shrinkage_`` are used where it has them.
    X : ndarray of shape (n_samples, n_features)
    level : str
        The name of the level, "" for none.

    Raises
    ------
    ValueError
        If it estimates no covariance, or a singular one; names the level.
    """
    X = X.astype(np.float64)
    fitted = clone(estimator).fit(X)
    if not hasattr(fitted, "covariance_"):
        raise ValueError(f"covariance={estimator!r} has no covariance_ after fit; it must estimate one.")
    location = getattr(fitted, "location_", X.mean(axis=0))
    try:
        return Gaussian(location, Cholesky(fitted.covariance_), getattr(fitted, "shrinkage_", None))
    except np.linalg.LinAlgError as error:
        raise ValueError(f"The covariance of {level or 'the data'} by {estimator!r} is singular.") from error


def check_covariance(covariance):
    """Raise ValueError unless this says how a covariance is estimated: a word, or an estimator."""
    is_kind = isinstance(covariance, str) and covariance in KINDS
    if not is_kind and not hasattr(covariance, "fit"):
        raise ValueError(
            f"covariance must be one of {', '.join(map(repr, KINDS))}, or an estimator with covariance_ after fit; "
            f"got {covariance!r}."
        )
