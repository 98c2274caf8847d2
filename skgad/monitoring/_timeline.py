"""Sums of rows over time, in bounded room: the latest in bins of a few rows, the older the wider."""

import numpy as np

FINEST = 16  # rows of a bin
_AS_WIDE = 8  # bins of one width: with one more, the two oldest of them become one of twice the width


class Timeline:
    """The sums of the rows of each bin.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features):
        self.starts = np.empty(0, dtype=int)  # the number of the first row, from 0
        self.counts = np.empty(0, dtype=int)
        self.sums = np.empty((0, n_features))

    def add(self, rows, number):
        """Add rows, the first of which has this number."""
        starts, counts, sums = list(self.starts), list(self.counts), list(self.sums)
        at = 0
        while at < len(rows):
            if not counts or counts[-1] >= FINEST:
                starts.append(number + at)
                counts.append(0)
                sums.append(np.zeros(rows.shape[1]))
            some = rows[at : at + FINEST - counts[-1]]
            counts[-1] += len(some)
            sums[-1] = sums[-1] + some.sum(axis=0)
            at += len(some)
        self.starts, self.counts, self.sums = np.array(starts, dtype=int), np.array(counts, dtype=int), np.array(sums)
        self._thin()

    def merge(self, other):
        """Add the bins of another, whose rows are others."""
        order = np.argsort(np.concatenate([self.starts, other.starts]), kind="stable")
        self.starts = np.concatenate([self.starts, other.starts])[order]
        self.counts = np.concatenate([self.counts, other.counts])[order]
        self.sums = np.concatenate([self.sums, other.sums])[order]
        self._thin()

    def since(self, number):
        """Return which bins begin at this row or later; the last one, if none does."""
        chosen = self.starts >= number
        chosen[-1:] = True
        return chosen

    def _thin(self):
        least, width = 1, FINEST  # bins that are not full are of streams that were merged, but for the last
        while least <= self.counts.max(initial=0):
            wide = np.flatnonzero((self.counts >= least) & (self.counts < width))
            while len(wide) > _AS_WIDE:
                first, second = wide[:2]
                self.sums[first] += self.sums[second]
                self.counts[first] += self.counts[second]
                self.starts, self.counts = np.delete(self.starts, second), np.delete(self.counts, second)
                self.sums = np.delete(self.sums, second, axis=0)
                wide = np.flatnonzero((self.counts >= least) & (self.counts < width))
            least, width = width, 2 * width
