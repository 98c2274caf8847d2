"""From the output columns of a projection of each level back to its input columns."""

import numpy as np


def pull_back(values, groups, components, n_features):
    """Return vectors among the components of all levels as vectors among the features.

    Parameters
    ----------
    values : ndarray of shape (n_samples, number of components)
        Level by level.
    groups : iterable of (slice or ndarray of int)
        The features of each level.
    components : list of ndarray of shape (n_components_of_the_level, n_features_of_the_level)
        Orthonormal rows.
    n_features : int

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    result, start = np.zeros((len(values), n_features)), 0
    for columns, axes in zip(groups, components, strict=True):
        result[:, columns] = values[:, start : start + len(axes)] @ axes
        start += len(axes)
    return result
