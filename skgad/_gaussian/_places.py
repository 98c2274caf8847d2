r"""Moments of the rows at many places at once, as sums that samples join and leave. NumPy only.

The rows of a map are its locations in all images, grouped by *place*: every location is a place of its own for a "tied"
or "local" Gaussian; all locations are one place for a "global" one. Each place has a mean of its own. The scatter is
summed over the places ("tied"), or kept for each ("local"); with one place the two are the same.

A place enters with the power sums of :math:`z = (x - p) / u` about a pivot :math:`p` that never changes, so that
samples are joined and parted by adding and subtracting. The unit :math:`u`, a power of two near the spread, loses no
digits, and keeps fourth powers, and what is stored as float32, in range. Central moments follow from the sums, exactly
but for one term: the fourth moment about the means needs :math:`s_l^\top S_l s_l`, the scatter at place :math:`l` along
the step :math:`s_l` from the pivot to the mean, which a tied Gaussian does not keep. There :math:`S_l` is taken as the
tied covariance, scaled to the variance at the place. The pivot is a mean of some images, so that the term is small; it
enters the shrinkage intensity alone.

A row of NaN is one that is not there: outside of a region of interest. It is counted nowhere, so that places may have
different numbers of rows, or none.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from ._triangle import pack, unpack

KINDS = ("tied", "local", "global")
PIVOT_IMAGES = 16  # whose maps are held at the beginning,
_PIVOT_BYTES = 2**28  # as many of them as this, and one at least
BLOCK = 2**20  # numbers that are worked on at a time: 8 MB, which stays near the processor
_SUMS = ("n_rows", "total", "squares", "cubic", "quartic", "scatter")


@dataclass(eq=False)
class PlaceSums:
    """Power sums of the rows of each place of one map.

    Attributes
    ----------
    shape : tuple of int
        Height and width of the map.
    n_images : int
    n_rows : ndarray of shape (n_places,)
        The number of rows at each place.
    unit : float
        What z is measured in, a power of two; the sums are free of the maps' own unit.
    pivot : ndarray of float32 of shape (n_places, n_channels)
        In the maps' own unit.
    total, cubic : ndarray of shape (n_places, n_channels)
        The sums of z and of ‖z‖² z.
    squares, quartic : ndarray of shape (n_places,)
        The sums of ‖z‖² and of ‖z‖⁴.
    scatter : ndarray of shape (n_channels, n_channels) or (n_places, n_channels, n_channels)
        The sum of z zᵀ.
    largest : float
        The largest sum of squares that was ever in `scatter`: what its rounding is a share of, after a removal too.
    """

    shape: tuple
    n_images: int
    n_rows: np.ndarray
    unit: float
    pivot: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    cubic: np.ndarray
    quartic: np.ndarray
    scatter: np.ndarray
    largest: float = 0.0

    @classmethod
    def begin(cls, maps, kind):
        """Return the sums of no images, about the mean of these maps (n, height, width, channels), in their spread."""
        shape, n_channels = maps.shape[1:3], maps.shape[3]
        rows = maps.reshape(-1, 1, n_channels) if kind == "global" else maps.reshape(len(maps), -1, n_channels)
        pivot = _find_means(rows).astype(np.float32)
        n_places = len(pivot)
        scatter = np.zeros((*((n_places,) if kind == "local" else ()), n_channels, n_channels))
        vectors, numbers = np.zeros(pivot.shape), np.zeros(n_places)
        unit = _find_unit(maps, pivot)
        return cls(shape, 0, numbers, unit, pivot, vectors, numbers.copy(), vectors.copy(), numbers.copy(), scatter)

    @property
    def is_local(self):
        return self.scatter.ndim == 3

    @property
    def step(self):
        """From the pivot to the mean of each place, in units, (n_places, n_channels)."""
        return self.total.astype(np.float64) / np.maximum(self.n_rows, 1)[:, np.newaxis]

    @property
    def mean(self):
        """The mean of each place, in the maps' own unit, (n_places, n_channels); NaN where there is no row."""
        mean = self.pivot + self.unit * self.step
        mean[self.n_rows == 0] = np.nan
        return mean

    @property
    def deviation(self):
        """The root mean square of each channel about the pivots, over all places, in the maps' own unit."""
        squares = np.diagonal(self.scatter, axis1=-2, axis2=-1).reshape(-1, self.pivot.shape[1]).sum(axis=0)
        return self.unit * np.sqrt(squares / self.n_rows.sum())

    def add(self, maps):
        """Take maps in, (n, height, width, channels)."""
        for places, rows in split_places(maps, self.pivot):
            z = np.subtract(rows, self.pivot[places], dtype=np.float64)
            z /= self.unit
            self.n_rows[places] += _count_rows(z)
            squares = np.einsum("ijk,ijk->ij", z, z)
            self.total[places] += z.sum(axis=0)
            self.squares[places] += squares.sum(axis=0)
            self.cubic[places] += np.einsum("ij,ijk->jk", squares, z)
            self.quartic[places] += np.square(squares).sum(axis=0)
            if self.is_local:
                by_place = np.ascontiguousarray(z.transpose(1, 0, 2))
                self.scatter[places] += by_place.transpose(0, 2, 1) @ by_place
            else:
                flat = z.reshape(-1, z.shape[-1])
                self.scatter += flat.T @ flat
        self.n_images += len(maps)
        self.largest = max(self.largest, _largest(self.scatter))

    def empty(self):
        """Return the sums of no images, about the same pivot."""
        sums: dict = {name: np.zeros(getattr(self, name).shape) for name in _SUMS}
        return replace(self, n_images=0, largest=0.0, **sums)

    def to_float32(self):
        """Return the sums as they are kept: what there is at every location in float32, as maps are."""
        return replace(self, total=self.total.astype(np.float32), cubic=self.cubic.astype(np.float32))

    def merge(self, other):
        """Return the sums with those of other images about the same pivot."""
        sums: dict = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        largest = max(self.largest, other.largest, _largest(sums["scatter"]))
        return replace(self, n_images=self.n_images + other.n_images, largest=largest, **sums)

    def remove(self, other):
        """Return the sums without those of some of the images."""
        sums: dict = {name: getattr(self, name) - getattr(other, name) for name in _SUMS}
        return replace(self, n_images=self.n_images - other.n_images, **sums)

    def __getstate__(self):
        return {**self.__dict__, "scatter": pack(self.scatter)}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.scatter = unpack(state["scatter"], self.pivot.shape[1])


