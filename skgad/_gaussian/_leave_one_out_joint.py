r"""Leave-one-out distances of a Gaussian over blocks of unit variance, as by refits, the scales included.

Without row i each block has another scale, so that the ridge is a multiple of the identity in no basis that serves all
rows. With y the centred rows in units of all rows' scales, :math:`N = n - 1`, :math:`\sigma = n / N` and
:math:`\omega_{ib}` the variance of block b without row i,

.. math:: M_i^2 = \frac{\sigma^2 c}{1 - \alpha \sigma c}, \qquad
    c = y_i^\top (\alpha T + \beta \Omega_i)^{-1} y_i, \quad T = \sum_l y_l y_l^\top, \quad
    \Omega_i = \oplus_b \omega_{ib} I

where :math:`\alpha = (1 - \rho) / N` and :math:`\beta = \rho B / D`, with the intensity of the others: their squared
Frobenius norm and fourth powers are those of ``_leave_one_out``, for each pair of blocks. As :math:`\omega` is near 1
for all rows but those that hold most of a block, conjugate gradients from the fit on all rows take a few products, for
all rows at once. Up to as many rows as features they are taken among the rows: with the Gram matrix :math:`G_b` of each
block,

.. math:: x_i = \Bigl(I + \tfrac{\alpha}{\beta} \sum_b \tfrac{1}{\omega_{ib}} G_b\Bigr)^{-1} (e_i - \tfrac1n 1), \qquad
    c = \tfrac{1}{\beta} \sum_b \tfrac{1}{\omega_{ib}} (G_b x_i)_i, \quad 1 - \alpha \sigma c = \sigma x_{ii}
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import linalg

from ._blocks import block_squares, block_starts
from ._conjugate_gradients import solve
from ._estimate import estimate
from ._leave_one_out import check_rows, intensity, leave_one_out_distances
from ._moments import moments
from ._principal import centre, unit_of

_EPS = np.finfo(np.float64).eps


def joint_leave_one_out_distances(X, sizes, kind):
    """Return the distance of each row to the Gaussian of the others, as `n_samples` refits would.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float64, of three rows at least.
    sizes : tuple of int
        Of the blocks, adjacent features, each of which varies.
    kind : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"}

    Returns
    -------
    ndarray of shape (n_samples,)
        Unsquared. Infinite where the others do not vary in a block, or their covariance is singular.

    Raises
    ------
    ValueError
        If there are less than three rows.
    numpy.linalg.LinAlgError
        If `kind` is "empirical" and the covariance of all rows is singular.

    Notes
    -----
    About six steps of conjugate gradients, each O(n³ B) for B blocks, with O(n² B) memory, or, for more rows than
    features, O(n D²).
    """
    check_rows(X)
    if kind in ("empirical", "diagonal") or len(sizes) < 2:  # which do not depend on the scales
        return leave_one_out_distances(X, kind)
    rows, _ = centre(X / unit_of(X))
    totals = np.add.reduceat(np.square(rows).mean(axis=0), block_starts(sizes))
    rows /= np.repeat(np.sqrt(totals), sizes)
    squares = block_squares(rows, sizes)
    left, constant = variances_of_the_others(len(rows), squares)
    if kind == "identity":
        distances = len(rows) / (len(rows) - 1) * np.sqrt((squares / left).sum(axis=1))
    else:
        distances = _by_shrinkage(X, rows, sizes, kind, squares, left)
    distances[constant] = np.inf
    return distances


def variances_of_the_others(n_samples, squares):
    """Return the variance of each block without each of some rows, and whether they vary in none but that row.

    Parameters
    ----------
    n_samples : int
        Of a sample whose blocks have unit variance.
    squares : ndarray of shape (n_rows, n_blocks)
        The squared norm of each block of the centred rows that are left out.

    Returns
    -------
    left : ndarray of shape (n_rows, n_blocks)
        1 where there is no other variance.
    constant : ndarray of bool of shape (n_rows,)
    """
    left = (n_samples - n_samples / (n_samples - 1) * squares) / (n_samples - 1)  # ω
    constant = (left <= n_samples**2 * _EPS).any(axis=1)
    left[constant] = 1.0
    return left, constant


class BlockSums:
    """Sums over all rows of a sample, each block brought to unit variance, that rows are left out of.

    Parameters
    ----------
    n_samples : int
    sizes : tuple of int
        Of the blocks.
    products : ndarray of shape (n_features, n_features), or (n_blocks, n_samples, n_samples)
        The sum of the products of features; or the Gram matrix of each block, where there are few rows.
    cubic : ndarray of shape (n_blocks, n_features)
        As of `Moments`.
    quartic : ndarray of shape (n_blocks, n_blocks)
    """

    def __init__(self, n_samples, sizes, products, cubic, quartic):
        self.n_samples, self.sizes = n_samples, sizes
        self.products, self.cubic, self.quartic = products, cubic, quartic

    @property
    def n_features(self):
        return self.cubic.shape[1]

    @cached_property
    def norms(self):
        """The squared norm of the product of each pair of blocks, (n_blocks, n_blocks)."""
        if self.products.ndim == 3:
            return np.einsum("bij,cij->bc", self.products, self.products, optimize=True)
        starts = block_starts(self.sizes)
        return np.add.reduceat(np.add.reduceat(self.products**2, starts, axis=0), starts, axis=1)

    @cached_property
    def spectrum(self):
        """Eigenvalues, ascending, and axes, one a column, of the sum of the products."""
        values, axes = linalg.eigh(self.products, driver="evd", check_finite=False)
        return np.maximum(values, 0.0), axes

    def along(self, rows):
        """Return y_b' T_bc y_c of each row y and pair of blocks b, c, (n_rows, n_blocks, n_blocks).

        Where there are few rows they are all, in their order.
        """
        if self.products.ndim == 3:
            by_row = self.products.transpose(1, 0, 2)
            return by_row @ by_row.transpose(0, 2, 1)
        starts = block_starts(self.sizes)
        pairs = zip(starts, self.sizes, strict=True)
        turned = [rows[:, at : at + size] @ self.products[at : at + size] for at, size in pairs]
        return np.stack([np.add.reduceat(one * rows, starts, axis=1) for one in turned], axis=1)


class _Ridges(NamedTuple):
    r"""The covariances of the others, :math:`\alpha T' + \beta \Omega`, for each row that is left out."""

    alpha: np.ndarray  # (n_samples,)
    beta: np.ndarray  # (n_samples,)
    left: np.ndarray  # ω, (n_samples, n_blocks)


def _by_shrinkage(X, rows, sizes, kind, squares, left):
    """Return the distances in closed form, of a row that leaves the others no digits by a refit."""
    wide = len(rows) <= rows.shape[1]
    products = _grams(rows, sizes) if wide else rows.T @ rows
    sums = BlockSums(len(rows), sizes, products, squares.T @ rows, squares.T @ squares)
    ridges, drowning = ridges_of_the_others(sums, rows, squares, left, kind)
    if wide:
        squared, solved = _among_rows(sums, ridges)
    else:
        squared, solved = among_features(sums, rows, ridges)
    distances = np.sqrt(squared)
    for index in np.flatnonzero(drowning | ~solved):
        distances[index] = _refit(np.delete(X, index, axis=0), X[index], sizes, kind)
    return distances


def ridges_of_the_others(sums, rows, squares, left, kind):
    """Return the covariances of the others, for each of some rows, and whether these leave them no digits."""
    norm, quartic = _moments_of_the_others(sums, rows, squares, left)
    n_others, n_blocks, n_features = sums.n_samples - 1, len(sums.sizes), sums.n_features
    trace = np.full(len(rows), float(n_blocks))
    rho = intensity(kind, n_others, n_features, trace, norm, quartic)
    drowning = _EPS * (squares / left).sum(axis=1) ** 2 > 1e-11 * quartic
    return _Ridges((1 - rho) / n_others, rho * n_blocks / n_features, left), drowning


def _grams(rows, sizes):
    """Return the Gram matrix of each block, (n_blocks, n_samples, n_samples)."""
    return np.stack([block @ block.T for block in np.split(rows, block_starts(sizes)[1:], axis=1)])


def _moments_of_the_others(sums, rows, squares, left):
    """Return the squared norm of the others' covariance, and their fourth powers, (n_rows,) each."""
    n_samples, others, starts = sums.n_samples, sums.n_samples - 1, block_starts(sums.sizes)
    sigma, step = n_samples / others, squares / others**2  # step: ‖e_b‖², e = y / N
    along = sums.along(rows)
    cubic = np.stack([np.add.reduceat(one * rows, starts, axis=1) for one in sums.cubic], axis=1) / others
    pairs = squares[:, :, np.newaxis] * squares[:, np.newaxis, :]
    steps = n_samples * (step[:, :, np.newaxis] + step[:, np.newaxis, :])
    quartic = sums.quartic + 2 * (cubic + cubic.transpose(0, 2, 1)) + steps + 4 * along / others**2
    quartic += (n_samples / others**4 - sigma**4) * pairs
    norm = (sums.norms - 2 * sigma * along + sigma**2 * pairs) / others**2
    weights = 1 / (left[:, :, np.newaxis] * left[:, np.newaxis, :])
    return (weights * norm).sum(axis=(1, 2)), (weights * quartic).sum(axis=(1, 2))


