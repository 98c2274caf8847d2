"""Each location's distances on the scale of its level: places where normal images vary more do not drown the others."""

import numpy as np

_LEAST = 0.1  # of a level's deviation: a place where distances hardly vary is given no more weight than by this


class DistanceSums:
    """Sums of the distances at each location of each level, of images that a detector has not seen.

    Parameters
    ----------
    parts : list of ndarray of shape (3, height, width)
        Of each level the number of distances, their sum, and that of their squares; none for no image.
    """

    def __init__(self, parts=()):
        self._parts = list(parts)

    def add(self, distances):
        """Take the distance maps of some images in, a list of (n, height, width); NaN is not counted."""
        self._parts = self.merge(DistanceSums([_add_up(level) for level in distances]))._parts

    def merge(self, other):
        """Return the sums with those of other images."""
        if not self._parts or not other._parts:
            return self if self._parts else other
        return DistanceSums([one + two for one, two in zip(self._parts, other._parts, strict=True)])

    def without(self, other):
        """Return the sums without those of some of the images."""
        return DistanceSums([one - two for one, two in zip(self._parts, other._parts, strict=True)])

    def standards(self):
        """Return the `LevelStandard` of each level."""
        return [LevelStandard.of_sums(*part) for part in self._parts]


class LevelStandard:
    """What brings the distances at each location to the mean and the deviation that those of the level have.

    Parameters
    ----------
    gain, shift : ndarray of float32 of shape (height, width)
        A distance d becomes ``gain * d + shift``, and no less than 0.
    """

    def __init__(self, gain, shift):
        self.gain = gain
        self.shift = shift

    @classmethod
    def of_sums(cls, n_distances, total, squares):
        """Return that of distances with these sums: the level's mean and deviation are those over all locations."""
        seen = n_distances > 0
        n_distances = np.maximum(n_distances, 1)
        mean = total / n_distances
        variance = np.maximum(squares / n_distances - mean**2, 0.0)
        if not seen.any():
            return cls(np.ones(mean.shape, np.float32), np.zeros(mean.shape, np.float32))
        level_mean, level_deviation = mean[seen].mean(), np.sqrt(variance[seen].mean())
        if not level_deviation:
            return cls(np.ones(mean.shape, np.float32), (level_mean - mean).astype(np.float32))
        gain = level_deviation / np.maximum(np.sqrt(variance), _LEAST * level_deviation)
        return cls(gain.astype(np.float32), (level_mean - gain * mean).astype(np.float32))

    def __call__(self, distances):
        """Return distances (n, height, width) on the scale of their level."""
        return np.maximum(self.gain * distances + self.shift, np.float32(0))


def _add_up(distances):
    """Return the number, the sum and the sum of squares of distances (n, height, width), at each location."""
    there = ~np.isnan(distances)
    values = np.where(there, distances, 0).astype(np.float64)
    return np.stack([there.sum(axis=0), values.sum(axis=0), np.square(values).sum(axis=0)])


def standardize(distances, standards):
    """Return the distance maps of all levels, each on the scale of its level."""
    return [standard(level) for standard, level in zip(standards, distances, strict=True)]
