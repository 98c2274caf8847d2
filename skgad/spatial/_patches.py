"""Patches of feature maps, a memory of them that images join and leave, and distances to the nearest ones in it."""

from typing import NamedTuple

import numpy as np
import psutil
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from ._coreset import choose_coreset
from ._maps import average_around, upsample_there

_NEIGHBOURHOOD = 3  # locations that a patch is averaged over, along a side
_BLOCK = 256  # patches whose products with the memory are held at a time


class PatchMemory:
    """All patches of images. What is chosen of them depends on neither batches nor folds."""

    def __init__(self, patches=None):
        self._patches = patches or {}  # position of the image -> (n_locations, n_channels), those of interest

    @property
    def n_images(self):
        return len(self._patches)

    def add(self, maps, rows):
        """Take the maps of the images at these positions in."""
        for level in maps:
            lacking = np.isnan(level)
            odd = lacking.any(axis=(1, 2, 3)) & (lacking.any(axis=-1) != lacking.all(axis=-1)).any(axis=(1, 2))
            if odd.any():
                raise ValueError(f"The maps of image {rows[odd.argmax()]} contain NaN or infinity; leave it out.")
        for row, image in zip(rows.tolist(), make_patches(maps), strict=True):
            patches = image.reshape(-1, image.shape[-1])
            there = ~np.isnan(patches).any(axis=1)
            if not np.isfinite(patches[there]).all():
                raise ValueError(f"The maps of image {row} contain NaN or infinity; leave it out.")
            patches = patches if there.all() else patches[there]
            known = self._patches.get(row)  # of an earlier tile
            self._patches[row] = patches if known is None else np.concatenate([known, patches])

    def empty(self):
        """Return a memory of no images, to be merged with this one."""
        return PatchMemory()

    def merge(self, other):
        """Return this memory with the patches of other images; none is copied."""
        return PatchMemory({**self._patches, **other._patches})

    def remove(self, other):
        """Return this memory without some of its images."""
        return PatchMemory({row: kept for row, kept in self._patches.items() if row not in other._patches})

    def choose(self, share):
        """Return a coreset, that share of the patches: none of the others is far from all of them."""
        if not self._patches:
            raise ValueError("A memory of patches needs at least one normal image; none is left.")
        patches = np.concatenate([self._patches[row] for row in sorted(self._patches)])
        if not len(patches):
            raise ValueError(
                "No patch lies in the region of interest for the better part, on all levels. Take a larger region or "
                "image_size, or leave the coarser level out."
            )
        n_chosen = max(1, round(float(share) * len(patches)))
        return patches if n_chosen == len(patches) else patches[choose_coreset(patches, n_chosen)]


class Measured(NamedTuple):
    """What a memory says of images."""

    maps: list  # one array (n_images, height, width) of distances, NaN where there is nothing of interest
    weights: np.ndarray  # (n_images,), of their scores

    def find_weight(self):
        """Return the weight of the score of all of them together: of the one with the largest distance, (1,)."""
        peaks = np.nan_to_num(self.maps[0], nan=-1).max(axis=(1, 2))
        return self.weights[[peaks.argmax()]]


class PatchNeighbors:
    """Patches of normal images, which measure those of others."""

    def __init__(self, coreset, n_neighbors):
        self.coreset = coreset
        self._n_neighbors = n_neighbors

    def __call__(self, maps):
        patches = make_patches(maps)
        n_images, height, width, n_channels = patches.shape
        rows = patches.reshape(-1, n_channels)
        lacking = np.isnan(rows).any(axis=1)
        distances, nearest = find_nearest(np.nan_to_num(rows) if lacking.any() else rows, self.coreset)
        distances[lacking] = np.nan
        filled = np.where(lacking, -1, distances).reshape(n_images, -1)
        largest = filled.argmax(axis=1) + np.arange(n_images) * height * width
        weights = self._weigh(rows[largest], distances[largest], nearest[largest])
        return Measured([distances.reshape(n_images, height, width)], weights)

    def _weigh(self, patches, distances, nearest):
        """Return a weight for each patch: eq. 7 of the paper.

        It is one minus the share of the nearest kept patch m* in the softmax of the distances to m* and to the kept
        patches around m*: the lower, the lonelier m* is.
        """
        n_neighbors = min(self._n_neighbors, len(self.coreset))
        if n_neighbors == 1:
            return np.ones(len(patches))
        between = cdist(self.coreset[nearest], self.coreset)
        around = self.coreset[np.argpartition(between, n_neighbors - 1, axis=1)[:, :n_neighbors]]
        others = np.linalg.norm(around - patches[:, None], axis=2)
        return 1.0 - np.exp(distances - logsumexp(others, axis=1))


def find_nearest(patches, memory):
    """Return the Euclidean distance of each patch to the nearest one in a memory, and which that is.

    The nearest one is found from products in float32, the distance from differences: rounding may confuse nearest ones
    that are almost equally far, and does not make a distance too small.
    """
    centre = memory.mean(axis=0)
    centred = memory - centre
    halves = np.einsum("ij,ij->i", centred, centred) / 2
    nearest, distances = np.empty(len(patches), dtype=np.intp), np.empty(len(patches), dtype=np.float32)
    for start in range(0, len(patches), _BLOCK):
        part = slice(start, start + _BLOCK)
        products = (patches[part] - centre) @ centred.T
        products -= halves
        nearest[part] = products.argmax(axis=1)
        distances[part] = np.linalg.norm(patches[part] - memory[nearest[part]], axis=1)
    return distances, nearest


def make_patches(maps):
    """Return the patches of images from the maps of all levels: (n, height, width, channels) of the finest one.

    A location is averaged with those around it, zeros beyond the border; coarser levels are upsampled afterwards.
    """
    finest = _find_finest(maps)
    averaged = [average_around(level, _NEIGHBOURHOOD) for level in maps]
    grown = [level if level.shape[1:3] == finest else _grow(level, *finest) for level in averaged]
    return np.concatenate(grown, axis=-1)


def check_room(maps, n_images):
    """Raise ValueError if there is no memory for the patches of so many images, twice: while a coreset is chosen."""
    n_locations, n_channels = int(np.prod(_find_finest(maps))), sum(level.shape[-1] for level in maps)
    needed, free = 2 * n_images * n_locations * n_channels * 4, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"All patches of {n_images} images, {n_locations} locations of {n_channels} channels each, take "
            f"{needed / 1e9:.3g} GB of memory while some are chosen, and {free / 1e9:.3g} GB are free. Give fewer "
            "images, a smaller image_size, or levels that are coarser or have fewer channels."
        )


def _find_finest(maps):
    return max((level.shape[1:3] for level in maps), key=np.prod)


def _grow(maps, height, width):
    n_images, *shape, n_channels = maps.shape
    planes = maps.transpose(0, 3, 1, 2).reshape(-1, *shape)
    return upsample_there(planes, height, width).reshape(n_images, n_channels, height, width).transpose(0, 2, 3, 1)
