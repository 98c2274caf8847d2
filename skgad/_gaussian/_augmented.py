r"""Left-out distances of n rows and of a new one, all of them by the Gaussian of the n + 1 together.

What full conformal prediction asks for: a function of n + 1 rows that treats them alike. With :math:`m = n + 1`,
:math:`s = n / m`, the n rows :math:`y_i` about their mean along their principal axes, :math:`T = \Lambda`, and the new
row at z,

.. math:: u_i = y_i - z / m, \quad u_x = s z, \quad T_+ = \Lambda + s z z^\top

so that trace, norm and fourth powers of the n + 1, hence their shrinkage, take O(n) a new row. With
:math:`\alpha = (1 - \rho_+) / m`, :math:`\beta = \rho_+ \operatorname{tr} T_+ / (m D)`,
:math:`c = z^\top (\alpha \Lambda + \beta)^{-1} z` and :math:`\varphi = \alpha s / (1 + \alpha s c)`

.. math:: q_i = y_i^\top G y_i - \tfrac{2}{m} b_i + \tfrac{c}{m^2} - \varphi (b_i - c/m)^2, \quad
    b_i = y_i^\top G z, \quad G = (\alpha \Lambda + \beta)^{-1}

are the squared distances within the n + 1, and, with the shrinkage held,

.. math:: a_i^2 = \frac{q_i}{1 - \alpha \tfrac{m}{n} q_i}, \qquad a_x^2 = s^2 c

those of each row left out of the n + 1. A row that leaves the span of the n by r adds r² to ‖z‖², and r²/β to c.
"""

import numpy as np
from scipy import linalg

from ._blocks import block_squares, block_starts
from ._leave_one_out import weights
from ._principal import centre, principal_rows, unit_of

KINDS = ("ledoit_wolf", "oas", "empirical", "identity")
_BLOCK = 64  # new rows at a time
_BATCH = 8  # of them, where each has a matrix of its own


def left_out_together(X, kind, sizes=()):
    """Return what measures new rows and these, each left out of all of them together.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float64.
    kind : {"ledoit_wolf", "oas", "empirical", "identity"}
        How the covariance of the n + 1 rows is estimated.
    sizes : tuple of int, default=()
        Of blocks of adjacent features that are brought to one scale, that of the n + 1 rows; none for one block.

    Returns
    -------
    object
        Its ``distances(new)`` returns those of the rows of `X`, (n_new, n_samples), and of the new ones, (n_new,).

    Raises
    ------
    ValueError
        If the kind is another, or there are fewer than two rows, or, for "empirical", no more than features.
    """
    if kind not in KINDS:
        raise ValueError(f"covariance must be one of {', '.join(map(repr, KINDS))} here; got {kind!r}.")
    if len(X) < 2 or (kind == "empirical" and len(X) <= X.shape[1]):
        raise ValueError(f"{len(X)} rows of {X.shape[1]} features are too few for covariance={kind!r}.")
    if len(sizes) < 2 or kind == "empirical":  # which does not depend on scales
        return _OneScale(X, kind)
    return _Blocks(X, kind, sizes)


