"""Patches of feature maps: an even sample of them that images join and leave, a coreset of it, nearest neighbours."""

import numpy as np
from scipy import ndimage
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from ._maps import upsample

_NEIGHBOURHOOD = 3  # locations that a patch is averaged over, along a side, as in PatchCore
_PROJECTED = 128  # dimensions in which the coreset is chosen


class PatchSample:
    """An even sample of the patches of images: each patch draws a number, and the lowest ones stay.

    What an image's patches draw depends on the seed and the image's position alone, so that the sample depends on
    neither batches nor folds.
    """

    def __init__(self, size, seed, n_channels):
        self.n_images = 0
        self._size, self._seed = size, seed
        self._patches = np.empty((0, n_channels), dtype=np.float32)
        self._drawn = np.empty(0)

    def add(self, maps, rows):
        """Take the maps of the images at these positions in."""
        patches = make_patches(maps)
        for row, image in zip(rows, patches.reshape(len(patches), -1, patches.shape[-1]), strict=True):
            self._take(image, np.random.default_rng([self._seed, row]).random(len(image)))
        self.n_images += len(rows)

    def empty(self):
        """Return a sample of no images, to be merged with this one."""
        return PatchSample(self._size, self._seed, self._patches.shape[1])

    def merge(self, other):
        """Return this sample with the patches of other images."""
        result = self.empty()
        result.n_images = self.n_images + other.n_images
        result._take(self._patches, self._drawn)
        result._take(other._patches, other._drawn)
        return result

    def remove(self, other):
        """Return this sample without the patches of some of its images."""
        result = self.empty()
        result.n_images = self.n_images - other.n_images
        stays = ~np.isin(self._drawn, other._drawn)  # a part has kept all of its patches that the whole has kept
        result._take(self._patches[stays], self._drawn[stays])
        return result

    def choose(self, coreset_size):
        """Return a coreset: patches such that none of the sample is far from all of them."""
        patches = self._patches[np.argsort(self._drawn)]
        if len(patches) <= coreset_size:
            return patches
        if patches.shape[1] <= _PROJECTED:
            return patches[_choose_farthest(patches, coreset_size)]
        projection = GaussianRandomProjection(_PROJECTED, random_state=self._seed)
        return patches[_choose_farthest(projection.fit_transform(patches), coreset_size)]

    def _take(self, patches, drawn):
        if len(self._drawn) == self._size:
            low = drawn < self._drawn.max()
            patches, drawn = patches[low], drawn[low]
        self._patches, self._drawn = np.concatenate([self._patches, patches]), np.concatenate([self._drawn, drawn])
        if len(self._drawn) > self._size:
            lowest = np.argpartition(self._drawn, self._size)[: self._size]
            self._patches, self._drawn = self._patches[lowest], self._drawn[lowest]


class PatchNeighbors:
    """Patches of normal images, which measure those of others."""

    def __init__(self, coreset, n_neighbors):
        self.coreset = coreset
        self._index = NearestNeighbors(n_neighbors=min(n_neighbors, len(coreset)), algorithm="brute").fit(coreset)

    def __call__(self, maps):
        patches = make_patches(maps)
        distances, _ = self._index.kneighbors(patches.reshape(-1, patches.shape[-1]))
        return [distances.mean(axis=1).astype(np.float32).reshape(patches.shape[:3])]


def make_patches(maps):
    """Return the patches of images from the maps of all levels: (n, height, width, channels) of the finest one."""
    finest = max((level.shape[1:3] for level in maps), key=np.prod)
    around = (1, _NEIGHBOURHOOD, _NEIGHBOURHOOD, 1)
    averaged = [ndimage.uniform_filter(level, around, mode="nearest") for level in maps]
    grown = [level if level.shape[1:3] == finest else _grow(level, *finest) for level in averaged]
    return np.concatenate(grown, axis=-1)


def _grow(maps, height, width):
    n_images, *shape, n_channels = maps.shape
    planes = maps.transpose(0, 3, 1, 2).reshape(-1, *shape)
    return upsample(planes, height, width).reshape(n_images, n_channels, height, width).transpose(0, 2, 3, 1)


def _choose_farthest(points, n_chosen):
    """Return the indices of points, from the first on, each the farthest from those before it."""
    squares = np.einsum("ij,ij->i", points, points)
    chosen = [0]
    nearest = np.full(len(points), np.inf, dtype=points.dtype)
    while len(chosen) < n_chosen:
        last = chosen[-1]
        np.minimum(nearest, squares + squares[last] - 2 * (points @ points[last]), out=nearest)
        nearest[last] = -np.inf
        chosen.append(int(nearest.argmax()))
    return chosen
