"""The rule for y: +1 is normal, -1 is anomalous, and a fit learns from the normal rows only.

Three functions of growing strictness: `as_labels` makes such labels of others, `normal_rows` is what every ``fit`` asks
(it must bear whatever scikit-learn's own checks pass), `check_labels` is for loaders, splitters, scorers and metrics.
"""

from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

from ..exceptions import LabelConventionWarning
from ._masked import refuse_masked
from ._warnings import warn

_FOREIGN_LABELS = (
    "The values of y lie in {0, 1}, so y is ignored and every row is taken for normal. Labels are +1 (normal) and "
    "-1 (anomalous); with 1 for anomalies, scoring='roc_auc' would pick the worst model. "
    "skgad.as_labels(y, anomaly=1) makes the labels. (If they were +1 and -1: scikit-learn's cross_val_predict recodes "
    "them to 1 and 0 for method='decision_function'. Take the detectors of cross_validate(..., return_estimator=True, "
    "return_indices=True), and score each one's test images.)"
)
_TEXT_LABELS = (
    "y holds text, so y is ignored and every row is taken for normal. Labels are +1 (normal) and -1 (anomalous): "
    "skgad.as_labels(y, anomaly=[...]) makes them, or np.where(y == 'good', 1, -1)."
)
_NEVER_LABELS = (("Complex data", "c", (complex, np.complexfloating)), ("Bytes", "S", bytes))


