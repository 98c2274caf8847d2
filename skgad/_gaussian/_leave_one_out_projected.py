r"""Leave-one-out distances of a Gaussian behind a projection onto one end of the spectrum, as by refits of both.

NPCA keeps the directions of least variance, PCA those of most. In the notation of `_leave_one_out` the sample without
row i has the eigenvalues :math:`\mu_j = \lambda_j - \delta_j` of :math:`\Lambda - \sigma z z^\top`, and the row itself
the squared coordinates :math:`w_j^2` along the eigenvectors, which `_secular` gives without forming these. Over the
kept directions J, selected anew for each row,

.. math:: M^2 = \sum_{j \in J} \frac{w_j^2}{\alpha \mu_j + \beta}, \quad
    \alpha = \frac{1 - \rho}{N}, \quad \beta = \rho\, \frac{\sum_J \mu_j}{N |J|}

Behind NPCA only the shorter end of the spectrum is solved for. If that is the end that is left out, sums over J are
those over all directions less those over the others; in terms of :math:`\delta` a small remainder keeps its digits:

.. math:: \sum_J \mu = \sum_J \lambda - \sigma t + \sum_{\notin J} \delta, \quad
    \sum_J \mu^2 = \sum_J \lambda^2 - 2 \sigma z^\top \Lambda z + \sigma^2 t^2
    + \sum_{\notin J} \delta (2 \lambda - \delta)

*Null directions.* A row that alone spans a direction (each row, where there are no more rows than features) has the
leverage :math:`h = \sigma \sum_k z_k^2 / \lambda_k = 1`. Then :math:`\mu_p = 0`, and the refit drops this direction,
and with it that part of the row. With :math:`u_k^2 = z_k^2 / \lambda_k`, :math:`r_0 = \sum u^2 / \lambda`,
:math:`r_1 = \sum u^2 / (\alpha \lambda + \beta)`, :math:`r_2 = \sum (u^2 / \lambda) / (\alpha \lambda + \beta)` and
:math:`c = \sum z^2 / (\alpha \lambda + \beta)` the sum over all directions but the null one is

.. math:: \frac{\sigma}{\alpha} \Bigl(\frac{r_2}{\sigma r_0 r_1} - 1\Bigr) = \frac{\sigma c - r_1 / r_0}{\beta r_1}

of which the first form serves for small :math:`\rho` and the second for large ones.
"""

from dataclasses import dataclass

import numpy as np

from ._leave_one_out import check_rows, weights
from ._principal import principal_rows
from ._secular import downdate, separate

_EPS = np.finfo(np.float64).eps


def projected_leave_one_out_distances(X, n_components, kind, *, leading=False, exact_up_to=1000):
    r"""Return the distance of each row to projection and Gaussian learnt from the others.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float64, of three rows at least.
    n_components : float in (0, 1] or int >= 1
        What the projection keeps. A float is a share of the variance, by the rule of `NPCA` or of scikit-learn's `PCA`;
        an int a number of directions. 1.0 keeps all that have variance.
    kind : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"}
        The covariance of the Gaussian behind. Along principal axes "diagonal" is "empirical".
    leading : bool, default=False
        Whether the directions of most variance are kept, as by `PCA`, not those of least, as by `NPCA`.
    exact_up_to : int, default=1000
        The number of rows up to which "ledoit_wolf" sums the fourth powers of the others anew for each row. With more
        rows their kurtosis is held at that of all rows; on features of 352 photographs that moved distances by less
        than one in a thousand at a share of 1 %.

    Returns
    -------
    ndarray of shape (n_samples,)
        Unsquared. NaN where a refit is needed: for a row that holds nearly all of the variance, so that without it no
        digits are left, and where the others have too few directions.

    Raises
    ------
    ValueError
        If there are less than three rows.

    Notes
    -----
    O(n D min(n, D) + n p K) for p directions with variance of which K are solved for, two to four times over; with the
    fourth powers summed anew, O(n² p K) more.
    """
    check_rows(X)
    sample = principal_rows(X)
    if not len(sample.spectrum):
        return np.full(len(X), np.nan)
    others = _Others(sample, _Cut(n_components, leading))
    trace, norm = others.trace_and_norm()
    exact = kind == "ledoit_wolf" and len(X) <= exact_up_to
    quartic = others.quartic() if exact else others.held_quartic(trace, others.kurtosis())
    unit = sample.unit if kind == "identity" else 1.0
    return unit * others.distances(kind, trace, norm, quartic)


