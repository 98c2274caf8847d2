r"""Gaussians over feature maps: sums that stream over images, and what follows from them. NumPy only.

The rows of a level are its locations in all images, grouped by *place*: every location is a place of its own for a
"tied" or "local" Gaussian; all locations are one place for a "global" one. Each place has a mean of its own. The
scatter is summed over the places ("tied"), or kept for each ("local"); with one place the two are the same.

A place enters with the power sums of :math:`z = x - p` about a pivot :math:`p` that never changes, so that samples are
joined and parted by adding and subtracting. Central moments follow from them, exactly but for one term: the fourth
moment about the means needs :math:`s_l^\top S_l s_l`, the scatter at place :math:`l` along the step :math:`s_l` from
the pivot to the mean, which a tied Gaussian does not keep. There :math:`S_l` is taken as the tied covariance, scaled to
the variance at the place. The pivot is a mean of some images, so that the term is small; it enters the shrinkage
intensity alone.
"""

from dataclasses import dataclass, replace

import numpy as np

from .._gaussian._shrinkage import ledoit_wolf_intensity, oas_intensity
from .._gaussian._spectrum import find_crossing
from .._gaussian._triangle import pack, unpack

KINDS = ("tied", "local", "global")
_BLOCK = 2**20  # numbers that are worked on at a time: 8 MB, which stays near the processor
_ROUNDING = 1e-12  # of the largest sums: what may be left of a variance that is none
_STILL = 1e-4  # of the mean variance: a place that varies by a hundredth of what others do tells no scale
PIVOT_IMAGES = 16  # whose maps are held at the beginning
_FLOAT32_ERROR = 1e-4  # by as much may float32 move a distance, as a share of its usual size