class _OneScale:
    """All features on one scale: the ridge is a multiple of the identity, and the formulas are those above."""

    def __init__(self, X, kind):
        sample = principal_rows(X)
        squares = np.square(sample.rows)
        sizes = squares.sum(axis=1)
        self._kind, self._sample, self._squares = kind, sample, squares
        self._cubic, self._quartic = sizes @ sample.rows, sizes @ sizes

    def distances(self, new):
        """Return the left-out distances of the rows that were learnt, and of the new ones."""
        parts = [self._measure(new[at : at + _BLOCK]) for at in range(0, len(new), _BLOCK)]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([own for _, own in parts])

    def _measure(self, new):
        sample, n = self._sample, self._sample.n_samples
        m, s = n + 1, n / (n + 1)
        z, rest = sample.coordinates(new.astype(np.float64, copy=False))
        alpha, beta = self._weigh(z, rest, m, s)
        ridged = 1.0 / (np.outer(alpha, sample.spectrum) + beta[:, np.newaxis])
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = np.where(rest > 0, rest / beta, 0.0)
        c = np.einsum("ij,ij,ij->i", z, z, ridged) + beyond
        along = (z * ridged) @ sample.rows.T - (c / m)[:, np.newaxis]
        inside = ridged @ self._squares.T - 2 / m * (along + (c / m)[:, np.newaxis]) + (c / m**2)[:, np.newaxis]
        with np.errstate(invalid="ignore"):
            inside -= (alpha * s / (1 + alpha * s * c))[:, np.newaxis] * along**2
        unit = sample.unit if self._kind == "identity" else 1.0
        return unit * np.sqrt(_leave_out(np.maximum(inside, 0.0), alpha, n)), unit * s * np.sqrt(c)

    def _weigh(self, z, rest, m, s):
        """Return alpha and beta of the n + 1 rows, for each new one."""
        sample = self._sample
        size, along = np.square(z).sum(axis=1) + rest, np.square(z) @ sample.spectrum
        total = sample.spectrum.sum()
        trace = total + s * size
        norm = sample.spectrum @ sample.spectrum + 2 * s * along + (s * size) ** 2
        quartic = self._quartic + 4 * along / m**2 + (m - 1) * size**2 / m**4 - 4 * (z @ self._cubic) / m
        quartic += 2 * size * total / m**2 + (s * size) ** 2 * s**2
        return weights(self._kind, m, sample.n_features, trace, norm, quartic)