def pooled_covariance(sums):
    """Return the covariance that all places share, about their own means, (n_channels, n_channels), in units."""
    step, n_rows = sums.step, sums.n_rows
    scatter = sums.scatter.sum(axis=0) if sums.is_local else sums.scatter
    return (scatter - (step.T * n_rows) @ step) / n_rows.sum()


def place_variances(sums):
    """Return the variance at each place, summed over the channels, (n_places,), in units; 0 where there is no row."""
    step = sums.step
    return sums.squares / np.maximum(sums.n_rows, 1) - np.einsum("ij,ij->i", step, step)


def place_covariances(sums, places):
    """Return the covariances at some places of a "local" Gaussian, (n, n_channels, n_channels), in units."""
    step = sums.step[places]
    return (
        sums.scatter[places] / sums.n_rows[places, np.newaxis, np.newaxis]
        - step[:, :, np.newaxis] * step[:, np.newaxis, :]
    )


def central_quartic(sums, covariance, places=slice(None)):
    """Return the sum of the fourth powers of the distances to its mean, at each place, (n_places,).

    Parameters
    ----------
    sums : PlaceSums
    covariance : ndarray of shape (n_channels, n_channels), or of shape (n_places, n_channels, n_channels)
        That of all places, from which the term along the step is approximated; or those of the places, and it is exact.
    places : slice or ndarray of int
    """
    step, n_rows, squares = sums.step[places], np.maximum(sums.n_rows[places], 1), sums.squares[places]
    length = np.einsum("ij,ij->i", step, step)
    if covariance.ndim == 3:
        along = np.einsum("ij,ijk,ik->i", step, covariance, step, optimize=True)
    else:
        variance = squares / n_rows - length
        mean = np.average(variance, weights=n_rows)
        along = np.einsum("ij,ij->i", step @ covariance, step) * (variance / mean if mean > 0 else 1.0)
    cubic = np.einsum("ij,ij->i", step, sums.cubic[places])
    quartic = sums.quartic[places] + n_rows * (4 * along + length**2) - 4 * cubic + 2 * length * squares
    return np.maximum(quartic, np.square(squares - n_rows * length) / n_rows)  # Cauchy and Schwarz: no less is possible


