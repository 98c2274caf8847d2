"""What an estimator on columns takes: numbers, checked once, and the columns of each level.

scikit-learn's own check costs 8 ms for a frame of 3,000 columns, whatever the number of rows, and several steps pay
it for each photograph of a line. A frame of floats with just the names that were fitted takes a short cut.
"""

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from ._labels import normal_rows
from ._levels import group_columns
from ._masked import refuse_masked

_FLOATS = (np.float64, np.float32)


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
        If `X` does not agree, is not two-dimensional, empty, masked, or not finite (names the row and the column), or
        some columns carry a level and others do not.
    """
    refuse_masked("X", X)
    values = None if reset else _read_known_frame(estimator, X)
    if values is None:
        values = validate_data(estimator, X, dtype=_FLOATS, reset=reset, ensure_all_finite=False)
    names = getattr(estimator, "feature_names_in_", None)
    odd = describe_non_finite(values, names)
    if odd:
        who = type(estimator).__name__
        raise ValueError(f"{odd} {who} does not take missing values: leave these images out.")
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


def _read_known_frame(estimator, X):
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or not isinstance(X, pd.DataFrame) or X.shape[1] != len(names) or len(X) == 0:
        return None
    if not np.array_equal(X.columns.to_numpy(), names):
        return None
    values = X.to_numpy()
    return values if values.dtype in _FLOATS else None


def describe_non_finite(values, names=None, rows=None):
    """Return a sentence on the NaN and infinite values of a table; None where there are none.

    `rows` are the positions of its rows in what the caller gave.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return None
    finite = np.isfinite(values)
    if finite.all():
        return None  # the sum overflowed, the values did not
    row, column = np.argwhere(~finite)[0]
    what = "NaN" if np.isnan(values[row, column]) else "infinity"
    where = f"column {column}" if names is None else f"column {names[column]!r}"
    odd = np.flatnonzero(~finite.all(axis=1))
    odd = odd if rows is None else rows[odd]
    listed = ", ".join(map(str, odd[:10])) + (", ..." if len(odd) > 10 else "")
    return f"X contains {what} in row {odd[0]}, {where} ({len(odd)} such rows: {listed})."
