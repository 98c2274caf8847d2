"""Each location's distances on the scale of its level: places where normal images vary more do not drown the others."""

import numpy as np

_LEAST = 0.1  # of a level's deviation: a place where distances hardly vary is given no more weight than by this


class DistanceSums:
    """Sums of the distances at each location of each level, of images that a detector has not seen.

    Parameters
    ----------
    n_images : int
    total, squares : list of ndarray of shape (height, width)
        The sums of the distances and of their squares.
    """

    def __init__(self, n_images=0, total=(), squares=()):
        self.n_images = n_images
        self._total = list(total)
        self._squares = list(squares)

    def add(self, distances):
        """Take the distance maps of some images in, a list of (n, height, width)."""
        parts = [level.astype(np.float64) for level in distances]
        total, squares = [part.sum(axis=0) for part in parts], [np.square(part).sum(axis=0) for part in parts]
        merged = self.merged(DistanceSums(len(parts[0]), total, squares))
        self.n_images, self._total, self._squares = merged.n_images, merged._total, merged._squares

    def merged(self, other):
        """Return the sums with those of other images."""
        if not self.n_images or not other.n_images:
            return self if self.n_images else other
        return DistanceSums(
            self.n_images + other.n_images,
            [one + two for one, two in zip(self._total, other._total, strict=True)],
            [one + two for one, two in zip(self._squares, other._squares, strict=True)],
        )

    def without(self, other):
        """Return the sums without those of some of the images."""
        return DistanceSums(
            self.n_images - other.n_images,
            [one - two for one, two in zip(self._total, other._total, strict=True)],
            [one - two for one, two in zip(self._squares, other._squares, strict=True)],
        )

    def standards(self):
        """Return the `LevelStandard` of each level."""
        return [
            LevelStandard.of_sums(self.n_images, total, squares)
            for total, squares in zip(self._total, self._squares, strict=True)
        ]


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
    def of_sums(cls, n_images, total, squares):
        """Return that of distances with these sums: the level's mean and deviation are those over all locations."""
        mean = total / n_images
        variance = np.maximum(squares / n_images - mean**2, 0.0)
        level_mean, level_deviation = mean.mean(), np.sqrt(variance.mean())
        if not level_deviation:
            return cls(np.ones(mean.shape, np.float32), (level_mean - mean).astype(np.float32))
        gain = level_deviation / np.maximum(np.sqrt(variance), _LEAST * level_deviation)
        return cls(gain.astype(np.float32), (level_mean - gain * mean).astype(np.float32))

    def __call__(self, distances):
        """Return distances (n, height, width) on the scale of their level."""
        return np.maximum(self.gain * distances + self.shift, np.float32(0))


def standardize(distances, standards):
    """Return the distance maps of all levels, each on the scale of its level."""
    return [standard(level) for standard, level in zip(standards, distances, strict=True)]
