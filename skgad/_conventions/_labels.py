"""The rule for y: +1 is normal, -1 is anomalous, and a fit learns from the normal rows only.

Three functions of growing strictness: `as_labels` makes such labels of others, `normal_rows` is what every ``fit`` asks
(it must bear whatever scikit-learn's own checks pass), `check_labels` is for loaders, splitters, scorers and metrics.
"""

from numbers import Real

import numpy as np

from ..exceptions import LabelConventionWarning
from ._warnings import warn

_FOREIGN_LABELS = (
    "The values of y lie in {0, 1}, so y is ignored and every row is taken for normal. Labels are +1 (normal) and "
    "-1 (anomalous); with 1 for anomalies, scoring='roc_auc' would pick the worst model. "
    "skgad.as_labels(y, anomaly=1) makes the labels."
)
_TEXT_LABELS = (
    "y holds text, so y is ignored and every row is taken for normal. Labels are +1 (normal) and -1 (anomalous): "
    "skgad.as_labels(y, anomaly=[...]) makes them, or np.where(y == 'good', 1, -1)."
)


def as_labels(y, anomaly=1):
    """Return labels in scikit-learn's convention for outlier detection.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of any convention.
    anomaly : scalar or list of scalars, default=1
        The value, or the values, that mean *anomalous*. Everything else is normal.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        -1 where `y` is anomalous, +1 elsewhere.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional or has missing values, if one of `y` and `anomaly` is text and the other is not,
        or if `y` holds +1 and -1 already and `anomaly` is 1.

    Examples
    --------
    >>> from skgad import as_labels
    >>> as_labels([0, 0, 1])
    array([ 1,  1, -1])
    >>> as_labels(["good", "crack", "good"], anomaly="crack")
    array([ 1, -1,  1])
    """
    y, anomaly = np.asarray(y), np.atleast_1d(list(anomaly) if isinstance(anomaly, (set, frozenset)) else anomaly)
    if y.ndim != 1:
        raise ValueError(f"y must be one-dimensional, got shape {y.shape}.")
    if any(value is None or value != value for value in y.tolist()):  # NaN is the only value that differs from itself
        raise ValueError("y has missing values; drop those rows or give them a label.")
    texts = [array.dtype.kind in "US" for array in (y, anomaly)]
    if y.size and any(texts) and not all(texts) and "O" not in (y.dtype.kind, anomaly.dtype.kind):
        raise ValueError(f"y holds {y.dtype.name} and anomaly is {anomaly.tolist()}: none could ever be equal.")
    if _distinct_numbers(y) == {-1.0, 1.0} and anomaly.tolist() == [1]:
        raise ValueError("y is within {-1, +1} as it is. If its -1 are the anomalies, use it; if its +1 are, use -y.")
    return np.where(np.isin(y, anomaly), -1, 1)


def normal_rows(y, n_samples):
    """Return which rows a fit learns from.

    Parameters
    ----------
    y : array-like or None
        Values within {-1, +1} are labels; anything else but the cases below is ignored, as scikit-learn's convention
        for unsupervised estimators wants.
    n_samples : int
        The number of rows of ``X``.

    Returns
    -------
    ndarray of int, or None
        The positions of the rows at +1; None if `y` is no labels and all rows count.

    Raises
    ------
    ValueError
        If `y` is boolean (which of the two is the anomaly?), has another length, or holds no +1.

    Warns
    -----
    LabelConventionWarning
        If the values are within {0, 1}, or text: `y` is ignored then.
    """
    if y is None:
        return None
    y = np.asarray(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if _is_boolean(y):
        raise ValueError(
            "y is boolean, and True could mean either. Labels are +1 (normal) and -1 (anomalous): "
            "skgad.as_labels(y, anomaly=True) makes them if True marks the anomalies."
        )
    values = _distinct_numbers(y)
    if values and values <= {0.0, 1.0} and 0.0 in values:
        warn(_FOREIGN_LABELS, LabelConventionWarning)
    if any(isinstance(value, str) for value in y.flat):
        warn(_TEXT_LABELS, LabelConventionWarning)
    if not values or not values <= {-1.0, 1.0}:
        return None
    if y.shape != (n_samples,):
        raise ValueError(f"X has {n_samples} samples, but y has shape {y.shape}; one label a sample is needed.")
    if 1.0 not in values:
        raise ValueError("Every label in y is -1 (anomalous); the fit needs normal samples, labelled +1.")
    return np.flatnonzero(y.astype(float) == 1)


def check_labels(y):
    """Return `y` as an int array, or raise ValueError unless all its values are +1 or -1."""
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iuf" or not _distinct_numbers(y) <= {-1.0, 1.0}:
        raise ValueError(
            "Labels must be a one-dimensional array of +1 (normal) and -1 (anomalous); "
            "skgad.as_labels(y, anomaly=...) makes them from others."
        )
    return y.astype(int)


def _is_boolean(y):
    if y.dtype == object and y.size:
        return all(isinstance(value, (bool, np.bool_)) for value in y.flat)
    return y.dtype == bool


def _distinct_numbers(y):
    """Return the values of `y` as a set of floats; an empty set unless all of them are numbers."""
    if y.dtype == object:
        if not all(isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) for value in y.flat):
            return set()
        y = y.astype(float)
    return set(np.unique(y).astype(float).tolist()) if y.dtype.kind in "iuf" else set()
