"""Rows left out of a projection and of the Gaussians behind it, level by level, in closed form."""

import numpy as np
from sklearn.base import clone

from .._conventions._columns import read_columns
from .._gaussian._leave_one_out_projected import projected_leave_one_out_distances


def score_left_out_behind(detector, X, n_components, leading):
    """Return minus the sum of each row's distances; see `MahalanobisDetector.score_left_out_behind`."""
    values, groups = read_columns(clone(detector), X, reset=True)
    values = values.astype(np.float64, copy=False)
    distances = [
        projected_leave_one_out_distances(values[:, columns], n_components, detector.covariance, leading=leading)
        for columns in groups.values()
    ]
    return -np.sum(distances, axis=0)
