r"""Leave-one-out distances of a Gaussian's own rows, exactly as by refits, shrinkage and its target included.

With :math:`z_i` the rows about their mean along the principal axes, :math:`T = \sum_i z_i z_i^\top = \Lambda`,
:math:`N = n - 1` and :math:`\sigma = n / N`, the sample without row i has

.. math:: T' = \Lambda - \sigma z z^\top, \qquad x_i - \bar x' = \sigma z

so that trace, Frobenius norm and fourth powers of the others, hence their shrinkage :math:`\rho`, take O(n_axes) a row:

.. math:: \mathrm{tr}\, T' = \mathrm{tr}\, \Lambda - \sigma t, \quad
    \lVert T' \rVert^2 = \lVert \Lambda \rVert^2 - 2 \sigma z^\top \Lambda z + \sigma^2 t^2, \quad t = \lVert z \rVert^2

.. math:: \sum_{l \ne i} \lVert z_l + z/N \rVert^4 = \sum_l t_l^2 + 4 e^\top \Lambda e + n \lVert e \rVert^4
    + 4 e^\top \sum_l t_l z_l + 2 \lVert e \rVert^2 \mathrm{tr}\, \Lambda - \sigma^4 t^2, \quad e = z / N

In this basis the ridge is diagonal too, and each row may have its own. With :math:`\alpha = (1 - \rho) / N`,
:math:`\beta = \rho\, \mathrm{tr}\, T' / (N D)` and :math:`c = z^\top (\alpha \Lambda + \beta)^{-1} z`

.. math:: M^2 = \sigma^2 z^\top (\alpha T' + \beta)^{-1} z = \frac{\sigma^2 c}{1 - \alpha \sigma c}
"""

import numpy as np
from scipy import linalg

from ._principal import centre, principal_rows, unit_of
from ._shrinkage import ledoit_wolf_intensity, oas_intensity

_EPS = np.finfo(np.float64).eps


def leave_one_out_distances(X, kind):
    """Return the distance of each row to the Gaussian of the others, as `n_samples` refits would.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float64, of three rows at least.
    kind : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"}
        The covariance: shrunk by the intensity of the others, towards the target of the others; plain; of independent
        features, where one that is constant over the others counts in its own unit; or none.

    Returns
    -------
    ndarray of shape (n_samples,)
        Unsquared. Infinite where the covariance of the others is singular and the row leaves their span.

    Raises
    ------
    ValueError
        If there are less than three rows.
    numpy.linalg.LinAlgError
        If `kind` is "empirical" and the covariance of all rows is singular.

    Notes
    -----
    O(n D min(n, D)).
    """
    check_rows(X)
    if kind == "identity":
        rows, _ = centre(X)
        return len(X) / (len(X) - 1) * np.linalg.norm(rows, axis=1)
    if kind == "diagonal":
        return _by_features(X)
    return _by_leverages(X) if kind == "empirical" else _by_shrinkage(X, kind)


def check_rows(X):
    """Raise ValueError unless two rows are left without one of them."""
    if len(X) < 3:
        raise ValueError(f"Leave-one-out needs three rows at least, two to learn from; got {len(X)}.")


def intensity(kind, n_samples, n_features, trace, norm, quartic):
    """Return the shrinkage intensity of a kind of covariance; see `ledoit_wolf_intensity`."""
    if kind == "ledoit_wolf":
        return ledoit_wolf_intensity(n_samples, n_features, trace, norm, quartic)
    return oas_intensity(n_samples, n_features, trace, norm)


def weights(kind, n_samples, n_features, trace, norm, quartic):
    r"""Return :math:`\alpha` and :math:`\beta` of the covariance :math:`\alpha T + \beta I`, of many samples at once.

    Parameters
    ----------
    kind : str
        As in `leave_one_out_distances`. In the basis of the principal axes "diagonal" is "empirical".
    n_samples, n_features : int or ndarray of int
    trace, norm, quartic : ndarray of shape (n,)
        Of :math:`T`, the sum of products: its trace and its squared Frobenius norm; the sum of the rows' fourth powers.
    """
    if kind == "identity":
        return np.zeros_like(trace), np.ones_like(trace)
    if kind not in ("ledoit_wolf", "oas"):
        return np.full_like(trace, 1.0 / n_samples), np.zeros_like(trace)
    rho = intensity(kind, n_samples, n_features, trace / n_samples, norm / n_samples**2, quartic)
    return (1.0 - rho) / n_samples, rho * trace / (n_samples * n_features)


def _by_shrinkage(X, kind):
    """Return the distances in closed form, of a row that drowns all others by a refit."""
    sample = principal_rows(X)
    others, sigma = sample.n_samples - 1, sample.n_samples / (sample.n_samples - 1)
    squares, sizes = np.square(sample.rows), np.square(sample.rows).sum(axis=1)
    along = squares @ sample.spectrum
    sums = sizes @ sizes, sample.rows @ (sizes @ sample.rows)
    trace, norm, quartic = moments_of_the_others(sample.n_samples, sample.spectrum, sizes, along, *sums)
    alpha, beta = weights(kind, others, sample.n_features, trace, norm, quartic)
    ridged = squares / (np.outer(alpha, sample.spectrum) + beta[:, np.newaxis])
    # 1 - ασc, without the cancellation that a small ridge would bring
    rest = _rest(sample, squares) + sigma * beta * (ridged / sample.spectrum).sum(axis=1)
    with np.errstate(divide="ignore"):
        distances = sigma * np.sqrt(ridged.sum(axis=1) / rest)
    # of such rows there is one at most
    for index in np.flatnonzero(_EPS * sizes**2 > 1e-11 * quartic):
        distances[index] = _refit(np.delete(X, index, axis=0), X[index], kind)
    return distances