def count_pivot_images(maps):
    """Return how many images the pivot is the mean of, by the maps of some, one a level."""
    return max(1, min(PIVOT_IMAGES, _PIVOT_BYTES // sum(level[0].nbytes for level in maps)))


def split_places(maps, pivot):
    """Yield slices of places and their rows (n_rows, n_places, channels), some numbers at a time."""
    n_channels = maps.shape[-1]
    if len(pivot) == 1:
        rows = maps.reshape(-1, 1, n_channels)
        block = max(1, BLOCK // n_channels)
        for start in range(0, len(rows), block):
            yield slice(0, 1), rows[start : start + block]
        return
    rows = maps.reshape(len(maps), -1, n_channels)
    block = max(1, BLOCK // (n_channels * len(maps)))
    for start in range(0, rows.shape[1], block):
        yield slice(start, start + block), rows[:, start : start + block]


def count_bytes(kind, shape, n_channels, n_sums=1):
    """Return how much memory a map takes at most: `n_sums` sums, and a Gaussian that is estimated from one more."""
    n_locations = shape[0] * shape[1]
    n_places = 1 if kind == "global" else n_locations
    n_matrices = n_places if kind == "local" else 1
    per_sums = 8 * (n_matrices * n_channels**2 + 3 * n_places * n_channels)
    per_gaussian = 4 * n_matrices * n_channels**2 + 12 * n_places * n_channels
    block = 8 * min(BLOCK, n_matrices * n_channels**2 + n_locations * n_channels)
    # out of fold: the sums of all, of those left out, and of the others; a Gaussian of all, and one being made
    n_more, n_gaussians = (1, 1) if n_sums == 1 else (3, 2)
    being_made = 8 * (n_matrices + 3) * n_channels**2 + 8 * n_places * n_channels
    one_map = 4 * n_locations * n_channels
    maps = 3 * max(one_map, min(PIVOT_IMAGES * one_map, _PIVOT_BYTES))
    return (n_sums + n_more) * per_sums + n_gaussians * per_gaussian + being_made + 8 * block + maps


def _find_unit(maps, pivot):
    """Return a power of two near the root mean square of the rows about the pivot; 1 where there is none."""
    total, n_rows = 0.0, 0
    for places, rows in split_places(maps, pivot):
        z = np.subtract(rows, pivot[places], dtype=np.float64)
        n_rows += _count_rows(z).sum()
        total += np.vdot(z, z)
    return math.ldexp(1.0, math.frexp(math.sqrt(total / max(n_rows * maps.shape[-1], 1)))[1])


def _find_means(rows):
    """Return the mean of each place's rows (n_rows, n_places, n_channels); 0 where there is none."""
    if not np.isnan(rows[..., 0]).any():
        return rows.mean(axis=0, dtype=np.float64)
    there = ~np.isnan(rows[..., :1])
    return np.sum(rows, axis=0, where=there, dtype=np.float64) / np.maximum(there.sum(axis=0), 1)


def _count_rows(rows):
    """Return how many rows (n_rows, n_places, n_channels) there are at each place; those of NaN are made 0."""
    lacking = np.isnan(rows[..., 0]) & np.isnan(rows[..., -1])  # NaN in some channels alone is an error, and stays
    if lacking.any():
        rows[lacking] = 0
    return len(rows) - np.count_nonzero(lacking, axis=0)


def _largest(scatter):
    return float(np.diagonal(scatter, axis1=-2, axis2=-1).max())
