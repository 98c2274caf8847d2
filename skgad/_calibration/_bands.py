r"""The rate that each threshold reaches: a band around all of them at once, so that one may be chosen by looking.

The k-th lowest of n independent calibration scores with a continuous law, as a threshold, calls anomalous a share
:math:`U_{(k)}` of the new normal images: the k-th lowest of n uniform numbers, which follows Beta(k, n + 1 - k) with
mean k/(n + 1). All n together are the order statistics of one uniform sample, whatever the scores are. So the band

.. math:: P\bigl(b_k(\eta) \le U_{(k)} \le B_k(\eta) \text{ for all } k\bigr) = \text{coverage},

whose bounds are quantiles of these laws at one level :math:`\eta`, the same for each k, is exact, and as tight at small
rates as at large ones: Kolmogorov's band of constant width is useless there. The probability is computed by letting a
Poisson process of intensity n run through the bounds, and asking that it has n jumps at the end: given that, its jumps
are the order statistics. NumPy and SciPy only.

References
----------
Berk and Jones, "Goodness-of-fit test statistics that dominate the Kolmogorov statistics", 1979. Aldor-Noiman, Brown,
Buja, Rolke and Stine, "The power to see: a new graphical test of normality", The American Statistician 67, 2013 (equal
levels). Moscovich and Nadler, "Fast calculation of boundary crossing probabilities for Poisson processes", Statistics
and Probability Letters 123, 2017.
"""

from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from ._conformal import p_value_steps

_SIDES = ("both", "upper")
_MOST_RANKS = 2000  # that are bounded one by one
_MOST_COVERAGE = 0.9999  # beyond, rounding in the containment is no longer small beside what is left
_LOG_NEGLIGIBLE = np.log(1e20)


class RateCurve(NamedTuple):
    """What each threshold may reach: arrays of shape (n_thresholds,), in the order of the thresholds.

    Attributes
    ----------
    thresholds : ndarray
        The distinct calibration scores, ascending; an image below one of them is called anomalous.
    fpr : ndarray
        The false-positive rate to ask for that gives the threshold: k/(n + 1) without ties, the mean of what comes.
    low, high : ndarray
        Where the rates lie, all at once, with the probability asked for; NaN for groups.
    """

    thresholds: np.ndarray
    fpr: np.ndarray
    low: np.ndarray
    high: np.ndarray


def rate_curve(scores, groups=None, *, coverage=0.95, side="both"):
    """Return each threshold, the rate to ask for that gives it, and a band for the rates that come, all at once.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Of the calibration images; higher = more normal; finite.
    groups : ndarray of int of shape (n_samples,), default=None
        The number of each image's group, from 0 without gaps. None: each image is a group of its own. With groups
        there is no band: how alike the images of one group are decides the law, and nothing here knows it.
    coverage : float in (0, 0.9999], default=0.95
        The probability, over the draw of the calibration images, that every rate lies within its bounds.
    side : {"both", "upper"}, default="both"
        "both" bounds the rates from below as well, as `FPRThresholdCV.fpr_interval_` does; "upper" says only "at most",
        and lies about a tenth nearer to the rate asked for. The lower bound, which tells how much caution may cost,
        comes at that small price, and is there by default.

    Returns
    -------
    RateCurve

    Raises
    ------
    ValueError
        If `coverage` or `side` is none of the above, or `scores` is empty, has another shape or is not finite.

    Notes
    -----
    *What holds.* For split calibration on independent images: whoever takes a threshold *after* looking at the curve,
    the largest with ``high <= 0.02``, say, gets a rate of at most 0.02 with the probability `coverage`. The interval of
    one rate (`rate_interval`) is narrower, and holds for one rate that was fixed before. Out of fold, the band is
    nominal, as that interval is.

    *Ties.* An image that ties with the threshold is normal. ``high`` then is that of the lowest of the tied ranks, and
    holds for any law. Where scores tie, all of ``low`` is that of the rank before: what lies below a threshold holds
    everything up to the score before it. For a law with atoms whose sample happens to be free of ties, ``low`` can be
    too high by the share of one atom.

    *Cost.* Below 0.1 s for 100 images, about 1 s for 1,000 to 20,000, 2 s for 100,000, 8 s for a million; once for each
    number of images. Of more than 2,000 images, about that many ranks are bounded, evenly spaced in the standard
    deviations of their rates; those between take the bounds of their neighbours. The coverage is still exact, and the
    band wider by up to a tenth of a standard deviation for 5,000 images, half of one for 100,000, 1.6 for a million.
    """
    scores = _check_scores(scores)
    _check_band(coverage, side)
    edges, p_values = p_value_steps(scores, groups)
    if groups is None:
        ranks = np.searchsorted(np.sort(scores), edges) + 1
        low, high = order_statistic_band(len(scores), float(coverage), side)
        low = np.append(0, low)[ranks - (len(edges) < len(scores))]
        high = high[ranks - 1]
    else:
        low, high = np.full((2, len(edges)), np.nan)
    return RateCurve(edges, p_values[:-1], low, high)


