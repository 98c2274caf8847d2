r"""Blocks of adjacent features that weigh alike in one Gaussian, whatever their scales.

The features of block b, centred, are divided by the root of its total variance, so that

.. math:: \operatorname{tr} S_{bb} = 1, \qquad \operatorname{tr} S = B

before the covariance of all of them is shrunk. Levels of a network differ by orders of magnitude in that variance, and
not in what they tell. A Gaussian without shrinkage does not depend on the scales.
"""

from dataclasses import replace

import numpy as np


def block_starts(sizes):
    """Return where each block begins; one block of all features where there are no sizes."""
    return np.cumsum((0, *sizes[:-1]))


def block_squares(rows, sizes):
    """Return the squared norm of each block of each row, (n_samples, n_blocks)."""
    if len(sizes) < 2:
        return np.einsum("ij,ij->i", rows, rows)[:, np.newaxis]
    blocks = np.split(rows, block_starts(sizes)[1:], axis=1)
    return np.column_stack([np.einsum("ij,ij->i", block, block) for block in blocks])


def in_unit_blocks(sample):
    """Return the moments of the features over the scale of their block, all of them one block, and the scales.

    The scale of a block is the root of its total variance, so that each weighs as much as any other. Levels of a
    network differ by orders of magnitude in it, and not in what they tell.

    Returns
    -------
    sample : Moments
    scales : ndarray of shape (n_features,)
        Of each feature, that of its block.
    """
    totals = np.add.reduceat(sample.variances, sample.block_starts)
    scales = np.repeat(np.sqrt(totals), sample.sizes)
    factors = 1.0 / (scales / sample.unit)
    full = sample.scatter is not None and sample.scatter.ndim == 2
    squares = np.outer(factors, factors) if full else factors**2
    weights = sample.unit**2 / totals
    scaled = replace(
        sample,
        pivot=sample.pivot / scales,
        offset=sample.offset / scales,
        unit=1.0,
        scatter=None if sample.scatter is None else sample.scatter * squares,
        rows=None if sample.rows is None else sample.rows * factors,
        cubic=(weights @ sample.cubic)[np.newaxis] * factors,
        quartic=(weights @ sample.quartic @ weights).reshape(1, 1),
        peaks=sample.peaks * factors**2,
        quartic_peak=weights @ np.broadcast_to(sample.quartic_peak, sample.quartic.shape) @ weights,
        sizes=(),
    )
    return scaled, scales
