"""The features that a calibrated detector was fitted on, for when more come: kept once, here or in the detector."""

import numpy as np

from .._conventions._levels import frame
from ._closed_form import find_learnt_rows


class KeptRows:
    """Rows that were learnt, a copy of them in plain arrays.

    Parameters
    ----------
    rows : array-like or frame of shape (n_samples, n_features), or None
        None: the detector has them itself.
    """

    def __init__(self, rows):
        self._values = None if rows is None else np.array(rows)
        self._names = list(map(str, rows.columns)) if hasattr(rows, "columns") else None

    def get(self, estimator):
        """Return them; in a pandas frame, if they came in a frame."""
        if self._values is None:
            return find_learnt_rows(estimator)
        return self._values if self._names is None else frame(self._values, self._names)


def keep_rows(estimator, rows):
    """Return the rows that an estimator was fitted on, for a later update; none where it has them."""
    return KeptRows(None if find_learnt_rows(estimator) is not None else rows)


def join_rows(rows, more):
    """Return rows and more of them, in a frame where the first are; raise ValueError if the columns are others."""
    names, others = (getattr(each, "columns", None) for each in (rows, more))
    same = names is None or others is None or list(map(str, names)) == list(map(str, others))
    if np.shape(rows)[1:] != np.shape(more)[1:] or not same:
        raise ValueError(
            f"X has other columns than those that were learnt: {np.shape(more)[1:]} of them, and {np.shape(rows)[1:]} "
            "were, or of other names."
        )
    values = np.concatenate([np.asarray(rows), np.asarray(more)])
    return frame(values, list(rows.columns)) if hasattr(rows, "columns") else values