@dataclass(eq=False)
class PlaceSums:
    """Power sums of the rows of each place of one level.

    Attributes
    ----------
    shape : tuple of int
        Height and width of the map.
    n_images : int
    pivot, total, cubic : ndarray of shape (n_places, n_channels)
        The pivot, in float32, and the sums of z and of ‖z‖² z about it.
    squares, quartic : ndarray of shape (n_places,)
        The sums of ‖z‖² and of ‖z‖⁴.
    scatter : ndarray of shape (n_channels, n_channels) or (n_places, n_channels, n_channels)
        The sum of z zᵀ.
    largest : float
        The largest sum of squares that was ever in `scatter`: what its rounding is a share of, after a removal too.
    """

    shape: tuple
    n_images: int
    pivot: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    cubic: np.ndarray
    quartic: np.ndarray
    scatter: np.ndarray
    largest: float = 0.0

    @classmethod
    def begin(cls, maps, kind):
        """Return the sums of no images, about the mean of these maps (n, height, width, channels)."""
        _, height, width, n_channels = maps.shape
        mean = maps.mean(axis=0, dtype=np.float64).reshape(-1, n_channels)
        pivot = (mean.mean(axis=0, keepdims=True) if kind == "global" else mean).astype(np.float32)
        n_places = len(pivot)
        own = (n_places,) if kind == "local" else ()
        return cls(
            (height, width),
            0,
            pivot,
            np.zeros(pivot.shape),
            np.zeros(n_places),
            np.zeros(pivot.shape),
            np.zeros(n_places),
            np.zeros((*own, n_channels, n_channels)),
        )

    @property
    def n_rows(self):
        """The number of rows at each place."""
        return self.n_images * (self.shape[0] * self.shape[1] // len(self.pivot))

    @property
    def is_local(self):
        return self.scatter.ndim == 3

    def add(self, maps):
        """Take maps in, (n, height, width, channels)."""
        for places, rows in _split(maps, self.pivot):
            z = np.subtract(rows, self.pivot[places], dtype=np.float64)
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


_SUMS = ("total", "squares", "cubic", "quartic", "scatter")


class PlaceGaussian:
    """The Gaussian of each place, ready to measure distances.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the map.
    mean : ndarray of shape (n_places, n_channels)
    deviation : ndarray of shape (n_channels,)
        Standard deviation of each channel, over all places.
    whitener : ndarray of shape (n_places or 1, n_kept, n_channels)
        W with WᵀW the inverse of the covariance, or of its part along the kept directions.
    n_kept : ndarray of int of shape (n_places or 1,)
        Degrees of freedom at each place.
    shrinkage : ndarray of shape (n_places or 1,)
    """

    def __init__(self, shape, mean, deviation, whitener, n_kept, shrinkage):
        self.shape = shape
        self.mean = mean
        self.n_kept = n_kept
        self.shrinkage = shrinkage
        # What rounding to float32 does to W (x - mean) is at most about eps |W| (|mean| + |x - mean|).
        largest = np.abs(mean).max(axis=0) + 3 * deviation
        error = np.finfo(np.float32).eps * np.linalg.norm(np.abs(whitener) @ largest, axis=-1) / np.sqrt(n_kept)
        dtype = np.float32 if error.max() < _FLOAT32_ERROR else np.float64
        self._mean, self._whitener = mean.astype(dtype), whitener.astype(dtype)

    def distances(self, maps):
        """Return the Mahalanobis distance at each location: (n, height, width), float32."""
        result = np.empty((len(maps), self._mean.shape[0] if len(self._mean) > 1 else maps[0, ..., 0].size), np.float32)
        if len(self._whitener) > 1:
            for places, rows in _split(maps, self._mean):
                centred = (rows - self._mean[places]).transpose(1, 0, 2)
                whitened = centred @ self._whitener[places].transpose(0, 2, 1)
                result[:, places] = np.sqrt(np.einsum("ijk,ijk->ij", whitened, whitened)).T
        else:
            whitener = self._whitener[0].T
            for image, level in zip(result, maps, strict=True):
                whitened = (level.reshape(-1, level.shape[-1]) - self._mean) @ whitener
                image[:] = np.sqrt(np.einsum("ij,ij->i", whitened, whitened))
        return result.reshape(maps.shape[:3])


def estimate(sums, n_components=None):
    """Return the Gaussian of these sums, shrunk by Ledoit and Wolf's rule.

    Parameters
    ----------
    sums : PlaceSums
    n_components : float, int or None
        As in `NPCA`: the directions of least variance to keep, at each place; None for all. What is kept is shrunk by
        the oracle approximating rule, which needs no fourth moments: they are those of all channels.

    Returns
    -------
    PlaceGaussian

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance that all places share is singular.
    ValueError
        If there are fewer components than asked for, or some map held NaN or infinity.
    """
    if not np.isfinite(sums.quartic).all():
        raise ValueError("maps of normal images hold NaN or infinity")
    step = sums.total.astype(np.float64) / sums.n_rows
    whitener, n_kept, shrinkage = _whiten_pooled(sums, step, n_components)
    if sums.is_local:
        whitener, n_kept, shrinkage = _whiten_places(sums, step, n_components, whitener, n_kept, shrinkage)
    channels = np.arange(step.shape[1])
    squares = sums.scatter[..., channels, channels].reshape(-1, len(channels)).sum(axis=0)
    deviation = np.sqrt(squares / (sums.n_rows * len(step)))
    return PlaceGaussian(sums.shape, sums.pivot + step, deviation, whitener, n_kept, shrinkage)


def count_bytes(kind, shape, n_channels, n_sums=1):
    """Return how much memory a level takes at most: `n_sums` sums, and a Gaussian that is estimated from one more."""
    n_locations = shape[0] * shape[1]
    n_places = 1 if kind == "global" else n_locations
    n_matrices = n_places if kind == "local" else 1
    per_sums = 8 * (n_matrices * n_channels**2 + 3 * n_places * n_channels)
    per_gaussian = 4 * n_matrices * n_channels**2 + 12 * n_places * n_channels
    block = 8 * min(_BLOCK, n_matrices * n_channels**2 + n_locations * n_channels)
    # out of fold: the sums of all, of those left out, and of the others; a Gaussian of all, and one being made
    n_more, n_gaussians = (1, 1) if n_sums == 1 else (3, 2)
    being_made = 8 * (n_matrices + 3) * n_channels**2 + 8 * n_places * n_channels
    maps = 3 * 4 * PIVOT_IMAGES * n_locations * n_channels
    return (n_sums + n_more) * per_sums + n_gaussians * per_gaussian + being_made + 8 * block + maps


def _split(maps, pivot):
    """Yield slices of places and their rows (n_rows, n_places, channels), some numbers at a time."""
    n_channels = maps.shape[-1]
    if len(pivot) == 1:
        rows = maps.reshape(-1, 1, n_channels)
        block = max(1, _BLOCK // n_channels)
        for start in range(0, len(rows), block):
            yield slice(0, 1), rows[start : start + block]
        return
    rows = maps.reshape(len(maps), -1, n_channels)
    block = max(1, _BLOCK // (n_channels * len(maps)))
    for start in range(0, rows.shape[1], block):
        yield slice(start, start + block), rows[:, start : start + block]


def _whiten_pooled(sums, step, n_components):
    """Return whitener, number of kept directions and intensity of the covariance that all places share."""
    n_places, n_rows = len(step), sums.n_rows * len(step)
    scatter = sums.scatter.sum(axis=0) if sums.is_local else sums.scatter
    covariance = scatter / n_rows - step.T @ step / n_places
    quartic = _central_quartic(sums, step, covariance).sum()
    noise = sums.largest / n_rows * (n_places if sums.is_local else 1)
    *found, tells = _whiten(covariance[np.newaxis], n_rows, quartic[np.newaxis], n_components, noise)
    if not tells[0]:
        raise np.linalg.LinAlgError("There is no variance, or no noise to shrink by.")
    return found


def _whiten_places(sums, step, n_components, *shared):
    """Return the same of each place's own covariance; where that tells too little, what all places share."""
    n_rows, n_channels = sums.n_rows, sums.pivot.shape[1]
    variance = sums.squares / n_rows - np.einsum("ij,ij->i", step, step)
    varied = np.flatnonzero(variance >= _STILL * variance.mean())
    block = max(1, _BLOCK // n_channels**2)
    parts = []
    for start in range(0, len(varied), block):
        places = varied[start : start + block]
        part = step[places]
        covariance = sums.scatter[places] / n_rows - part[:, :, np.newaxis] * part[:, np.newaxis, :]
        quartic = _central_quartic(sums, step, covariance, places)
        *found, tells = _whiten(covariance, n_rows, quartic, n_components, sums.largest / n_rows)
        parts.append((places[tells], *found))
    n_most = max(one.shape[1] for one in [shared[0], *(part[1] for part in parts)])
    whitener, n_kept, shrinkage = (np.repeat(one, len(step), axis=0) for one in (_pad(shared[0], n_most), *shared[1:]))
    for places, own_whitener, own_n_kept, own_shrinkage in parts:
        whitener[places], n_kept[places], shrinkage[places] = _pad(own_whitener, n_most), own_n_kept, own_shrinkage
    return whitener, n_kept, shrinkage


def _pad(whitener, n_rows):
    return np.pad(whitener, ((0, 0), (0, n_rows - whitener.shape[1]), (0, 0)))


def _central_quartic(sums, step, covariance, places=slice(None)):
    """Return the sum of the fourth powers of the distances to its mean, at each place."""
    step, n_rows, squares = step[places], sums.n_rows, sums.squares[places]
    length = np.einsum("ij,ij->i", step, step)
    if covariance.ndim == 3:
        along = np.einsum("ij,ijk,ik->i", step, covariance, step, optimize=True)
    else:
        variance = squares / n_rows - length
        mean = variance.mean()
        along = np.einsum("ij,ij->i", step @ covariance, step) * (variance / mean if mean > 0 else 1.0)
    cubic = np.einsum("ij,ij->i", step, sums.cubic[places])
    quartic = sums.quartic[places] + n_rows * (4 * along + length**2) - 4 * cubic + 2 * length * squares
    return np.maximum(quartic, np.square(squares - n_rows * length) / n_rows)  # Cauchy and Schwarz: no less is possible


def _whiten(covariance, n_rows, quartic, n_components, noise):
    """Return what a stack of covariances is whitened by, and which of them tell enough.

    Returns
    -------
    whitener : ndarray of shape (n_telling, n_kept, n_channels)
    n_kept : ndarray of shape (n_telling,)
    shrinkage : ndarray of shape (n_telling,)
    tells : ndarray of bool of shape (n,)
        Whether it is regular.
    """
    diagonal = np.arange(covariance.shape[-1])
    variances = covariance[:, diagonal, diagonal]
    if n_components is not None:
        tells = variances.max(axis=1) > _ROUNDING * noise
        return *_whiten_least(covariance[tells], n_rows, n_components, noise), tells
    trace = variances.sum(axis=1)
    norm = np.einsum("ijk,ijk->i", covariance, covariance)
    shrinkage = ledoit_wolf_intensity(n_rows, len(diagonal), trace, norm, quartic)
    floor = shrinkage * trace / len(diagonal)
    tells = floor > _ROUNDING * noise
    if not tells.all():  # no noise to shrink by, as rows of two values show none: regular only if it is as it is
        spectra = np.linalg.eigvalsh(covariance[~tells])
        tells[~tells] = spectra[:, 0] > 10 * len(diagonal) * np.finfo(np.float64).eps * spectra[:, -1]
    shrunk = covariance[tells] * (1.0 - shrinkage[tells])[:, np.newaxis, np.newaxis]
    shrunk[:, diagonal, diagonal] += floor[tells, np.newaxis]
    factor = np.linalg.cholesky(shrunk)
    # the triangular factor, not the covariance, is inverted: to apply it to maps is one product for all places
    return np.linalg.inv(factor), np.full(len(factor), len(diagonal)), shrinkage[tells], tells


def _whiten_least(covariance, n_rows, n_components, noise):
    """Return the same along the directions of least variance: one may keep more than another, and rows of 0 fill up."""
    n_channels = covariance.shape[-1]
    index = np.arange(n_channels)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(variances[:, ::-1], 0.0), axes.transpose(0, 2, 1)[:, ::-1]
    # rounding, not directions: of the decomposition, and of sums that were larger once
    tolerance = max(n_rows, n_channels) * np.finfo(np.float64).eps * np.maximum(variances[:, :1], noise)
    n_found = np.count_nonzero(variances > tolerance, axis=1)
    if isinstance(n_components, (float, np.floating)):
        found = np.where(index < n_found[:, np.newaxis], variances, 0.0)
        first = np.minimum(find_crossing(found, n_components) + 1, n_found - 1) if n_components < 1 else 0 * n_found
    elif (n_found < n_components).any():
        raise ValueError(f"n_components={n_components}, but there are places with only {n_found.min()} components")
    else:
        first = n_found - n_components
    kept = (index >= first[:, np.newaxis]) & (index < n_found[:, np.newaxis])
    n_kept = np.count_nonzero(kept, axis=1)
    variances = np.where(kept, variances, 0.0)
    trace, norm = variances.sum(axis=1), np.square(variances).sum(axis=1)
    shrinkage = oas_intensity(n_rows, n_kept, trace, norm)
    shrunk = (1.0 - shrinkage)[:, np.newaxis] * variances + (shrinkage * trace / n_kept)[:, np.newaxis]
    scale = np.divide(1.0, np.sqrt(shrunk), out=np.zeros_like(shrunk), where=kept)
    used = slice(first.min(initial=n_channels), n_found.max(initial=0))
    return axes[:, used] * scale[:, used, np.newaxis], n_kept, shrinkage


def _largest(scatter):
    return float(np.diagonal(scatter, axis1=-2, axis2=-1).max())
