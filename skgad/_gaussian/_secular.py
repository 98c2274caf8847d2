r"""Eigenvalues of a diagonal matrix from which one vector was taken out, for many vectors at once. NumPy only, a leaf.

The eigenvalues :math:`\mu` of :math:`\mathrm{diag}(\lambda) - v v^\top` solve the *secular equation*

.. math:: 1 = \sum_k \frac{v_k^2}{\lambda_k - \mu}, \qquad \lambda_{j+1} \le \mu_j \le \lambda_j

and the derivative of its right-hand side gives the share of :math:`v` along the eigenvector, without the eigenvector:
:math:`(v^\top u_j)^2 = 1 / \sum_k v_k^2 / (\lambda_k - \mu_j)^2`. The unknown is the *shift*
:math:`\delta_j = \lambda_j - \mu_j`, which keeps the digits of a small change. Each step fits both poles beside the
root (Li, "Solving secular equations stably and efficiently", LAPACK Working Note 89, 1993), between two bounds.
"""

import numpy as np

_EPS = np.finfo(np.float64).eps
_TRIPLES = 2**19  # (vector, root, pole) at a time: the block stays in the processor's cache
_DENSE_STEPS = 2  # of all roots at once, by matrix products; most need no more
_MOST_STEPS = 60  # bisection ends by then
_TOLERANCE = 1e-10  # of the distance to the nearer pole; the last step leaves far less, as convergence is quadratic


def separate(poles):
    """Return decreasing poles with ties set apart by some roundings, in place of deflation."""
    apart = np.array(poles)
    for k in range(1, len(apart)):
        apart[k] = min(apart[k], apart[k - 1] * (1 - 4 * _EPS))
    return apart


