"""The laws that distances to a true Gaussian follow: quantiles, and the rates beyond a threshold."""

from numbers import Real

import numpy as np
from scipy import special, stats


def chi_quantile(fpr, dof):
    """Return the distance that a share `fpr` of a Gaussian lies beyond: equation (8) of the paper.

    Parameters
    ----------
    fpr : float
        In (0, 1).
    dof : int or array-like
        Degrees of freedom: the number of features behind the distance.

    Returns
    -------
    float or ndarray
        ``sqrt(chi2.ppf(1 - fpr, dof))``, a distance, unsquared.
    """
    return np.sqrt(stats.chi2.isf(fpr, dof))


def sigma_to_fpr(n):
    """Return the false-positive rate that "n sigma" stands for: the share of a normal variable beyond ±n.

    Both tails count, as in Table IV of the paper, whose targets for 1 to 5 sigma are these.

    Parameters
    ----------
    n : float
        More than 0; 38 sigma are the most that a float can tell from a rate of zero.

    Returns
    -------
    float
        ``1 - erf(n / sqrt(2))``, without cancellation.

    Raises
    ------
    ValueError
        If `n` is not a number in that range.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, Table IV.

    Examples
    --------
    >>> from skgad import sigma_to_fpr
    >>> [f"{100 * sigma_to_fpr(n):.1g} %" for n in (3, 4, 5)]
    ['0.3 %', '0.006 %', '6e-05 %']
    """
    if not isinstance(n, Real) or isinstance(n, bool) or not 0 < float(n) <= 38:
        raise ValueError(f"n must be a number of standard deviations in (0, 38]; got {n!r}.")
    return float(special.erfc(float(n) / np.sqrt(2)))


def predictive_fpr(threshold, n_samples, dof):
    """Return the share of new draws beyond `threshold` when mean and covariance were estimated from `n_samples` draws.

    On exactly Gaussian data, with the empirical covariance and ``n_samples > dof``, the squared distance of a new draw
    follows Hotelling's law, a scaled F, not the chi-square law. NaN for ``n_samples <= dof``.
    """
    n_samples, dof = np.broadcast_arrays(np.asarray(n_samples, dtype=float), np.asarray(dof, dtype=float))
    spare = np.where(n_samples > dof, n_samples - dof, np.nan)
    return stats.f.sf(np.square(threshold) * spare / (dof * (n_samples + 1)), dof, spare)


def doubt_chi_square(fpr, dof, n_samples, *, behind_npca=False, in_full=True):
    """Return why the chi-square law will not hold a false-positive rate; "" where nothing speaks against it.

    Parameters
    ----------
    fpr : float
    dof : ndarray of int of shape (n_levels,)
        Degrees of freedom of each level's distance.
    n_samples : int
        Images that the Gaussians were estimated from.
    behind_npca : bool, default=False
        Whether `NPCA` chose the directions of a level on the same images.
    in_full : bool, default=True
        Whether covariances were estimated in full, which takes many images for many features.
    """
    reason = _find_reason(fpr, dof, n_samples, behind_npca, in_full)
    return reason and f"The chi-square threshold will not hold fpr={fpr}: {reason}. FPRThresholdCV sets one that does."


def _find_reason(fpr, dof, n_samples, behind_npca, in_full):
    if len(dof) > 1:
        return f"{len(dof)} levels are summed, and a sum of quantiles is no quantile of the sum"
    if behind_npca:
        return "NPCA chose its directions on the same images"
    if not in_full:
        return ""
    expected = float(predictive_fpr(chi_quantile(fpr, dof), n_samples, dof)[0])
    if np.isnan(expected):
        return f"{n_samples} normal images do not determine a Gaussian of {dof[0]} features"
    if expected > 2 * fpr:
        return (
            f"even exactly Gaussian data would reach {expected:.2g} with {n_samples} normal images, {dof[0]} features"
        )
    return ""
