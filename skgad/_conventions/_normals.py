"""The normal rows that a meta-estimator fits others on, and the caller's count of rows in what those raise."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import indexable

from ._columns import count_samples, describe_non_finite
from ._labels import normal_rows
from ._masked import refuse_masked
from ._sklearn import safe_indexing


@dataclass(frozen=True)
class Normals:
    """Normal rows, and where they stand in what the caller gave."""

    X: Any
    rows: np.ndarray

    def __len__(self):
        return len(self.rows)

    @contextmanager
    def errors_for_caller(self):
        """Tell which row an error in a fit on these rows is about, in the caller's count."""
        try:
            yield
        except Exception as error:
            if self.rows[-1] == len(self) - 1:
                raise  # no row was left out before the last of them: both counts agree
            found = _find_non_finite(self.X, self.rows)
            if found and isinstance(error, ValueError):
                raise ValueError(found) from error
            error.add_note(f"Rows at -1 were left out: what this counts are the {len(self)} normal rows.")
            raise


def read_normals(X, y):
    """Return the normal rows of `X`, whatever it is: an array, a frame, a sequence of images.

    Raises
    ------
    ValueError
        If `X` is empty or a masked array, or `y` breaks the rule for labels.
    """
    refuse_masked("X", X)
    X = indexable(X)[0]
    n_samples = count_samples(X)
    if n_samples == 0:
        raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
    rows = normal_rows(y, n_samples)
    if rows is None or len(rows) == n_samples:
        return Normals(X, np.arange(n_samples))
    return Normals(safe_indexing(X, rows), rows)


def _find_non_finite(X, rows):
    """Return a sentence on missing values in a table of floats; None where there are none."""
    values = np.asarray(X) if len(getattr(X, "shape", ())) == 2 else None
    if values is None or values.dtype.kind != "f" or values.ndim != 2:
        return None
    found = describe_non_finite(values, getattr(X, "columns", None), rows)
    return found and f"{found} Leave these images out."