@lru_cache(maxsize=32)
def order_statistic_band(n_samples, coverage, side):
    """Return bounds that hold all order statistics of `n_samples` uniform numbers with the probability `coverage`.

    Returns
    -------
    low, high : ndarray of shape (n_samples,)
        Of the lowest, the second lowest, ...; read-only, since they are kept for the next call. ``side="upper"`` has
        ``low = 0``.
    """
    ranks = _choose_ranks(n_samples)
    low, high = _quantiles(_find_level(n_samples, ranks, coverage, side), ranks, n_samples, side)
    every = np.arange(1, n_samples + 1)  # a rank between two lies above the lower one's, and below the upper one's
    low = low[np.searchsorted(ranks, every, side="right") - 1]
    high = high[np.searchsorted(ranks, every)]
    low.flags.writeable = high.flags.writeable = False
    return low, high


def containment(low, high, ranks, n_samples):
    r"""Return the probability that order statistics of `n_samples` uniform numbers lie within their bounds.

    Parameters
    ----------
    low, high : ndarray of shape (n_ranks,)
        Within [0, 1], each ascending.
    ranks : ndarray of int of shape (n_ranks,)
        Which order statistics are bounded, from 1, ascending.
    n_samples : int

    Returns
    -------
    float
        Sums of products of numbers that are not negative, so that rounding stays small: 1e-12 for 1,000 samples, 1e-9
        for 100,000.

    Notes
    -----
    With N(t) the jumps until t, :math:`U_{(k)} \le B_k` is :math:`N(B_k) \ge k`, and :math:`U_{(k)} \ge b_k` is
    :math:`N(b_k) < k`. So the law of N(t) is carried from one bound to the next, and cut there to what is allowed. At a
    time t, no more than what Bernstein's inequality leaves around n*t is kept, so that the cost is that of
    2 n_ranks convolutions of O(sqrt(n_samples)) numbers.
    """
    times = np.unique(np.concatenate([low, high, [1.0]]))
    times = times[times > 0]
    means = n_samples * np.diff(times, prepend=0)
    law, start = np.ones(1), 0  # law[i] is the probability of start + i jumps, within all bounds so far
    for mean, least, most in zip(means, *_allowed_counts(times, low, high, ranks, n_samples), strict=True):
        jumps, first = _poisson(mean)
        law, start = np.convolve(law, jumps), start + first
        cut = max(least - start, 0)
        law, start = law[cut : max(most + 1 - start, 0)], start + cut
        if not law.size:
            return 0.0
    at_end = n_samples - start
    whole = np.exp(special.xlogy(n_samples, n_samples) - n_samples - special.gammaln(n_samples + 1))
    return float(law[at_end] / whole) if at_end < len(law) else 0.0


def _allowed_counts(times, low, high, ranks, n_samples):
    """Return how many jumps there are at least and at most until each of the times, within the bounds."""
    least = np.append(0, ranks)[np.searchsorted(high, times, side="right")]
    most = np.append(ranks - 1, n_samples)[np.searchsorted(low, times, side="left")]
    spread = _reach(n_samples * times * (1 - times))
    least = np.maximum(least, np.ceil(n_samples * times - spread)).astype(int)
    return least, np.minimum(most, np.floor(n_samples * times + spread)).astype(int)


def _poisson(mean):
    """Return the Poisson law where it is not negligible, and the number that it begins with."""
    reach = _reach(mean)
    first = max(0, int(mean - reach))
    counts = np.arange(first, int(mean + reach) + 1)
    return np.exp(counts * np.log(mean) - mean - special.gammaln(counts + 1)), first


def _reach(variance):
    """Return how far a binomial or Poisson count strays from its mean, but for 1e-20: Bernstein's inequality."""
    third = _LOG_NEGLIGIBLE / 3
    return third + np.sqrt(third**2 + 2 * _LOG_NEGLIGIBLE * variance)


def _find_level(n_samples, ranks, coverage, side):
    """Return the level at which the quantiles of each rank, together, have the coverage."""
    error = 1 - coverage
    if len(ranks) == 1:
        return error

    def excess(log_level):
        low, high = _quantiles(np.exp(log_level), ranks, n_samples, side)
        return containment(low, high, ranks, n_samples) - coverage

    # Bonferroni's level is too cautious, and that of a single rank too bold.
    return np.exp(optimize.brentq(excess, np.log(error / len(ranks)), np.log(error), xtol=1e-9))


def _quantiles(level, ranks, n_samples, side):
    tail, others = (level / 2 if side == "both" else level), n_samples + 1 - ranks
    low = special.betaincinv(ranks, others, tail) if side == "both" else np.zeros(len(ranks))
    return low, special.betainccinv(ranks, others, tail)


def _choose_ranks(n_samples):
    """Return which ranks are bounded: all, or of many some whose rates are evenly spaced in standard deviations."""
    if n_samples <= _MOST_RANKS:
        return np.arange(1, n_samples + 1)
    angles = np.linspace(0, np.pi / 2, _MOST_RANKS)  # the arcsine of a share's root has the same variance everywhere
    return np.unique(1 + ((n_samples - 1) * np.sin(angles) ** 2).round().astype(int))


def _check_scores(scores):
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"scores must have shape (n_samples,), with one image at least; got shape {scores.shape}.")
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise ValueError(f"scores[{row}] is {scores[row]}; every calibration image needs a finite score.")
    return scores


def _check_band(coverage, side):
    if not isinstance(coverage, Real) or isinstance(coverage, bool) or not 0 < float(coverage) <= _MOST_COVERAGE:
        raise ValueError(f"coverage must lie in (0, {_MOST_COVERAGE}]: a probability, such as 0.95; got {coverage!r}.")
    if side not in _SIDES:
        raise ValueError(f"side must be 'both' or 'upper'; got {side!r}.")