class _Blocks:
    r"""Blocks, each over the root of its variance in the n + 1 rows, which no basis makes diagonal for all new rows.

    With :math:`w_b` those variances, and :math:`K = \sum_b U_b U_b^\top / (\beta w_b)` of the n + 1 centred rows,

    .. math:: q_i = [K R]_{ii}, \quad 1 - \alpha \tfrac{m}{n} q_i = \tfrac{m}{n} (R_{ii} - \tfrac1m), \quad
        R = (I + \alpha K)^{-1}

    an inverse for each new row; with more rows than features, a factor of the covariance.
    """

    def __init__(self, X, kind, sizes):
        self._kind, self._sizes, self._unit = kind, sizes, unit_of(X)
        rows, self._mean = centre(X / self._unit)
        totals = np.add.reduceat(np.square(rows).mean(axis=0), block_starts(sizes))
        if not (totals > 0).all():
            raise ValueError("The features of a block are constant over these rows.")
        self._scales = np.repeat(np.sqrt(totals), sizes)
        self._rows = rows / self._scales
        self._squares = block_squares(self._rows, sizes)
        self._parts = np.split(self._rows, block_starts(sizes)[1:], axis=1)
        self._is_wide = len(X) <= X.shape[1]
        if self._is_wide:
            self._products = np.stack([part @ part.T for part in self._parts])
            self._norms = np.einsum("bij,cij->bc", self._products, self._products, optimize=True)
        else:
            self._products = self._rows.T @ self._rows
            squares = np.add.reduceat(np.square(self._products), block_starts(sizes), axis=0)
            self._norms = np.add.reduceat(squares, block_starts(sizes), axis=1)

    def distances(self, new):
        """Return the left-out distances of the rows that were learnt, and of the new ones."""
        measured = [pair for at in range(0, len(new), _BATCH) for pair in self._measure(new[at : at + _BATCH])]
        return np.stack([rows for rows, _ in measured]), np.array([own for _, own in measured])

    def _measure(self, new):
        """Yield the distances of a few new rows, whose products with those that were learnt are taken together."""
        n = len(self._rows)
        new = (new / self._unit - self._mean) / self._scales
        parts = np.split(new, block_starts(self._sizes)[1:], axis=1)
        along = np.stack([part @ rows.T for rows, part in zip(self._parts, parts, strict=True)], axis=1)
        sizes = block_squares(new, self._sizes)
        variances = n / (n + 1) * (1 + sizes / (n + 1))  # of the n + 1, over those of the n
        alphas, betas = np.transpose([self._weigh(*one) for one in zip(new, sizes, along, variances, strict=True)])
        ridges = betas[:, np.newaxis] * variances
        if self._is_wide:
            inner = np.tensordot(1 / ridges, self._products, axes=1)
            pairs = zip(inner, sizes, along, alphas, ridges, strict=True)
            found = [self._measure_among_rows(*one) for one in pairs]
        else:
            found = [self._measure_among_features(*one) for one in zip(new, alphas, ridges, strict=True)]
        for inside, rest in found:
            with np.errstate(divide="ignore"):
                distances = np.sqrt(inside / np.maximum(rest, 0.0))
            yield distances[:-1], distances[-1]

    def _measure_among_rows(self, kernel, sizes, along, alpha, ridges):
        """Return the squared distances within the n + 1 rows, and what is left of 1 when a row is left out."""
        m = len(self._rows) + 1
        kernel = self._complete(kernel, sizes, along, ridges)
        inverse = _diagonal_of_inverse(alpha * kernel)
        return _find_inside(kernel, alpha, inverse), m / (m - 1) * (inverse - 1 / m)

    def _weigh(self, z, sizes, along, variances):
        """Return alpha and beta of the n + 1 rows."""
        n, n_blocks = len(self._rows), len(sizes)
        m, s = n + 1, n / (n + 1)
        squares = self._squares - 2 / m * along.T + sizes / m**2
        quartic = squares.T @ squares + s**4 * np.outer(sizes, sizes)
        norms = self._norms + 2 * s * self._find_products(z, along) + s**2 * np.outer(sizes, sizes)
        per_block = 1 / variances
        trace, norm, fourth = (
            np.array([value])
            for value in (float(m * n_blocks), per_block @ norms @ per_block, per_block @ quartic @ per_block)
        )
        alpha, beta = weights(self._kind, m, len(z), trace, norm, fourth)
        return alpha[0], beta[0]

    def _find_products(self, z, along):
        """Return z_b · T_bc z_c for each pair of blocks."""
        if self._is_wide:
            return along @ along.T
        starts = block_starts(self._sizes)
        turned = np.add.reduceat(z[:, np.newaxis] * self._products, starts, axis=0)
        return np.add.reduceat(turned * z, starts, axis=1)

    def _complete(self, inner, sizes, along, ridges):
        """Return K, the new row last, from the sum of the blocks' Gram matrices over their ridges."""
        n = len(self._rows)
        m, s = n + 1, n / (n + 1)
        weighted, size = (1 / ridges) @ along, (sizes / ridges).sum()
        kernel = np.empty((m, m))
        np.subtract(inner, (weighted[:, np.newaxis] + weighted) / m - size / m**2, out=kernel[:n, :n])
        kernel[:n, n] = kernel[n, :n] = s * (weighted - size / m)
        kernel[n, n] = s**2 * size
        return kernel

    def _measure_among_features(self, z, alpha, ridges):
        """Return the same by a factor of the covariance of the n + 1 rows."""
        n = len(self._rows)
        m, s = n + 1, n / (n + 1)
        covariance = alpha * (self._products + s * np.outer(z, z))
        covariance.flat[:: len(z) + 1] += np.repeat(ridges, self._sizes)
        factor = linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        rows = np.vstack([self._rows - z / m, s * z])
        whitened = linalg.blas.dtrsm(1.0, factor, rows, side=1, lower=1, trans_a=1)
        inside = np.einsum("ij,ij->i", whitened, whitened)
        return inside, 1 - alpha * m / n * inside


def _diagonal_of_inverse(product):
    """Return the diagonal of the inverse of the identity plus a positive semidefinite matrix, which is written over."""
    product.flat[:: len(product) + 1] += 1.0
    factor, _ = linalg.lapack.dpotrf(product.T, lower=1, clean=1, overwrite_a=1)  # .T: in LAPACK's own order, no copy
    inverse, _ = linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
    return np.einsum("ij,ij->j", inverse, inverse)


def _find_inside(kernel, alpha, inverse):
    """Return the diagonal of K (I + αK)⁻¹, which is (1 - inverse) / α where that has the digits."""
    if (1 - inverse).min() > 1e-5:
        return (1 - inverse) / alpha
    return np.einsum("ij,ji->i", kernel, np.linalg.inv(np.eye(len(kernel)) + alpha * kernel))


def _leave_out(inside, alpha, n_samples):
    """Return the squared distances of rows left out, from those within."""
    rest = 1 - (alpha * (n_samples + 1) / n_samples)[:, np.newaxis] * inside
    with np.errstate(divide="ignore"):
        return inside / np.maximum(rest, 0.0)
