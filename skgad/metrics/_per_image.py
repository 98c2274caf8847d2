"""AUPIMO: how much of each image's anomaly is found where hardly any normal pixel is, image by image.

Bertoldo, Ameln, Vaidya and Akçay, "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
Tolerance", BMVC 2024. The false-positive rate is that of the normal images alone; the curve is integrated over its
logarithm, between two very low rates.
"""

import numpy as np
from sklearn.utils import Bunch

from ._regions import read_pixels
from ._tally import MAX_CELLS, PixelTally

_MOST_KEPT = 2**16  # values of an image's anomalous pixels; of more, as many quantiles


def aupimo_scores(masks, maps, *, y=None, fpr_bounds=(1e-5, 1e-4)):
    """Return the area under the per-image overlap curve at very low false-positive rates, for each anomalous image.

    Parameters
    ----------
    masks, maps, y : as of `pixel_scores`
    fpr_bounds : (float, float), default=(1e-5, 1e-4)
        The false-positive rates between which the curve is integrated: 1e-5 is one pixel in 100,000.

    Returns
    -------
    Bunch
        - ``scores`` : ndarray of shape (n_images,), for each anomalous image the mean share of its anomalous pixels
          that is found, over the logarithm of the rate; NaN for normal images;
        - ``mean`` : float, over the anomalous images;
        - ``n_normal_images``, ``n_anomalous_images`` : int.

    Raises
    ------
    ValueError
        As `pixel_scores` does; if there is no normal, or no anomalous image, or too few normal pixels to tell the lower
        rate; or if the bounds are out of order.
    TypeError
        As `pixel_scores` does.

    See Also
    --------
    pixel_scores : Figures over the pixels of all images.

    Notes
    -----
    The rate is the mean over the normal images of the share of each that is called anomalous. Between the points that
    pixels make, the curve is a straight line over the logarithm of the rate, as the authors have it.

    Memory grows by at most 512 KiB with each anomalous image: of those with more than 65,536 anomalous pixels as many
    quantiles are kept, and shares are off by 1/65,536 at most. Normal pixels are counted by value, as in
    `pixel_scores`.

    References
    ----------
    Bertoldo, Ameln, Vaidya and Akçay, "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
    Tolerance", BMVC 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import aupimo_scores
    >>> normal = np.linspace(0, 1, 10_000).reshape(100, 100)
    >>> mask = np.zeros((100, 100), dtype=bool)
    >>> mask[:10, :10] = True
    >>> found = aupimo_scores([None, mask], [normal, np.where(mask, 2.0, 0.5)], fpr_bounds=(1e-3, 1e-2))
    >>> found.scores
    array([nan,  1.])
    """
    low, high = _check_bounds(fpr_bounds)
    tally, kept, n_normal, n_pixels = PixelTally(MAX_CELLS), [], 0, 0
    for normal, anomalous, _ in read_pixels(masks, maps, y):
        if len(anomalous):
            kept.append(_keep(anomalous))
        else:
            kept.append(None)
            n_normal, n_pixels = n_normal + 1, max(n_pixels, len(normal))
            tally.add(normal[:0], normal, np.full(len(normal), 1 / len(normal)))
    n_anomalous = len(kept) - n_normal
    if not n_normal or not n_anomalous:
        kind = "anomalous" if n_anomalous else "normal"
        raise ValueError(
            f"All {len(kept)} images are {kind}; AUPIMO needs normal images for the rate, and anomalous ones."
        )
    if low * n_pixels * n_normal < 1:
        raise ValueError(
            f"The {n_normal} normal images have too few pixels, {n_pixels} each at most, to tell a rate of {low:g}: "
            f"one of all is {1 / (n_pixels * n_normal):.2g}. Raise fpr_bounds, or give more normal images."
        )
    ranking = tally.rank()
    scores = np.array([np.nan if values is None else _integrate(values, ranking, low, high) for values in kept])
    return Bunch(
        scores=scores, mean=float(np.nanmean(scores)), n_normal_images=n_normal, n_anomalous_images=n_anomalous
    )


def _keep(values):
    """Return values in rising order, or as many of their quantiles."""
    values = np.sort(values)
    if len(values) <= _MOST_KEPT:
        return values
    return values[np.linspace(0, len(values) - 1, _MOST_KEPT).round().astype(int)]


def _integrate(values, ranking, low, high):
    """Return the mean share of rising values at or above the threshold, over the logarithm of its rate."""
    rate = ranking.overlap
    first, last = np.searchsorted(rate, low, side="right") - 1, np.searchsorted(rate, high, side="left")
    part = slice(max(first, 1), last + 1)  # rate 0 has no logarithm: below the first pixel, its share holds
    share = 1 - np.searchsorted(values, ranking.thresholds[part], side="left") / len(values)
    log_rate = np.log(rate[part])
    at = np.unique(
        np.concatenate([[np.log(low), np.log(high)], log_rate[(log_rate > np.log(low)) & (log_rate < np.log(high))]])
    )
    return float(np.trapezoid(np.interp(at, log_rate, share), at) / (np.log(high) - np.log(low)))


def _check_bounds(bounds):
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0 < low < high <= 1:
        raise ValueError(f"fpr_bounds must be two rates with 0 < low < high <= 1; got {bounds!r}.")
    return low, high
