r"""Scores of more images than fit into memory: a histogram that merges, in bins as fine as there is room for.

A bin is a number of leading bits of a float64's significand: all scores whose bits agree are in it. Two histograms,
with bins of the same width or of others, add up; the result does not depend on the order, nor on how the scores were
split up. As long as there are few scores they are all kept.

A bin counts as its lower edge, so that a p-value from a histogram is never less than that of all scores, and more by
what is in one bin at most: the rate of false alarms stays below what was asked for.
"""

import numpy as np

_SIGNIFICAND = 52  # bits


class ScoreSketch:
    """The scores of images: all of them, or how many lie in each bin.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,), default=()
        Finite.
    size : int, default=1_000_000
        How many scores, or bins, are kept.

    Attributes
    ----------
    n_samples : int
    values : ndarray of shape (n_kept,)
        Ascending; the lower edges of the bins.
    counts : ndarray of int of shape (n_kept,)
    bits : int
        Of the significand that tell bins apart; 52 where each value has its own.
    """

    def __init__(self, scores=(), size=1_000_000):
        values, counts = np.unique(np.asarray(scores, dtype=np.float64), return_counts=True)
        self._set(values, counts, _SIGNIFICAND, size)

    @property
    def n_samples(self):
        return int(self.counts.sum())

    @property
    def rank_error(self):
        """By how much the share of scores up to a number may be off: that of the fullest bin; 0 if all are kept."""
        return 0.0 if self.bits == _SIGNIFICAND else float(self.counts.max() / self.n_samples)

    def merge(self, other):
        """Return the sketch of the scores of both."""
        merged = ScoreSketch(size=min(self.size, other.size))
        bits = min(self.bits, other.bits)
        values = np.concatenate([_floor(one.values, bits) for one in (self, other)])
        values, counts = _add_up(values, np.concatenate([self.counts, other.counts]))
        merged._set(values, counts, bits, merged.size)
        return merged

    def representatives(self):
        """Return scores that stand for all, ascending: all of them, or as many as are kept.

        Of more, the j-th of m stands for the ranks up to j n / m, and is the lowest of them: no p-value from these is
        less than that from all, nor more by more than 1/m and the `rank_error`.
        """
        if self.n_samples <= self.size:
            return np.repeat(self.values, self.counts)
        ranks = np.arange(self.size) * self.n_samples // self.size  # from 0, of the lowest score of each part
        return self.values[np.searchsorted(np.cumsum(self.counts), ranks, side="right")]

    def _set(self, values, counts, bits, size):
        while len(values) > size and bits > 0:  # then one bin for each power of two: four thousand at most
            bits -= 1
            values, counts = _add_up(_floor(values, bits), counts)
        self.values, self.counts, self.bits, self.size = values, counts, bits, size


def _floor(values, bits):
    """Return the largest numbers with so many bits of a significand that are no larger than these."""
    if bits == _SIGNIFICAND:
        return values
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.floor(np.ldexp(fraction, bits + 1)), exponent - bits - 1)


def _add_up(values, counts):
    distinct, where = np.unique(values, return_inverse=True)
    total = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(total, where, counts)
    return distinct, total