def projected_distances_of_some(sample, n_components, kind, kurtosis, *, leading=False):
    """Return the same of some rows of a sample, whose principal axes are those of all its rows.

    Parameters
    ----------
    sample : PrincipalRows
        Of the rows that are left out; its `n_all` says how many the whole sample has.
    kurtosis : float
        Of all rows along the kept directions, n Σ q² / (Σ q)² with q the squared norm there.
    n_components, kind, leading
        As in `projected_leave_one_out_distances`, for more than a thousand rows.
    """
    others = _Others(sample, _Cut(n_components, leading))
    trace, norm = others.trace_and_norm()
    unit = sample.unit if kind == "identity" else 1.0
    return unit * others.distances(kind, trace, norm, others.held_quartic(trace, kurtosis))


@dataclass(frozen=True)
class _Cut:
    """Where a projection cuts the spectrum, and which side it keeps."""

    n_components: float | int
    leading: bool

    @property
    def by_share(self):
        return isinstance(self.n_components, (float, np.floating))

    def heads(self, ratios, found, before=0):
        """Return how many directions lie above the cut, by the rules of `NPCA` and `PCA`.

        Parameters
        ----------
        ratios : ndarray
            Of the variance cumulated from the top, along the last axis.
        found : int or ndarray of int
            The number of directions with variance.
        before : int
            The number of ratios that are left out since they lie below the share for certain.
        """
        if not self.by_share:
            return self.n_components + 0 * found if self.leading else found - self.n_components
        if self.n_components == 1.0 and not self.leading:
            return 0 * found
        share = self.n_components if self.leading else 1.0 - self.n_components
        crossing = before + np.count_nonzero(ratios <= share, axis=-1)
        return np.minimum(crossing + 1, found if self.leading else found - 1)