def moments_of_the_others(n_samples, spectrum, sizes, along, quartic, cubic):
    """Return the trace and squared norm of T' and the others' fourth powers, for each of some rows of a sample.

    Parameters
    ----------
    n_samples : int
        Of the whole sample.
    spectrum : ndarray of shape (n_axes,)
        Of the sum of its products.
    sizes, along : ndarray of shape (n_rows,)
        Of the centred rows z that are left out: the squared norm, and z^T T z.
    quartic : float
        The sum of the fourth powers of the norms of all rows.
    cubic : ndarray of shape (n_rows,)
        z times the sum of all rows, each of them times its squared norm.
    """
    others, sigma = n_samples - 1, n_samples / (n_samples - 1)
    trace = spectrum.sum() - sigma * sizes
    norm = spectrum @ spectrum - 2 * sigma * along + sigma**2 * sizes**2
    step = sizes / others**2  # ‖e‖²
    quartic = (
        quartic
        + 4 * along / others**2
        + n_samples * step**2
        + 4 * cubic / others
        + 2 * step * spectrum.sum()
        - sigma**4 * sizes**2
    )
    return trace, norm, quartic


def _rest(sample, squares):
    """Return 1 less the leverage of each row: the share of the row's own direction that the others hold."""
    others = sample.n_samples - 1
    if len(sample.spectrum) == others:
        return np.zeros(sample.n_samples)  # each row spans a direction alone
    leverage = sample.n_samples / others * (squares / sample.spectrum).sum(axis=1)
    return np.maximum(1.0 - leverage, 0.0)


def _refit(others, row, kind):
    """Return the distance of one row to the Gaussian of others."""
    sample = principal_rows(others)
    along, rest = sample.coordinates(row[np.newaxis])
    sizes = np.square(sample.rows).sum(axis=1)
    trace, norm = np.array([sample.spectrum.sum()]), np.array([sample.spectrum @ sample.spectrum])
    alpha, beta = weights(kind, len(others), sample.n_features, trace, norm, sizes @ sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = np.where(rest > 0, rest / beta, 0.0)
    return np.sqrt((along**2 / (alpha * sample.spectrum + beta)).sum() + beyond[0])


def _by_leverages(X):
    """Return the distances by the empirical covariance, which follow from how much of its direction a row spans."""
    rows, _ = centre(X)
    scale = np.sqrt(np.square(rows / unit_of(X)).sum(axis=0)) * unit_of(X)
    left, pivots = linalg.qr(rows / np.where(scale > 0, scale, 1.0), mode="economic", check_finite=False)
    pivots = np.abs(np.diagonal(pivots))
    if left.shape[1] < X.shape[1] or np.square(pivots).min() <= 10 * X.shape[1] * _EPS:
        raise np.linalg.LinAlgError("A feature is constant, or a combination of the others.")
    return np.sqrt(_from_leverages(left))


def _from_leverages(left):
    r"""Return :math:`n h / (1 - h)` with :math:`h = \sigma z^\top \Lambda^{-1} z`, from orthonormal columns."""
    n_samples = len(left)
    held = np.square(left).sum(axis=1)
    rest = 1.0 - 1.0 / n_samples - held  # (1 - h) / σ
    for index in np.flatnonzero(rest < 1e-4):  # n_features such rows at most
        beyond = -left @ left[index] - 1.0 / n_samples
        beyond[index] += 1.0
        rest[index] = beyond @ beyond  # a sum of squares keeps the digits that the difference loses
    with np.errstate(divide="ignore"):
        return n_samples * held / np.where(rest > np.square(100 * n_samples * _EPS), rest, 0.0)


def _by_features(X):
    """Return the distances by the variances alone."""
    unit, others = unit_of(X), len(X) - 1
    rows, mean = centre(X / unit)
    left = _squares_of_the_others(rows)
    constant = left <= others * np.square(others * _EPS * mean)  # the bound of `varies`
    squares = np.square(len(X) / others * rows)
    own_unit = unit**2 * squares
    return np.sqrt(np.divide(others * squares, left, out=own_unit, where=~constant).sum(axis=1))


def _squares_of_the_others(rows):
    """Return, for each number, the sum of squares of its column without it, about the mean without it."""
    others, columns = len(rows) - 1, np.arange(rows.shape[1])
    squares = np.square(rows)
    left = squares.sum(axis=0) - len(rows) / others * squares
    widest = squares.argmax(axis=0)  # the only one that may drown the others: its column is summed anew
    about = rows + rows[widest, columns] / others
    about[widest, columns] = 0.0
    left[widest, columns] = np.square(about).sum(axis=0)
    return left
