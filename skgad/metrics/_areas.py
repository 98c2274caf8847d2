"""Areas under the curves of a ranking, each with a bound on its error; arithmetic on arrays, NumPy only.

The points of a curve are exact. Between two of them lie one value, where ties make a straight line (the convention of
scikit-learn and of MVTec), or all the values of a cell, of which it is known only that the curve is monotone there.
Then the curve can be anywhere in the rectangle that the two points span: that is the bound.
"""

import numpy as np


def area_up_to(x, y, stop=1.0):
    """Return the mean height of a rising curve over [0, stop], by trapezoids, and a bound on its error.

    Parameters
    ----------
    x, y : ndarray of shape (n_points,)
        Rising from (0, 0) to (1, 1).
    stop : float in (0, 1]
        Where the last trapezoid is cut, on its straight line.

    Returns
    -------
    area, error : float
        Both in [0, 1].
    """
    n_inside = np.searchsorted(x, stop, side="right")  # all the points of a step that stands at `stop`
    width, rise = np.diff(x[: n_inside + 1]), np.diff(y[: n_inside + 1])
    low = y[: len(width)]
    inside = np.minimum(width, stop - x[: len(width)])
    reached = rise * np.divide(inside, width, out=np.ones_like(width), where=width > 0)
    return float(inside @ (low + reached / 2)) / stop, float(
        inside @ np.maximum(reached / 2, rise - reached / 2)
    ) / stop


def average_precision(false, true):
    """Return the sum of precisions weighted by the rise in recall, as scikit-learn has it, and a bound on its error.

    Parameters
    ----------
    false, true : ndarray of shape (n_thresholds,)
        Numbers of normal and of anomalous pixels at or above each threshold, rising from 0.

    Returns
    -------
    precision, error : float

    Notes
    -----
    Inside a cell, the precision is at least what it would be with all the cell's normal pixels first, and at most what
    it would be with all of them last.
    """
    found = np.flatnonzero(np.diff(true))  # elsewhere recall does not rise
    weights = np.diff(true)[found] / true[-1]
    precision = true[found + 1] / (true[found + 1] + false[found + 1])
    highest = true[found + 1] / (true[found + 1] + false[found])
    lowest = true[found] / np.maximum(true[found] + false[found + 1], 1)
    return float(weights @ precision), float(weights @ np.maximum(highest - precision, precision - lowest))


def largest_f1(false, true):
    """Return the largest F1 score at any threshold, and by how much a threshold inside of a cell may exceed it.

    Parameters
    ----------
    false, true : ndarray of shape (n_thresholds,)
        As of `average_precision`.
    """
    f1 = 2 * true / (true + false + true[-1])
    highest = 2 * true[1:] / (true[1:] + false[:-1] + true[-1])  # all of a cell's anomalous pixels, and no normal one
    return float(f1.max()), float(max(highest.max() - f1.max(), 0.0))