class _Others:
    """The spectrum without each row in turn, solved for at its shorter end."""

    def __init__(self, sample, cut):
        self.rows, self.cut = sample.rows, cut
        self.spectrum = separate(sample.spectrum)
        self.left = sample.n_samples - 1
        self.sigma = sample.n_samples / self.left
        self.powers = np.square(sample.rows)
        self.sizes = self.powers.sum(axis=1)
        leverages = self.sigma * (self.powers / self.spectrum).sum(axis=1)
        self.lost = (1.0 - leverages < 1e-8) | (len(self.spectrum) == self.left)
        self.found = len(self.spectrum) - self.lost
        self.cut_of_all = int(cut.heads(np.cumsum(self.spectrum) / self.spectrum.sum(), len(self.spectrum)))
        # NPCA's shorter end; of PCA always the kept one, since the other may hold most of a distance over both
        self.at_head = cut.leading or 2 * self.cut_of_all <= len(self.spectrum)
        self._solve_to_the_cut()

    @property
    def n_kept(self):
        """The number of kept directions, for each row."""
        return self.heads if self.cut.leading else self.found - self.heads

    def trace_and_norm(self):
        """Return the sum of the kept eigenvalues and of their squares, for each row."""
        solved = self.spectrum[self.index]
        if self._solves_kept():
            kept = np.where(self.solved, solved - self.shifts, 0.0)
            return kept.sum(axis=1), np.square(kept).sum(axis=1)
        shifts = np.where(self.solved, self.shifts, 0.0)
        trace = self._tail_sum(self.spectrum) - self.sigma * self.sizes + shifts.sum(axis=1)
        change = self.sigma**2 * self.sizes**2 - 2 * self.sigma * self.powers @ self.spectrum
        norm = self._tail_sum(self.spectrum**2) + change + (shifts * (2 * solved - shifts)).sum(axis=1)
        return trace, norm

    def quartic(self):
        """Return the sum of the fourth powers of the others' norms along the kept directions, for each row."""
        return np.array([self._quartic_without(row) for row in range(len(self.rows))])

    def kurtosis(self):
        """Return that of the rows, all there are, along the directions that are kept of all."""
        kept = slice(self.cut_of_all) if self.cut.leading else slice(max(self.cut_of_all, 0), None)
        squares = self.powers[:, kept].sum(axis=1)
        return np.mean(squares**2) / np.mean(squares) ** 2

    def held_quartic(self, trace, kurtosis):
        """Return the sum of fourth powers by the kurtosis of all rows, for each row."""
        return kurtosis * trace**2 / self.left

    def distances(self, kind, trace, norm, quartic):
        """Return the distances in the unit of the rows; NaN where a refit is needed."""
        with np.errstate(divide="ignore", invalid="ignore"):  # in rows that are left to a refit
            squares = self.squared_distances(*weights(kind, self.left, self.n_kept, trace, norm, quartic))
        return np.where(self.have_digits(trace, norm), np.sqrt(np.maximum(squares, 0.0)), np.nan)

    def squared_distances(self, alpha, beta):
        r"""Return the squared distances by covariances of :math:`\alpha T' + \beta I` along the kept directions."""
        variances = alpha[:, np.newaxis] * (self.spectrum[self.index] - self.shifts) + beta[:, np.newaxis]
        # the null direction is no part of a refit
        counts = self.solved & (self.index < self.found[:, np.newaxis])
        solved = np.divide(self.squares, variances, out=np.zeros_like(variances), where=counts).sum(axis=1)
        return solved if self._solves_kept() else self._over_all(alpha, beta) - solved

    def have_digits(self, trace, norm):
        """Return which rows leave digits, and directions enough, to the others.

        A row that holds nearly all of the variance takes the largest eigenvalue with it, and the rounding of all sums,
        or of the others' axes, is a share of its size.
        """
        size = self.sigma * self.sizes
        if self._solves_kept() and not self.cut.leading:
            clear = _EPS * size * self.n_kept * self.left <= 1e-8 * trace
        else:
            clear = _EPS * size * np.maximum(size, self.spectrum[0] / (self.left + 1)) <= 1e-8 * norm
        return clear & (self.n_kept >= 1) & (self.heads >= 0) & (self.heads <= self.found)

    def _solve_to_the_cut(self):
        """Set the roots of one end, as many as the cut of any row needs; of the cut of all rows, mostly."""
        end = self.cut_of_all if self.at_head else len(self.spectrum) - self.cut_of_all
        n_roots, enough = end + 2, False
        while not enough:
            n_roots = min(max(n_roots, 0), len(self.spectrum))
            self._solve(n_roots)
            enough = self._select() or n_roots == len(self.spectrum)
            n_roots *= 2
        heads = self.heads[:, np.newaxis]
        self.solved = self.index < heads if self.at_head else self.index >= heads

    def _solve(self, n_roots):
        """Set the shifts of so many eigenvalues at one end, and the row's squared coordinates there."""
        first = 0 if self.at_head else len(self.spectrum) - n_roots
        self.index = np.arange(first, first + n_roots)
        self.shifts, squares = downdate(self.spectrum, self.sigma * self.powers, first, first + n_roots)
        self.squares = self.sigma * squares  # the row lies at σz

    def _select(self):
        """Set the cut of each row; return whether it is certain that all lie among the roots."""
        values = self.spectrum[self.index] - self.shifts
        total = (self.spectrum.sum() - self.sigma * self.sizes)[:, np.newaxis]
        if self.at_head:
            self.heads = self.cut.heads(np.cumsum(values, axis=1) / total, self.found)
            return self.heads.max() <= len(self.index)
        tails = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]
        ratios = 1.0 - np.pad(tails, ((0, 0), (0, 1))) / total  # the first is that above the first root
        before = self.index[0] - 1 if len(self.index) else len(self.spectrum) - 1
        self.heads = self.cut.heads(ratios, self.found, before)
        return not self.cut.by_share or self.heads.min() > before + 1

    def _solves_kept(self):
        return self.cut.leading or not self.at_head

    def _tail_sum(self, values):
        """Return the sum of the values of all rows below the cut, for each row."""
        return np.append(np.cumsum(values[::-1])[::-1], 0.0)[np.clip(self.heads, 0, len(values))]

    def _quartic_without(self, row):
        """Return the sum of fourth powers of one row's others: one product of all rows with the new eigenvectors."""
        chosen, z = self.solved[row], self.rows[row]
        lengths = np.sqrt(self.squares[row, chosen])
        differences = self.spectrum[:, np.newaxis] - self.spectrum[self.index[chosen]] + self.shifts[row, chosen]
        vectors = z[:, np.newaxis] / differences * lengths
        along = self.rows @ vectors + lengths / (self.sigma * self.left)
        squares = np.einsum("ij,ij->i", along, along)
        if not self._solves_kept():
            squares = self.sizes + 2 * self.rows @ z / self.left + self.sizes[row] / self.left**2 - squares
        squares[row] = 0.0
        return squares @ squares

    def _over_all(self, alpha, beta):
        """Return the squared distances over all directions but a null one."""
        ridged = self.powers / (np.outer(alpha, self.spectrum) + beta[:, np.newaxis])
        c, r1 = ridged.sum(axis=1), (ridged / self.spectrum).sum(axis=1)
        rest = 1.0 - alpha * self.sigma * c
        whole = self.sigma**2 * c / rest
        r0, r2 = (self.powers / self.spectrum**2).sum(axis=1), (ridged / self.spectrum**2).sum(axis=1)
        small = self.sigma / alpha * (r2 / (self.sigma * r0 * r1) - 1.0)
        large = (self.sigma * c - r1 / r0) / (beta * r1)
        return np.where(self.lost, np.where(alpha * self.left > 0.1, small, large), whole)
