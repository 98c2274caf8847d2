"""Shrinkage intensities from what they depend on, of one sample or of many at once (equations of the two papers below).

Ledoit and Wolf (2004) and Chen, Wiesel, Eldar and Hero (2010) shrink a covariance towards a multiple of the identity.
"""

import numpy as np


def ledoit_wolf_intensity(n_samples, n_features, trace, norm, quartic):
    """Return the shrinkage intensity of Ledoit and Wolf (2004) from what it depends on; of many samples at once.

    Parameters
    ----------
    n_samples, n_features : int or ndarray of int
    trace, norm : float or ndarray
        Of the empirical covariance, with 1/n: its trace, and its squared Frobenius norm.
    quartic : float or ndarray
        Sum of the fourth powers of the norms of the centred rows.
    """
    excess = quartic / n_samples - norm
    noise = excess / (n_samples * n_features)
    signal = norm / n_features - (trace / n_features) ** 2
    # less is rounding: two rows, or rows of two mirrored values, show no noise; and one variance is its own target
    shows = (excess > 1e-12 * norm) & np.not_equal(n_features, 1)
    noise = np.maximum(np.minimum(noise, signal), 0.0)
    return np.divide(noise, signal, out=np.zeros_like(noise), where=shows & (noise > 0.0))


def oas_intensity(n_samples, n_features, trace, norm):
    """Return the intensity of the oracle approximating shrinkage from the same; of many samples at once."""
    mean_square, squared_mean = norm / n_features**2, (trace / n_features) ** 2
    divisor = (n_samples + 1) * (mean_square - squared_mean / n_features)
    intensity = np.divide(mean_square + squared_mean, divisor, out=np.ones_like(divisor), where=divisor > 0)
    # one variance is its own target
    return np.where(np.equal(n_features, 1), 0.0, np.minimum(intensity, 1.0))
