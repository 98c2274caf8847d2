"""Gaussians at many places at once: shrunk, whitened and measured from `PlaceSums`. NumPy only.

Where a place's own rows tell no scale, it takes the covariance that all places share.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ._places import (
    BLOCK,
    central_quartic,
    place_covariances,
    place_variances,
    pooled_covariance,
    split_places,
)
from ._shrinkage import ledoit_wolf_intensity, oas_intensity
from ._spectrum import find_crossing

_ROUNDING = 1e-12  # of the largest sums: what may be left of a variance that is none
_STILL = 1e-4  # of the mean variance: a place that varies by a hundredth of what others do tells no scale
_FLOAT32_ERROR = 1e-4  # by as much may float32 move a distance, as a share of its usual size


class Whitening(NamedTuple):
    """What a stack of covariances is whitened by.

    Attributes
    ----------
    whitener : ndarray of shape (n, n_most, n_channels)
        W with WᵀW the inverse of the covariance, or of its part along the kept directions; rows of 0 fill up.
    n_kept : ndarray of int of shape (n,)
        Directions that are kept: degrees of freedom.
    shrinkage : ndarray of shape (n,)
    """

    whitener: np.ndarray
    n_kept: np.ndarray
    shrinkage: np.ndarray


class PlaceGaussians:
    """The Gaussian of each place, ready to measure distances.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the map.
    mean : ndarray of shape (n_places, n_channels)
    deviation : ndarray of shape (n_channels,)
        Standard deviation of each channel, over all places.
    whitening : Whitening
        Of each place, or the one of all.
    """

    def __init__(self, shape, mean, deviation, whitening):
        self.shape = shape
        self.n_kept = whitening.n_kept
        self.shrinkage = whitening.shrinkage
        # What rounding to float32 does to W (x - mean) is at most about eps |W| (|mean| + |x - mean|).
        largest = np.nanmax(np.abs(mean), axis=0) + 3 * deviation
        error = np.linalg.norm(np.abs(whitening.whitener) @ largest, axis=-1) / np.sqrt(self.n_kept)
        dtype = np.float32 if np.finfo(np.float32).eps * error.max() < _FLOAT32_ERROR else np.float64
        self._mean, self._whitener = mean.astype(dtype), whitening.whitener.astype(dtype)

    @property
    def mean(self):
        """The mean at each place, (n_places, n_channels)."""
        return self._mean

    @property
    def whitener(self):
        """What each place, or all of them, is whitened by, (n_places or 1, n_most, n_channels)."""
        return self._whitener

    def distances(self, maps):
        """Return the Mahalanobis distance at each location: (n, height, width), float32.

        NaN where the map is, and at a place that no image has shown.
        """
        result = np.empty((len(maps), self.shape[0] * self.shape[1]), np.float32)
        if len(self._whitener) > 1:
            for places, rows in split_places(maps, self._mean):
                centred = (rows - self._mean[places]).transpose(1, 0, 2)
                result[:, places] = _norms(centred @ self._whitener[places].transpose(0, 2, 1)).T
        else:
            for image, level in zip(result, maps, strict=True):
                image[:] = _norms((level.reshape(-1, level.shape[-1]) - self._mean) @ self._whitener[0].T)
        return result.reshape(maps.shape[:3])


def estimate_places(sums, n_components=None):
    """Return the Gaussians of these sums, shrunk by Ledoit and Wolf's rule.

    Parameters
    ----------
    sums : PlaceSums
    n_components : float, int or None
        As in `NPCA`: the directions of least variance to keep, at each place; None for all. What is kept is shrunk by
        the oracle approximating rule, which needs no fourth moments: they are those of all channels.

    Returns
    -------
    PlaceGaussians

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance that all places share is singular.
    ValueError
        If there are fewer components than asked for, or some map held NaN or infinity.
    """
    if not np.isfinite(sums.quartic).all():
        raise ValueError("maps of normal images hold NaN or infinity")
    whitening = _whiten_pooled(sums, n_components)
    if sums.is_local:
        whitening = _whiten_places(sums, n_components, shared=whitening)
    np.divide(whitening.whitener, sums.unit, out=whitening.whitener)  # a "local" one fills the memory: no copy
    return PlaceGaussians(sums.shape, sums.mean, sums.deviation, whitening)


def factor_places(sums):
    """Return what a triangular solve measures distances by: of each place the mean, and the factor of the covariance.

    Parameters
    ----------
    sums : PlaceSums

    Returns
    -------
    mean : ndarray of shape (n_places, n_channels)
        In the maps' own unit.
    factor : ndarray of shape (1 or n_places, n_channels, n_channels)
        Lower triangular, L L^T being the covariance that `estimate_places` measures by: of all places, or of each.

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError
        As `estimate_places`.
    """
    due = sums.n_images * (sums.shape[0] * sums.shape[1] // len(sums.pivot))
    if not np.isfinite(sums.quartic).all() or (sums.n_rows != due).any():
        raise ValueError("maps of normal images hold NaN or infinity")
    found, _, tells = _factor_all(*_describe_all(sums))
    _refuse_still(tells)
    if not sums.is_local:
        return sums.mean, sums.unit * found
    factor = np.repeat(found, len(sums.pivot), axis=0)
    for places, described in _describe_places(sums):
        own, _, tells = _factor_all(*described)
        factor[places[tells]] = own
    return sums.mean, sums.unit * factor


def _norms(whitened):
    return np.sqrt(np.einsum("...k,...k->...", whitened, whitened))


def _describe_all(sums) -> tuple[np.ndarray, int, np.ndarray, float]:
    """Return what is estimated from, of the covariance that all places share: see `_whiten`."""
    n_places = len(sums.pivot)
    covariance = pooled_covariance(sums)
    quartic = central_quartic(sums, covariance).sum()
    n_rows = sums.n_rows.sum()
    noise = sums.largest / n_rows * (n_places if sums.is_local else 1)
    return covariance[np.newaxis], n_rows, quartic[np.newaxis], noise


def _describe_places(sums) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, int, np.ndarray, float]]]:
    """Yield places that vary enough to tell a scale of their own, some at a time, and the same of their covariances."""
    variances = place_variances(sums)
    varied = np.flatnonzero((sums.n_rows > 1) & (variances >= _STILL * np.average(variances, weights=sums.n_rows)))
    block = max(1, BLOCK // sums.pivot.shape[1] ** 2)
    for start in range(0, len(varied), block):
        places = varied[start : start + block]
        covariance = place_covariances(sums, places)
        quartic = central_quartic(sums, covariance, places)
        n_rows = sums.n_rows[places]
        yield places, (covariance, n_rows, quartic, sums.largest / n_rows)


def _refuse_still(tells):
    if not tells[0]:
        raise np.linalg.LinAlgError("There is no variance, or no noise to shrink by.")


def _whiten_pooled(sums, n_components):
    """Return what the covariance that all places share is whitened by."""
    found, tells = _whiten(*_describe_all(sums), n_components)
    _refuse_still(tells)
    return found


def _whiten_places(sums, n_components, shared):
    """Return what each place's own covariance is whitened by; where that tells too little, what is `shared`."""
    parts = []
    for places, described in _describe_places(sums):
        own, tells = _whiten(*described, n_components)
        parts.append((places[tells], own))
    return _put_together(shared, parts, len(sums.pivot))


