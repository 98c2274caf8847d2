"""Which directions of a spectrum are kept: NPCA's rule (section IV-A of the paper)."""

import numpy as np


def kept_components(variances, n_components, shape, *, rule="complement", noise=0.0, of="a place"):
    """Return which components of a spectrum NPCA keeps, or of each spectrum of a stack.

    Parameters
    ----------
    variances : ndarray of shape (..., n_components_in_all)
        In decreasing order along the last axis, the first of them more than zero.
    n_components : float in (0, 1] or int >= 1
        The share of the variance that the kept components explain at most, or their number.
    shape : tuple of int
        Number of rows and of features: as many directions there are at most, and so many roundings stand in each.
    rule : {"complement", "published"}
        "complement" keeps what ``PCA(n_components=1 - n_components)`` drops, of the directions that have variance
        beyond rounding. "published" keeps two components more, and those without variance too.
    noise : float
        A variance that its sums once had, so that their rounding is a share of it.
    of : str
        Whose spectrum it is, for the error.

    Returns
    -------
    first, end : int or ndarray of shape (...)
        The components ``first, ..., end - 1`` are kept: at least one.

    Raises
    ------
    ValueError
        If fewer components have variance than were asked for.
    """
    end = np.minimum(_count_varying(variances, shape, noise, rule), min(shape))
    if not isinstance(n_components, (float, np.floating)):
        if np.any(end < n_components):
            raise ValueError(
                f"n_components={n_components}, but {of} has only {np.min(end)} components with variance; "
                "lower it, or give a share of the variance as a float."
            )
        return end - n_components, end
    if n_components == 1.0:
        return np.zeros_like(end), end
    there = np.arange(variances.shape[-1]) < end[..., np.newaxis]
    crossing = find_crossing(np.where(there, variances, 0.0), n_components)
    if rule == "published":
        return np.maximum(crossing - 1, 0), end
    return np.minimum(crossing + 1, end - 1), end


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


def _count_varying(variances, shape, noise, rule):
    """Return the number of components with variance beyond rounding; of all of them for the rule "published"."""
    if rule == "published":
        return np.full(variances.shape[:-1], variances.shape[-1])
    tolerance = max(shape) * np.finfo(np.float64).eps * np.maximum(variances[..., :1], noise)
    return np.asarray(np.count_nonzero(variances > tolerance, axis=-1))
