"""Arithmetic of maps: averages around locations, the score of an image, a threshold of pixels."""

import functools
import math

import numpy as np
from scipy import ndimage

from .._images._upsampling import upsample

AGGREGATES = ("max", "mean", "top")


def average_around(maps, side):
    """Return maps (n, height, width, channels), each location averaged over the square around it, of so many a side.

    Beyond the border lie zeros: a location at the border knows that it lies there. So does one that is NaN, outside of
    a region of interest, which stays so.
    """
    lacking = np.isnan(maps[..., 0])
    if not lacking.any():
        return ndimage.uniform_filter(maps, (1, side, side, 1), mode="constant")
    averaged = ndimage.uniform_filter(np.nan_to_num(maps), (1, side, side, 1), mode="constant")
    averaged[lacking] = np.nan
    return averaged


def upsample_mean(levels, size, covered):
    """Return the mean of the levels' maps (n, height, width) for every pixel of the images: float32.

    Parameters
    ----------
    levels : list of ndarray of shape (n, from_height, from_width)
        NaN where they are not scored. A pixel is NaN if that is nearer than what is, on the finest level; of coarser
        ones, what is scored reaches half a location beyond.
    size : (height, width)
        Of the images, in pixels.
    covered : (height, width)
        Pixels that the maps cover, from the upper left corner on: those of the images, or more.
    """
    sums: dict = {}
    for level in levels:  # those of one shape are added before they are upsampled: it is the same, and cheaper
        sums[level.shape] = level if level.shape not in sums else sums[level.shape] + level
    height, width = covered
    finest = max(sums, key=math.prod)
    parts = [upsample_there(level, height, width, 0.5 if shape == finest else 1e-3) for shape, level in sums.items()]
    mean = functools.reduce(lambda one, other: np.add(one, other, out=one), parts)
    mean /= np.float32(len(levels))
    return mean[:, : size[0], : size[1]]


def upsample_there(maps, height, width, least=0.5):
    """Return maps (n, height, width) upsampled from those locations that are not NaN.

    NaN where they would have less than a share of the weight; with a half, where locations that are NaN are nearer.
    """
    there = ~np.isnan(maps)
    if there.all():
        return upsample(maps, height, width)
    weights = upsample(there.astype(np.float32), height, width)
    weights[weights < least] = np.nan
    return upsample(np.where(there, maps, 0), height, width) / weights


def smooth(maps, deviation):
    """Return maps (n, height, width), filtered by a Gaussian of this standard deviation in pixels; NaN stays so."""
    if not deviation:
        return maps
    there = ~np.isnan(maps)
    values = maps if there.all() else np.where(there, maps, 0)
    smoothed = ndimage.gaussian_filter(values, (0, deviation, deviation), mode="nearest")
    if there.all():
        return smoothed
    weights = ndimage.gaussian_filter(there.astype(np.float32), (0, deviation, deviation), mode="nearest")
    weights[~there] = np.nan
    return smoothed / weights


def aggregate(maps, how, top_share):
    """Return one number an image from maps (n, height, width): (n,), float64.

    Parameters
    ----------
    maps : ndarray
        NaN where there is nothing to score; an image that is NaN everywhere gets NaN.
    how : {"max", "mean", "top"}
    top_share : float
        For "top": the share of the locations, the largest ones, whose mean it is; one at least.
    """
    flat = maps.reshape(len(maps), -1)
    lacking = np.isnan(flat)
    if lacking.any():
        return np.array([_aggregate_there(row, how, top_share) for row in flat])
    if how == "max":
        return flat.max(axis=1).astype(np.float64)
    if how == "mean":
        return flat.mean(axis=1, dtype=np.float64)
    if how != "top":
        raise ValueError(f"aggregate must be one of {', '.join(map(repr, AGGREGATES))}; got {how!r}.")
    count = count_top(flat.shape[1], top_share)
    return np.partition(flat, -count, axis=1)[:, -count:].mean(axis=1, dtype=np.float64)


def _aggregate_there(row, how, top_share):
    there = row[~np.isnan(row)]
    return aggregate(there.reshape(1, 1, -1), how, top_share)[0] if len(there) else np.nan


def count_top(n_locations, top_share):
    """Return how many locations are the top share of so many."""
    return max(1, round(float(top_share) * n_locations))  # in float16 the product could overflow


class LargestPixels:
    """The threshold that a share of the pixels of many maps lies at or beyond, exactly, without keeping the others.

    Parameters
    ----------
    n_pixels : int
        How many there will be in all, at most: NaN is none.
    share : Fraction
        In (0, 1). Of a float, the count would be one less where the product is rounded down.
    """

    def __init__(self, n_pixels, share):
        self._count, self._share, self._n_pixels = max(1, int(n_pixels * share)), share, 0
        self._largest = np.empty(0, dtype=np.float32)
        self._peaks = []

    def add(self, maps):
        """Take maps in, (n_images, height, width)."""
        self._peaks.append(np.fmax.reduce(maps.reshape(len(maps), -1), axis=1))
        lacking = np.isnan(maps)
        pixels = maps[~lacking] if lacking.any() else maps.ravel()
        self._n_pixels += len(pixels)
        if len(self._largest) == self._count:
            pixels = pixels[pixels > self._largest[0]]
        largest = np.concatenate([self._largest, pixels])
        if len(largest) >= self._count:
            first = len(largest) - self._count
            largest = np.partition(largest, first)[first:]  # the smallest of them comes first
        self._largest = largest

    def merge(self, other):
        """Take in what another of the same number of pixels and share has, of other maps."""
        self._peaks += other._peaks
        self._n_pixels += other._n_pixels
        largest = np.concatenate([self._largest, other._largest])
        first = max(0, len(largest) - self._count)
        self._largest = np.partition(largest, first)[first:] if len(largest) else largest
        return self

    @property
    def size(self):
        """How many pixels it may hold."""
        return self._count

    def peaks(self):
        """Return the largest pixel of each map, ascending."""
        return np.sort(np.concatenate(self._peaks))

    def threshold(self):
        """Return the smallest number that at most that share of the pixels is beyond."""
        count = max(1, int(self._n_pixels * self._share))
        return float(np.partition(self._largest, len(self._largest) - count)[len(self._largest) - count])