def as_labels(y, anomaly=None):
    """Return labels in scikit-learn's convention for outlier detection.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of any convention.
    anomaly : scalar or list of scalars, default=None
        The value, or the values, that mean *anomalous*. Everything else is normal. None is for labels within {0, 1}
        with 1 for the anomalies.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        -1 where `y` is anomalous, +1 elsewhere.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional or has missing values, if one of `y` and `anomaly` is text and the other is not,
        if `anomaly` is None and `y` is not within {0, 1} or holds 1 only, or if `y` holds +1 and -1 already and
        `anomaly` is 1.

    Examples
    --------
    >>> from skgad import as_labels
    >>> as_labels([0, 0, 1])
    array([ 1,  1, -1])
    >>> as_labels(["good", "crack", "good"], anomaly="crack")
    array([ 1, -1,  1])
    """
    y = _read(y)
    if y.ndim != 1:
        raise ValueError(f"y must be one-dimensional, got shape {y.shape}.")
    if pd.isna(y).any():
        raise ValueError(f"y has a missing value in row {pd.isna(y).argmax()}; drop such rows or give them a label.")
    values = _distinct_numbers(y)
    if values == {-1.0, 1.0} and (anomaly is None or np.array_equal(anomaly, 1)):
        raise ValueError("y is within {-1, +1} as it is. If its -1 are the anomalies, use it; if its +1 are, use -y.")
    anomaly = _read_anomaly(anomaly, y, values)
    texts = [array.dtype.kind in "US" for array in (y, anomaly)]
    if y.size and any(texts) and not all(texts) and "O" not in (y.dtype.kind, anomaly.dtype.kind):
        raise ValueError(f"y holds {y.dtype.name} and anomaly is {anomaly.tolist()}: none could ever be equal.")
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
        If `y` is boolean (which of the two is the anomaly?), bytes, complex, masked or no array-like; if it has another
        length, or holds no +1; if some values are labels and others are not: -1 stands beside anything but +1, or +1
        beside missing values. A row without a label would be learnt, or lost, without a word.

    Warns
    -----
    LabelConventionWarning
        If the values are within {0, 1}, or text: `y` is ignored then.
    """
    if y is None:
        return None
    y = _read(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if _is_boolean(y):
        raise ValueError(
            "y is boolean, and True could mean either. Labels are +1 (normal) and -1 (anomalous): "
            "skgad.as_labels(y, anomaly=True) makes them if True marks the anomalies."
        )
    labels = _is_label(y)
    _refuse_mixture(y, labels)
    if not labels.size or not labels.all():
        _warn_of_other_conventions(y)
        return None
    if y.shape != (n_samples,):
        raise ValueError(f"X has {n_samples} samples, but y has shape {y.shape}; one label a sample is needed.")
    rows = np.flatnonzero(y == 1)
    if not len(rows):
        raise ValueError("Every label in y is -1 (anomalous); the fit needs normal samples, labelled +1.")
    return rows


def check_labels(y):
    """Return `y` as an int array, or raise ValueError unless all its values are +1 or -1."""
    y = _read(y)
    if y.ndim != 1 or _is_boolean(y) or not _is_label(y).all():
        raise ValueError(
            "Labels must be a one-dimensional array of +1 (normal) and -1 (anomalous); "
            f"{_describe(y)}. skgad.as_labels(y, anomaly=...) makes them from others."
        )
    return y.astype(int)


def _read(y):
    """Return `y` as an array, or raise ValueError for what is none, or holds what could never be labels."""
    refuse_masked("y", y)
    result = np.asarray(y)
    if result.ndim == 0:
        raise ValueError(f"y is {type(y).__name__}, which is no array of one label a sample; pass a list or an array.")
    if result.dtype.kind in "UT":  # NumPy makes text of [1, -1, "?"]
        objects = np.asarray(y, dtype=object)
        result = result if all(isinstance(value, str) for value in objects.flat) else objects
    for what, kind, types in _NEVER_LABELS:
        if result.dtype.kind == kind or any(isinstance(value, types) for value in _objects(result)):
            raise ValueError(f"{what} not supported: labels in y are the numbers +1 (normal) and -1 (anomalous).")
    return result


def _read_anomaly(anomaly, y, values):
    if anomaly is not None:
        return np.atleast_1d(list(anomaly) if isinstance(anomaly, (set, frozenset)) else anomaly)
    plain = y.dtype.kind in "UT" or _is_boolean(y) or (values and values <= {0.0, 1.0} and values != {1.0})
    if y.size and not plain:
        raise ValueError(
            f"y holds {', '.join(map(repr, pd.unique(y)[:5].tolist()))}, and anomaly is not given: say which values "
            "mean anomalous, anomaly=[...]."
        )
    return np.array([1])


def _objects(y):
    return y.flat if y.dtype == object else ()


def _is_boolean(y):
    if y.dtype == object and y.size:
        return all(isinstance(value, (bool, np.bool_)) for value in y[~pd.isna(y)].flat) and not pd.isna(y).all()
    return y.dtype == bool


def _is_label(y):
    """Return which values of an array are the numbers +1 or -1, as a mask."""
    if y.dtype == object:
        return np.array([_is_number(value) and value in (-1, 1) for value in y.flat], dtype=bool).reshape(y.shape)
    return np.isin(y, (-1, 1)) if y.dtype.kind in "iuf" else np.zeros(y.shape, dtype=bool)


def _describe(y):
    """Return what is wrong with labels that are none."""
    if y.ndim != 1 or _is_boolean(y):
        return f"got shape {y.shape}, {y.dtype.name}"
    row = int(np.argmin(_is_label(y)))
    return f"row {row} holds {y.tolist()[row]!r}"


def _is_number(value):
    return isinstance(value, (Real, Decimal)) and not isinstance(value, (bool, np.bool_))


def _refuse_mixture(y, labels):
    """Raise ValueError if some rows have labels, and others have none."""
    if y.ndim != 1 or labels.all() or not labels.any():
        return
    others = y[~labels]
    if (y[labels] == 1).all() and not pd.isna(others).all():
        return  # +1 beside other values: classes, a target
    row = int(np.argmin(labels))
    raise ValueError(
        f"y holds labels, +1 (normal) and -1 (anomalous), and {y.tolist()[row]!r} in row {row} ({len(others)} such "
        "rows). A row without a label must be left out, of X and of y; skgad.as_labels(y, anomaly=...) makes labels of "
        "others."
    )


def _warn_of_other_conventions(y):
    values = _distinct_numbers(y)
    if values and values <= {0.0, 1.0} and 0.0 in values:
        warn(_FOREIGN_LABELS, LabelConventionWarning)
    if y.dtype.kind == "U" or any(isinstance(value, str) for value in _objects(y)):
        warn(_TEXT_LABELS, LabelConventionWarning)


def _distinct_numbers(y):
    """Return the values of `y` as a set of floats; an empty set unless all of them are numbers."""
    if y.dtype == object:
        if not all(_is_number(value) for value in y.flat):
            return set()
        y = y.astype(float)
    return set(np.unique(y).astype(float).tolist()) if y.dtype.kind in "iuf" else set()
