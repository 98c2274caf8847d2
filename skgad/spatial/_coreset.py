"""Greedy k-centre: of many points a few, such that none of the many is far from all of the few. NumPy only.

The next point is the one whose nearest chosen point is farthest (Gonzalez, "Clustering to minimize the maximum
intercluster distance", 1985). Plainly done, every new point is compared with all others, a pass over memory each time.
Here the same points are found lazily. What a point was last known to be at most from its nearest chosen one is a bound:
further choices only bring it nearer. A round takes the few points of the highest bounds, catches up with the choices
that they have missed, in one matrix product, and goes on choosing among them until the farthest of them is nearer than
the bounds of all the rest. Most points are never looked at again, once something near them was chosen.

The products are in float32 and are only trusted to tell which distances matter; those are summed from differences, as
the plain algorithm would.
"""

import numpy as np

_PART = 32  # a round has so many points of all; on 227,601 and on 326,700 patches, 10 and 100 took twice as long
_FEWEST = 2048  # points of a round
_BLOCK = 256  # points that are compared at a time: they stay in the processor's cache
_SLACK = 1e-5  # more than float32 loses in a product, as a share of the largest squared norm


def choose_coreset(points, n_chosen):
    """Return the indices of points, the first the farthest from the mean, each other the farthest from those before it.

    Parameters
    ----------
    points : ndarray of float32 of shape (n_points, n_channels)
    n_chosen : int
        n_points at most.

    Returns
    -------
    ndarray of int of shape (n_chosen,)
        Those of the plain algorithm.
    """
    choice = _Choice(points, n_chosen)
    n_far = min(len(points), max(_FEWEST, len(points) // _PART))
    while choice.count < n_chosen:
        far = np.sort(np.argpartition(choice.bounds, -n_far)[-n_far:])
        limit = choice.bounds[far].min()  # of all the rest
        choice.catch_up(far)
        choice.choose_among(far, limit)
    return choice.chosen


class _Choice:
    """Points that are chosen so far, and a bound for each point's squared distance to the nearest of them."""

    def __init__(self, points, n_chosen):
        everywhere = np.arange(len(points))
        mean = points.mean(axis=0, dtype=np.float64).astype(points.dtype)
        self._points = points
        self._norms = np.einsum("ij,ij->i", points, points)
        self._slack = _SLACK * self._norms.max()
        self.chosen = np.zeros(n_chosen, dtype=np.intp)
        self.chosen[0] = first = _square_distances(points, everywhere, mean).argmax()
        self.count = 1
        self.bounds = _square_distances(points, everywhere, points[first])
        self.bounds[first] = -1.0  # none is chosen twice, though others may lie where it does
        self._seen = np.ones(len(points), dtype=np.int32)  # how many of those chosen the bound knows of

    def catch_up(self, rows):
        """Make the bounds of some points their distances to the nearest of all that are chosen."""
        seen = self._seen[rows]
        for since in np.unique(seen[seen < self.count]):
            missed, late = self.chosen[since : self.count], rows[seen == since]
            for start in range(0, len(late), _BLOCK):
                self._compare(late[start : start + _BLOCK], missed)

    def choose_among(self, rows, limit):
        """Choose the farthest of some points that have caught up, until it is nearer than `limit`."""
        points, norms, distances = self._points[rows], self._norms[rows], self.bounds[rows]
        while self.count < len(self.chosen):
            farthest = int(distances.argmax())
            if distances[farthest] < limit:
                break
            newest = points[farthest]
            low = points @ (-2.0 * newest) + norms + (norms[farthest] - self._slack)
            closer = np.flatnonzero(low < distances)
            distances[closer] = np.minimum(distances[closer], _square_distances(points, closer, newest))
            distances[farthest] = -1.0
            self.chosen[self.count] = rows[farthest]
            self.count += 1
        self.bounds[rows], self._seen[rows] = distances, self.count

    def _compare(self, rows, missed):
        """Lower the bounds of some points by their distances to points that were chosen since."""
        products = self._points[rows] @ self._points[missed].T
        products *= -2.0
        products += self._norms[missed]
        least = products.min(axis=1)
        closer = np.flatnonzero(least + self._norms[rows] < self.bounds[rows] + self._slack)
        near = products[closer] <= (least[closer] + 2 * self._slack)[:, None]
        which, others = np.nonzero(near)
        pairs = rows[closer[which]]
        distances = _square_distances(self._points, pairs, self._points[missed[others]])
        np.minimum.at(self.bounds, pairs, distances)


def _square_distances(points, rows, others):
    """Return the squared distances of some points to another, or each to its own: the same whichever are asked for."""
    result = np.empty(len(rows), dtype=points.dtype)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        apart = points[rows[part]]
        apart -= others if others.ndim == 1 else others[part]
        result[part] = np.einsum("ij,ij->i", apart, apart)
    return result
