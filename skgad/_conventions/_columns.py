"""What an estimator on columns takes: numbers, checked once, and the columns of each level.

scikit-learn's own check costs 8 ms for a frame of 3,000 columns, whatever the number of rows, and several steps pay
it for each photograph of a line. A frame of floats with just the names that were fitted takes a short cut.
"""

from functools import wraps

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from ._labels import normal_rows
from ._levels import group_columns

_FLOATS = (np.float64, np.float32)


def all_or_nothing(method):
    """Decorate a method that fits: where it raises, the estimator is what it was before, fitted or not."""

    @wraps(method)
    def guarded(self, *args, **kwargs):
        before = vars(self).copy()
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return guarded


def read_columns(estimator, X, *, reset):
    """Return `X` as an array of float32 or float64, and a dict of the columns of each level.

    Parameters
    ----------
    estimator : estimator
        With `reset`, its ``n_features_in_`` and ``feature_names_in_`` are set; otherwise `X` must agree with them.
    X : array-like or frame of shape (n_samples, n_features)
    reset : bool

    Raises
    ------
    ValueError
        If `X` does not agree, is not two-dimensional, empty, or not finite (names the row and the column), or some
        columns carry a level and others do not.
    """
    values = None if reset else _read_known_frame(estimator, X)
    if values is None:
        values = validate_data(estimator, X, dtype=_FLOATS, reset=reset, ensure_all_finite=False)
    names = getattr(estimator, "feature_names_in_", None)
    _refuse_non_finite(values, names, type(estimator).__name__)
    if not reset:
        return values, estimator._groups
    return values, group_columns(names, values.shape[1])


def read_normal_rows(estimator, X, y, *, reset, at_least=1):
    """Return the same, of the rows that a fit learns from; raise ValueError if there are fewer than `at_least`."""
    values, groups = read_columns(estimator, X, reset=reset)
    rows = normal_rows(y, len(values))
    values = values if rows is None else values[rows]
    if len(values) < at_least:
        who = type(estimator).__name__
        raise ValueError(f"{who} needs at least {at_least} normal rows to learn from; got n_samples = {len(values)}.")
    return values, groups


def check_has_scores(parameter, estimator):
    """Raise TypeError unless an estimator has ``score_samples`` or ``decision_function``."""
    if not hasattr(estimator, "score_samples") and not hasattr(estimator, "decision_function"):
        raise TypeError(f"{parameter} must have score_samples or decision_function; {estimator!r} has neither.")


def count_samples(X):
    """Return the number of rows, or of images in a sequence."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def take_names(estimator, inner):
    """Set ``n_features_in_`` and ``feature_names_in_`` to those of an inner estimator, where it has them."""
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(inner, name):
            setattr(estimator, name, getattr(inner, name))
        elif hasattr(estimator, name):
            delattr(estimator, name)


def read_scores(estimator, X):
    """Return an outlier detector's scores, higher = more normal: ``score_samples``, else ``decision_function``."""
    has_scores = hasattr(estimator, "score_samples")
    return np.asarray(estimator.score_samples(X) if has_scores else estimator.decision_function(X))


def _read_known_frame(estimator, X):
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or not isinstance(X, pd.DataFrame) or X.shape[1] != len(names) or len(X) == 0:
        return None
    if not np.array_equal(X.columns.to_numpy(), names):
        return None
    values = X.to_numpy()
    return values if values.dtype in _FLOATS else None


def _refuse_non_finite(values, names, who):
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    finite = np.isfinite(values)
    if finite.all():
        return  # the sum overflowed, the values did not
    row, column = np.argwhere(~finite)[0]
    what = "NaN" if np.isnan(values[row, column]) else "infinity"
    where = f"column {column}" if names is None else f"column {names[column]!r}"
    rows = np.flatnonzero(~finite.all(axis=1))
    listed = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
    raise ValueError(
        f"X contains {what} in row {row}, {where} ({len(rows)} such rows: {listed}). "
        f"{who} does not take missing values: leave these images out."
    )
