r"""Bets against p-values that are uniform and independent: what is gained where they are not.

A betting function is a density on (0, 1), or lies below one: an expert that bets by it multiplies his capital by
:math:`f(p_t)`, and has no more than he had, on average, if :math:`p_t` is uniform whatever came before. Experts start
at every image, with a share of the capital each: :math:`w_s` for those that start at image s. All that follow one
function need one number,

.. math:: V_t = f(p_t)\, (V_{t-1} + w_t),

and the capital of all, those included that have not started yet, is a test martingale.

On the lowest p-values, up to the share of images that may be defective, nothing is bet, or only against their coming
twice as often: defects alone, up to that share, make nobody rich.
"""

import numpy as np
from scipy.special import betaln

_SCALE = 100.0  # images: how slowly the capital is spent on those that start
_TINY = 1e-12
# Of p-values above the share of defects, stretched to (0, 1): beta densities, and tilted ones, 1 + slope (u - 1/2).
_LOWER_SHAPES, _LOWER_SLOPES = ((0.25, 1), (0.5, 1), (0.7, 1)), (-1.5, -0.7)
_OTHER_SHAPES, _OTHER_SLOPES = ((1, 0.5), (0.7, 0.7), (1.5, 1.5)), (1.5, 0.7)  # higher, spread, crowded
_RATES = (0.1, 0.2, 0.5, 0.9)  # of p-values up to the share of defects, where twice that share is tolerated


def count_experts(defect_share):
    """Return how many betting functions there are."""
    return log_gains([0.5], defect_share).shape[1]


def log_gains(p_values, defect_share):
    """Return the logarithm of each betting function at each p-value, (n_samples, n_experts)."""
    p = np.asarray(p_values, dtype=float)[:, np.newaxis]
    low = p <= defect_share
    rest = np.clip((p - defect_share) / (1 - defect_share), _TINY, 1 - _TINY)
    lower, others = (
        np.where(low, 0.0, np.hstack([_log_beta(rest, shapes), np.log1p(np.array(slopes) * (rest - 0.5))]))
        for shapes, slopes in ((_LOWER_SHAPES, _LOWER_SLOPES), (_OTHER_SHAPES, _OTHER_SLOPES))
    )
    tolerated = 2 * defect_share
    rates = np.array([rate for rate in _RATES if rate > tolerated > 0])
    if not len(rates):
        return np.hstack([lower, others])
    often = np.where(low, np.log(rates / tolerated), np.log((1 - rates) / (1 - tolerated)))
    both = (often[:, :, np.newaxis] + lower[:, np.newaxis, 1:4]).reshape(len(p), -1)
    return np.hstack([lower, others, often, both])


def _log_beta(values, shapes):
    a, b = np.array(shapes, dtype=float).T
    return (a - 1) * np.log(values) + (b - 1) * np.log1p(-values) - betaln(a, b)


def left_to_start(number):
    """Return the share of the capital of those who start at image `number`, from 0, or later: 1, and slowly to 0."""
    return 1.0 / (1.0 + np.log1p(np.asarray(number, dtype=float) / _SCALE))


def starting_at(number):
    """Return the share of those who start at image `number`, from 0."""
    return left_to_start(number) - left_to_start(np.asarray(number) + 1)
