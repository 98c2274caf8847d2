r"""Conformal calibration: p-values and the threshold of a rate, from the scores of normal images. NumPy and SciPy only.

A new image with score :math:`s` gets the share of the calibration scores that are as low, itself counted among them:

.. math:: p(s) = \frac{1 + \#\{i : s_i \le s\}}{n + 1}, \qquad
    p(s) = \frac{1}{G + 1} \Bigl(1 + \sum_{g=1}^{G} \frac{\#\{i \in g : s_i \le s\}}{|g|}\Bigr)

the second where images come in groups, each of which counts once. As a function of :math:`s` this is a staircase, which
is computed once, in integers; each step is the float nearest to the exact fraction. Rounding keeps the order, so that
comparing these floats with a rate is as good as comparing the fractions, and the threshold of a rate is a step's edge.
"""

import math

import numpy as np
from scipy import stats

from .._conventions._parameters import read_fpr


def p_value_steps(scores, groups=None):
    """Return the p-value as a function of the score, as a staircase.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Of the calibration images; higher = more normal; finite.
    groups : ndarray of int of shape (n_samples,), default=None
        The number of each image's group, from 0 without gaps. None: each image is a group of its own.

    Returns
    -------
    edges : ndarray of shape (n_edges,)
        The distinct scores, ascending.
    p_values : ndarray of shape (n_edges + 1,)
        ``p_values[j]`` is that of a score with j edges at or below it: ascending, from 1/(G + 1) to 1.
    """
    edges, step = np.unique(scores, return_inverse=True)
    sizes = np.ones(len(scores), dtype=int) if groups is None else np.bincount(groups)[groups]
    n_groups = len(scores) if groups is None else int(groups.max()) + 1
    whole = math.lcm(*np.unique(sizes).tolist())  # a group in units in which each image's share of it is an integer
    total = whole * (n_groups + 1)
    integer = np.int64 if total < 2**53 else object  # Python's integers have no end, and divide as exactly
    risers = np.zeros(len(edges) + 1, dtype=integer)
    risers[0] = whole
    np.add.at(risers, step + 1, whole // sizes.astype(integer))
    return edges, (np.cumsum(risers) / total).astype(float)


def read_p_values(scores, edges, p_values):
    """Return the p-value of each score, off the staircase."""
    return p_values[np.searchsorted(edges, scores, side="right")]


def threshold(fpr, edges, p_values):
    """Return the score below which, and only below which, the p-value is at most `fpr`."""
    return float(edges[np.searchsorted(p_values, float(read_fpr(fpr)), side="right") - 1])


def aimed_rate(fpr, p_values):
    """Return the largest p-value that is at most `fpr`: k/(n + 1) without groups and ties."""
    return float(p_values[np.searchsorted(p_values, float(read_fpr(fpr)), side="right") - 1])


def shifted_rate(drift, offset, edges, p_values):
    """Return by how much the rate below a threshold grows when new scores rise by `drift`, which may be NaN."""
    if np.isnan(drift):
        return np.nan
    before, after = read_p_values(np.nextafter([offset, offset - drift], -np.inf), edges, p_values)
    return float(after - before)


def conformal_rank(fpr, n_groups):
    """Return the largest k with k/(n_groups + 1) <= fpr, of the fraction that `fpr` says: 29 for 0.29 and n = 99."""
    return math.floor((n_groups + 1) * read_fpr(fpr))


def groups_needed(fpr):
    """Return how many groups, or images, a rate needs at least: the smallest n with 1/(n + 1) <= fpr."""
    return math.ceil(1 / read_fpr(fpr)) - 1


def rate_interval(rank, n_groups, coverage=0.95):
    """Return the central interval of the law Beta(k, n + 1 - k) of the rate that a calibration reaches."""
    tail = (1 - coverage) / 2
    low, high = stats.beta.ppf([tail, 1 - tail], rank, n_groups + 1 - rank)
    return float(low), float(high)