def downdate(poles, weights, first, last):
    r"""Return how far the eigenvalues `first` to `last` sink, and the squared coordinates along their eigenvectors.

    Parameters
    ----------
    poles : ndarray of shape (n_poles,)
        The diagonal, positive, decreasing and without ties; see `separate`.
    weights : ndarray of shape (n_vectors, n_poles)
        The squared coordinates of each vector, with a sum of :math:`v_k^2 / \lambda_k` of 1 at most.
    first, last : int
        Of the roots, counted from 0 at the largest; `last` is excluded.

    Returns
    -------
    shifts, squares : ndarray of shape (n_vectors, last - first)
        The shifts, all positive, and the squared coordinates of the vector along the new eigenvectors.

    Notes
    -----
    O(n_vectors · n_roots · n_poles) for each of two to four steps.
    """
    shifts, slopes = np.empty((2, len(weights), last - first))
    # a weight of zero would make its pole vanish, and with it the root's bracket
    sizes = weights.sum(axis=1, keepdims=True)
    weights = np.maximum(weights, _EPS**2 * np.maximum(sizes, _EPS**2 * poles[:1]))
    block = max(1, _TRIPLES // max(1, (last - first) * len(poles)))
    for row in range(0, len(weights) if last > first else 0, block):
        part = slice(row, row + block)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            shifts[part], slopes[part] = _Roots(poles, weights[part], first, last).solve()
    return shifts, 1.0 / slopes


class _Roots:
    """The roots `first` to `last` of a block of vectors, flat: root by root, vector after vector."""

    def __init__(self, poles, weights, first, last):
        self.poles, self.weights = poles, weights
        shape = len(weights), last - first
        self.offsets = poles - poles[first:last, np.newaxis]  # λ_k - λ_j
        self.gap = np.broadcast_to((poles - np.append(poles[1:], 0.0))[first:last], shape).ravel()
        self.own = weights[:, first:last].ravel()
        self.far = np.pad(weights, ((0, 0), (0, 1)))[:, first + 1 : last + 1].ravel()  # no pole below the last root
        self.low, self.high = np.zeros(self.gap.size), self.gap.copy()
        self.slope = np.empty(self.gap.size)
        self.x = self._start(first, shape)

    def solve(self):
        """Return the shifts and the derivatives there."""
        todo = np.arange(self.x.size)
        for step in range(_MOST_STEPS):
            done = self._step(todo, *(self._all(todo) if step < _DENSE_STEPS else self._some(todo)))
            if step:
                todo = todo[~done]
            if not len(todo):
                break
        shape = len(self.weights), len(self.offsets)
        return self.x.reshape(shape), self.slope.reshape(shape)

    def _start(self, first, shape):
        """Solve with both neighbouring poles exact and the others to first order about the upper one."""
        index = np.arange(shape[1])
        inverse = 1.0 / self.offsets
        inverse[index, first + index] = 0.0
        below = index[first + index + 1 < len(self.poles)]
        inverse[below, first + below + 1] = 0.0
        others = 1.0 - (self.weights @ inverse.T).ravel()
        slope = (self.weights @ np.square(inverse).T).ravel()
        x = _pole_root(others, self.own, self.far, self.gap)
        x = _pole_root(others + slope * x, self.own, self.far, self.gap)
        x = np.where((x > 0) & (x < self.gap * (1 - _EPS)), x, self.gap / 2)
        # beyond poles that were set apart by rounding: they would hold a root whose own pole has no weight
        return np.maximum(x, 1024 * _EPS * self.gap)

    def _all(self, todo):
        """Return the secular sums and their derivatives of all vectors, by matrix products."""
        shape = len(self.weights), len(self.offsets), 1
        inverse = 1.0 / (self.offsets + self.x.reshape(shape))
        column = self.weights[:, :, np.newaxis]
        sums = (inverse @ column).ravel()
        np.square(inverse, out=inverse)
        return sums[todo], (inverse @ column).ravel()[todo]

    def _some(self, todo):
        """Return the same of the few roots that are left."""
        row, root = np.divmod(todo, len(self.offsets))
        inverse = 1.0 / (self.offsets[root] + self.x[todo, np.newaxis])
        weighted = inverse * self.weights[row]
        return weighted.sum(axis=1), np.einsum("ij,ij->i", weighted, inverse)

    def _step(self, todo, sums, slope):
        """Move the roots `todo`; return which of them had arrived."""
        x, gap = self.x[todo], self.gap[todo]
        value = 1.0 - sums
        self.low[todo] = np.where(value < 0, x, self.low[todo])
        self.high[todo] = np.where(value > 0, x, self.high[todo])
        own, far = self._pole_weights(todo, slope)
        upper, lower = own / x, far / (gap - x)
        new = self._inside(todo, _pole_root(value + upper - lower, own, far, gap))
        solved = np.abs(value) <= 8 * _EPS * (1 + upper + lower)  # and a further step would be rounding
        new = np.where(solved, x, new)
        self.x[todo], self.slope[todo] = new, self._slope_at(todo, slope, x, new)
        return solved | (np.abs(new - x) <= np.maximum(_TOLERANCE * np.minimum(x, gap - x), 64 * _EPS * gap))

    def _pole_weights(self, todo, slope):
        """Return the weights of both poles: the nearer one's own, the other's such that the derivative is right."""
        x, below = self.x[todo], self.gap[todo] - self.x[todo]
        own, far = self.own[todo], self.far[todo]
        near = x < below
        return (
            np.where(near, own, np.maximum(slope - far / below**2, 0.0) * x**2),
            np.where(near, np.maximum(slope - own / x**2, 0.0) * below**2, far),
        )

    def _slope_at(self, todo, slope, x, new):
        """Return the derivative at the root from that a last step before: what both poles add to it is known."""
        gap = self.gap[todo]
        upper = self.own[todo] * (1.0 / new**2 - 1.0 / x**2)
        return slope + upper + self.far[todo] * (1.0 / (gap - new) ** 2 - 1.0 / (gap - x) ** 2)

    def _inside(self, todo, new):
        """Return the roots, or the middle of their bounds where they left these.

        The bounds are taken with their rounding: an iterate that has arrived is a bound itself.
        """
        low, high, gap = self.low[todo], self.high[todo], self.gap[todo]
        inside = (new >= low * (1 - 1e-10)) & (new <= high + 1e-10 * (gap - high) + 1e-14 * high)
        return np.minimum(np.where(inside, new, (low + high) / 2), gap * (1 - _EPS))


def _pole_root(level, own, far, gap):
    """Return the root of ``level - own / x + far / (gap - x)`` in (0, gap)."""
    b = level * gap + own + far
    root = np.sqrt(np.maximum(b * b - 4 * level * own * gap, 0.0))
    return np.where(b > 0, 2 * own * gap / (b + root), (b - root) / (2 * level))
