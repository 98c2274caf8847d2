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

those of each row left out of the n + 1. For a new row far out the terms of :math:`q_i` are large and cancel, and its
denominator, the share of row i that the others do not explain, drowns. With :math:`w = 1 / (1 + \alpha s c)` they are

.. math:: q_i = y_i^\top G y_i - w b_i \left(\tfrac{2}{m} + \alpha s b_i\right) + \tfrac{w c}{m^2}, \quad
    s - \alpha q_i = 1 - \tfrac{1}{n} - \alpha y_i^\top G y_i + \tfrac{w}{s} \left(\alpha s b_i + \tfrac{1}{m}\right)^2

where nothing does. A row that leaves the span of the n by r adds r² to ‖z‖², and r²/β to c.
"""

import numpy as np
from scipy import linalg

from ._blocks import block_squares, block_starts
from ._leave_one_out import weights
from ._principal import PrincipalRows, centre, principal_rows, unit_of

KINDS = ("ledoit_wolf", "oas", "empirical", "identity")
TOGETHER = 64  # new rows at a time: for each of them there is a distance of each learnt row
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
        # Without a ridge a direction of hardly any variance counts as any other, and units make no difference.
        sample = _whitened_rows(X) if kind == "empirical" else principal_rows(X)
        squares = np.square(sample.rows)
        sizes = squares.sum(axis=1)
        self._kind, self._sample, self._squares = kind, sample, squares
        self._cubic, self._quartic = sizes @ sample.rows, sizes @ sizes

    def distances(self, new):
        """Return the left-out distances of the rows that were learnt, and of the new ones."""
        parts = [self._measure(new[at : at + TOGETHER]) for at in range(0, len(new), TOGETHER)]
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
        rows, own = _leave_out(ridged @ self._squares.T, (z * ridged) @ sample.rows.T, c, alpha)
        unit = sample.unit if self._kind == "identity" else 1.0
        return unit * rows, unit * own

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

    With :math:`w_b` those variances, and :math:`K = \sum_b Y_b Y_b^\top / (\beta w_b)` of the n rows,

    .. math:: G = (\alpha T + \beta W)^{-1}, \quad Y G Y^\top = K R, \quad Y G z = R k, \quad
        R = (I + \alpha K)^{-1}, \quad k = \sum_b Y_b z_b / (\beta w_b)

    a factor of n × n for each new row; with more rows than features, one of the covariance.
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
        parts = [self._measure(new[at : at + _BATCH]) for at in range(0, len(new), _BATCH)]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([own for _, own in parts])

    def _measure(self, new):
        """Return the same for a few new rows, whose products with those that were learnt are taken together."""
        n = len(self._rows)
        new = (new / self._unit - self._mean) / self._scales
        parts = np.split(new, block_starts(self._sizes)[1:], axis=1)
        along = np.stack([part @ rows.T for rows, part in zip(self._parts, parts, strict=True)], axis=1)
        sizes = block_squares(new, self._sizes)
        variances = n / (n + 1) * (1 + sizes / (n + 1))  # of the n + 1, over those of the n
        alphas, betas = np.transpose([self._weigh(*one) for one in zip(new, sizes, along, variances, strict=True)])
        ridges = betas[:, np.newaxis] * variances
        if self._is_wide:
            kernels = np.tensordot(1 / ridges, self._products, axes=1)
            pairs = zip(kernels, sizes, along, alphas, ridges, strict=True)
            found = [self._solve_among_rows(*one) for one in pairs]
        else:
            found = [self._solve_among_features(*one) for one in zip(new, alphas, ridges, strict=True)]
        within, across, c = (np.stack(one) for one in zip(*found, strict=True))
        return _leave_out(within, across, c, alphas)

    def _solve_among_rows(self, kernel, sizes, along, alpha, ridges):
        r"""Return :math:`y_i^\top G y_i`, :math:`y_i^\top G z` and :math:`z^\top G z`, from K, the kernel."""
        products = (1 / ridges) @ along
        system = alpha * kernel
        system.flat[:: len(system) + 1] += 1.0
        factor, _ = linalg.lapack.dpotrf(system.T, lower=1, clean=1, overwrite_a=1)  # .T: in LAPACK's order, no copy
        inverse, _ = linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
        half = inverse @ products
        shares = np.einsum("ij,ij->j", inverse, inverse)  # the diagonal of (I + αK)⁻¹
        if (1 - shares).min() > 1e-5:
            within = (1 - shares) / alpha
        else:
            within = np.einsum("ij,ji->i", kernel, inverse.T @ inverse)
        return within, inverse.T @ half, max((sizes / ridges).sum() - alpha * half @ half, 0.0)

    def _solve_among_features(self, z, alpha, ridges):
        """Return the same by a factor of the n rows' covariance."""
        covariance = alpha * self._products
        covariance.flat[:: len(z) + 1] += np.repeat(ridges, self._sizes)
        factor = linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        whitened = linalg.blas.dtrsm(1.0, factor, np.vstack([self._rows, z]), side=1, lower=1, trans_a=1)
        rows, own = whitened[:-1], whitened[-1]
        return np.einsum("ij,ij->i", rows, rows), rows @ own, own @ own

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


def _leave_out(within, across, c, alpha):
    r"""Return the left-out distances of the n rows, (n_new, n_samples), and of the new ones, (n_new,).

    Parameters
    ----------
    within, across : ndarray of shape (n_new, n_samples)
        :math:`y_i^\top G y_i` and :math:`y_i^\top G z`.
    c, alpha : ndarray of shape (n_new,)
    """
    n_samples = within.shape[1]
    m, s = n_samples + 1, n_samples / (n_samples + 1)
    c, alpha = c[:, np.newaxis], alpha[:, np.newaxis]
    weight = 1 / (1 + alpha * s * c)
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted = 1 / (1 / c + alpha * s)  # w c, for c = 0 and c = ∞ too
        inside = within - weight * across * (2 / m + alpha * s * across) + weighted / m**2
        rest = np.maximum(1 - 1 / n_samples - alpha * within, 0.0) + weight / s * (alpha * s * across + 1 / m) ** 2
        rows = np.sqrt(s * np.maximum(inside, 0.0) / rest)
    return rows, s * np.sqrt(c[:, 0])


def _whitened_rows(X):
    """Return the rows along axes in which their covariance is a multiple of the identity.

    Raises
    ------
    numpy.linalg.LinAlgError
        If there are none.
    """
    unit = unit_of(X)
    rows, mean = centre(X / unit)
    scale = np.sqrt(np.square(rows).sum(axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    turned, factor = linalg.qr(rows / scale, mode="economic", check_finite=False)
    if np.square(np.diagonal(factor)).min() <= 10 * len(factor) * np.finfo(np.float64).eps:
        raise np.linalg.LinAlgError("A feature is constant, or a combination of the others.")
    axes = linalg.solve_triangular(factor, np.eye(len(factor)), check_finite=False) / scale[:, np.newaxis]
    return PrincipalRows(mean, axes, turned, np.ones(len(factor)), unit)