def _put_together(shared, parts, n_places):
    """Return the whitening of all places: their own where there is one, else the shared one."""
    n_most = max(one.whitener.shape[1] for one in [shared, *(own for _, own in parts)])
    whole = Whitening(*(np.repeat(one, n_places, axis=0) for one in _fill_up(shared, n_most)))
    for places, own in parts:
        for values, own_values in zip(whole, _fill_up(own, n_most), strict=True):
            values[places] = own_values
    return whole


def _fill_up(whitening, n_most):
    n_more = n_most - whitening.whitener.shape[1]
    return whitening._replace(whitener=np.pad(whitening.whitener, ((0, 0), (0, n_more), (0, 0))))


def _whiten(covariance, n_rows, quartic, noise, n_components):
    """Return what those of a stack of covariances that tell enough are whitened by, and which they are.

    Parameters
    ----------
    covariance : ndarray of shape (n, n_channels, n_channels)
    n_rows : int or ndarray of shape (n,)
        Behind each of them.
    quartic : ndarray of shape (n,)
        Sum of the fourth powers of the norms of the centred rows.
    noise : float or ndarray of shape (n,)
        The variance whose rounding may be left in them.
    n_components : float, int or None

    Returns
    -------
    whitening : Whitening
        Of those that tell.
    tells : ndarray of bool of shape (n,)
        Whether it is regular.
    """
    if n_components is None:
        return _whiten_all(covariance, n_rows, quartic, noise)
    n_rows, noise = (np.broadcast_to(value, len(covariance)) for value in (n_rows, noise))
    tells = np.diagonal(covariance, axis1=1, axis2=2).max(axis=1) > _ROUNDING * noise
    return _whiten_least(covariance[tells], n_rows[tells], n_components, noise[tells]), tells


