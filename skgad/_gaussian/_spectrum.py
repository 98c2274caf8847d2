"""Which directions of a spectrum are kept: NPCA's rule (section IV-A of the paper)."""

import numpy as np


def find_crossing(variances, share):
    """Return the index of the first component at which all but a `share` of the variance is exceeded.

    `variances` are in decreasing order along the last axis.
    """
    ratios = np.cumsum(variances / variances.sum(axis=-1, keepdims=True), axis=-1)
    return np.count_nonzero(ratios <= 1.0 - share, axis=-1)


def check_n_components(n_components):
    """Raise ValueError unless this is a share of the variance or a number of components."""
    integer = isinstance(n_components, (int, np.integer)) and not isinstance(n_components, bool)
    share = isinstance(n_components, (float, np.floating))
    if not ((integer and n_components >= 1) or (share and 0.0 < n_components <= 1.0)):
        raise ValueError(
            "n_components must be a float in (0, 1], a share of the variance, or an int >= 1, a number of components; "
            f"got {n_components!r}."
        )
