"""The directions of a sample by decreasing variance: a decomposition of the few rows, or of the covariance."""

from dataclasses import replace

import numpy as np
from scipy import linalg

from ._moments import covariance, moments, varies


def decompose_rows(X, exact):
    """Return the mean, the variances (with 1/(n-1), decreasing) and the axes, one a row, of the rows of `X`.

    Directions with next to no variance are rounding in an eigendecomposition of the covariance, and exact, with
    `exact`, in a singular value decomposition of the rows, which takes several times as long.
    """
    sample = moments(X)
    if exact and sample.rows is None:
        sample = replace(sample, rows=(X - sample.mean) / sample.unit, scatter=None)
    return decompose(sample)


def decompose(sample):
    """Return the same from moments."""
    freedom = sample.n_samples - 1
    if sample.rows is not None:
        _, singular, axes = linalg.svd(sample.rows, full_matrices=False, check_finite=False)
        variances = (sample.unit * singular) ** 2 / freedom
    else:
        scaled = covariance(sample) * (sample.n_samples / freedom)
        variances, axes = linalg.eigh(scaled, driver="evd", overwrite_a=True, check_finite=False)
        variances, axes = np.maximum(variances[::-1], 0.0), axes.T[::-1]
    if not varies(sample).any():
        variances = np.zeros_like(variances)  # the mean of a constant may be off by a rounding
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    return sample.mean, variances, np.where(largest < 0, -axes, axes)