def _whiten_all(covariance, n_rows, quartic, noise):
    """Return the same along all directions, shrunk by Ledoit and Wolf's intensity."""
    factor, shrinkage, tells = _factor_all(covariance, n_rows, quartic, noise)
    # the triangular factor, not the covariance, is inverted: to apply it to maps is one product for all places
    return Whitening(np.linalg.inv(factor), np.full(len(factor), covariance.shape[-1]), shrinkage), tells


def _factor_all(covariance, n_rows, quartic, noise):
    """Return the triangular factors of those that tell, shrunk; their intensities; and which of all they are."""
    diagonal = np.arange(covariance.shape[-1])
    trace = np.trace(covariance, axis1=1, axis2=2)
    norm = np.einsum("ijk,ijk->i", covariance, covariance)
    shrinkage = ledoit_wolf_intensity(n_rows, len(diagonal), trace, norm, quartic)
    floor = shrinkage * trace / len(diagonal)
    tells = floor > _ROUNDING * noise
    if not tells.all():  # no noise to shrink by, as rows of two values show none: regular only if it is as it is
        spectra = np.linalg.eigvalsh(covariance[~tells])
        tells[~tells] = spectra[:, 0] > 10 * len(diagonal) * np.finfo(np.float64).eps * spectra[:, -1]
    shrunk = covariance[tells] * (1.0 - shrinkage[tells])[:, np.newaxis, np.newaxis]
    shrunk[:, diagonal, diagonal] += floor[tells, np.newaxis]
    return np.linalg.cholesky(shrunk), shrinkage[tells], tells


def _whiten_least(covariance, n_rows, n_components, noise):
    """Return the same along the directions of least variance: one may keep more than another, and rows of 0 fill up."""
    n_channels = covariance.shape[-1]
    index = np.arange(n_channels)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(variances[:, ::-1], 0.0), axes.transpose(0, 2, 1)[:, ::-1]
    # rounding, not directions: of the decomposition, and of sums that were larger once
    largest = np.maximum(variances[:, 0], noise)
    tolerance = (np.maximum(n_rows, n_channels) * np.finfo(np.float64).eps * largest)[:, np.newaxis]
    n_found = np.count_nonzero(variances > tolerance, axis=1)
    first = _first_kept(np.where(index < n_found[:, np.newaxis], variances, 0.0), n_found, n_components)
    kept = (index >= first[:, np.newaxis]) & (index < n_found[:, np.newaxis])
    n_kept = np.count_nonzero(kept, axis=1)
    shrunk, shrinkage = _shrink_spectra(np.where(kept, variances, 0.0), n_rows, n_kept)
    scale = np.divide(1.0, np.sqrt(shrunk), out=np.zeros_like(shrunk), where=kept)
    used = slice(first.min(initial=n_channels), n_found.max(initial=0))
    return Whitening(axes[:, used] * scale[:, used, np.newaxis], n_kept, shrinkage)


def _first_kept(variances, n_found, n_components):
    """Return the index of the first direction that NPCA keeps, in spectra (n, n_channels) in decreasing order."""
    if not isinstance(n_components, (float, np.floating)):
        if (n_found < n_components).any():
            raise ValueError(f"n_components={n_components}, but there are places with only {n_found.min()} components")
        return n_found - n_components
    if n_components == 1:
        return np.zeros_like(n_found)
    return np.minimum(find_crossing(variances, n_components) + 1, n_found - 1)


def _shrink_spectra(variances, n_rows, n_kept):
    """Return spectra (n, n_channels), 0 where not kept, shrunk by the oracle approximating intensity, and that."""
    trace, norm = variances.sum(axis=1), np.square(variances).sum(axis=1)
    shrinkage = oas_intensity(n_rows, n_kept, trace, norm)
    return (1.0 - shrinkage)[:, np.newaxis] * variances + (shrinkage * trace / n_kept)[:, np.newaxis], shrinkage