def _among_rows(sums, ridges):
    """Return the squared distances, and which of them were found, by solving among the rows."""
    n_samples, grams = sums.n_samples, sums.products
    spectrum, axes = linalg.eigh(grams.sum(axis=0), driver="evd", check_finite=False)
    shrunk = ridges.beta > 0
    beta = np.where(shrunk, ridges.beta, 1.0)
    weights, ratio = 1 / ridges.left, ridges.alpha / beta

    def apply(x, which):
        result = x.copy()
        for gram, weight in zip(grams, weights[which].T, strict=True):
            result += (x * (weight * ratio[which])[:, np.newaxis]) @ gram
        return result

    def precondition(x, which):
        return (x @ axes / (1 + np.outer(ratio[which], np.maximum(spectrum, 0.0)))) @ axes.T

    x, solved = solve(apply, precondition, np.eye(n_samples) - 1 / n_samples)
    own = np.einsum("bij,ij->ib", grams, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = n_samples / (n_samples - 1) * (weights * own).sum(axis=1) / beta / np.diagonal(x)
    return np.where(shrunk, squared, np.inf), solved & ~(np.diagonal(x) < 1e-9)


def among_features(sums, rows, ridges):
    """Return the same, of some rows, by solving among the features."""
    spectrum, axes = sums.spectrum
    ridge = np.repeat(ridges.beta[:, np.newaxis] * ridges.left, sums.sizes, axis=1)
    diagonal = np.outer(ridges.alpha, spectrum) + ridges.beta[:, np.newaxis]
    smallest = diagonal.min(axis=1)

    def apply(x, which):
        return ridges.alpha[which, np.newaxis] * (x @ sums.products) + ridge[which] * x

    def precondition(x, which):
        return (x @ axes / np.maximum(diagonal[which], np.finfo(np.float64).tiny)) @ axes.T

    x, solved = solve(apply, precondition, rows)
    c = np.einsum("ij,ij->i", x, rows)
    sigma = sums.n_samples / (sums.n_samples - 1)
    rest = 1 - ridges.alpha * sigma * c
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = sigma**2 * c / rest
    return squared, solved & (rest > 1e-6) & (smallest > 1e-12 * diagonal.max(axis=1))


def _refit(others, row, sizes, kind):
    """Return the distance of one row to the Gaussian of others."""
    try:
        return estimate(moments(others, sizes=sizes), kind).distances(row[np.newaxis])[0]
    except np.linalg.LinAlgError:
        return np.inf
