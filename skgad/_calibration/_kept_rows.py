"""The features that a calibrated detector was fitted on, for when more come: kept once, here or in the detector."""

from copy import deepcopy

import numpy as np

from .._conventions._levels import frame
from ._closed_form import find_learnt_rows


class KeptRows:
    """Rows that were learnt; None where the detector has them itself."""

    def __init__(self, rows):
        self._rows = rows

    def get(self, estimator):
        """Return them."""
        return find_learnt_rows(estimator) if self._rows is None else self._rows


def keep_rows(estimator, rows):
    """Return the rows that an estimator was fitted on, for a later update: a copy, or nothing where it has them."""
    return KeptRows(None if find_learnt_rows(estimator) is not None else deepcopy(rows))


def join_rows(rows, more):
    """Return rows and more of them, in a frame where the first are."""
    values = np.concatenate([np.asarray(rows), np.asarray(more)])
    return frame(values, list(rows.columns)) if hasattr(rows, "columns") else values
