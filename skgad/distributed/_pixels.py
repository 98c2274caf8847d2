"""The pixel threshold of more images than whose largest pixels fit into memory."""

import numpy as np

from .._calibration._score_sketch import ScoreSketch

MOST_PIXELS = 2_000_000  # that are sent and kept as they are


class PixelSketch:
    """As `LargestPixels`, from bins: the threshold is no less than the exact one, and more by a bin at most.

    Parameters
    ----------
    share : Fraction
        Of the pixels, that may lie beyond the threshold.
    """

    def __init__(self, share):
        self._share, self._sketch, self._peaks = share, ScoreSketch(), []

    def add(self, maps):
        """Take maps in, (n_images, height, width)."""
        self._peaks.append(np.fmax.reduce(maps.reshape(len(maps), -1), axis=1))
        self._sketch = self._sketch.merge(ScoreSketch(-maps[~np.isnan(maps)]))

    def merge(self, other):
        """Take in what another has, of other maps."""
        self._peaks += other._peaks
        self._sketch = self._sketch.merge(other._sketch)
        return self

    def peaks(self):
        """Return the largest pixel of each map, ascending."""
        return np.sort(np.concatenate(self._peaks))

    def threshold(self):
        """Return a number that at most that share of the pixels is beyond."""
        count = max(1, int(self._sketch.n_samples * self._share))
        return -float(self._sketch.values[np.searchsorted(np.cumsum(self._sketch.counts), count)])
