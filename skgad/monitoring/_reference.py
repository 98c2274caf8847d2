r"""How far a mean of normal rows lies from that of the fit, by chance: for each block, a level at a place.

With :math:`A = \hat\Sigma^{-1} \Sigma`, the squared distance of a mean of N new rows from that of the n rows of the fit
is :math:`(1/N + 1/n)` times a variable of mean :math:`\mathrm{tr} A` and variance :math:`2\,\mathrm{tr} A^2`: about a
scaled chi-square one (Satterthwaite). Both traces are measured on rows that a fit has not seen, since a covariance of
few images suits those too well that it was estimated from: :math:`\mathrm{tr} A` is the mean of
:math:`\lVert z \rVert^2`, and :math:`\mathrm{tr} A^2` that of :math:`(z_i^\top z_j)^2` over pairs, of whitened rows z.
"""

import numpy as np
from scipy import stats

from .._gaussian._level_gaussians import LevelGaussians

_FOLDS = 5
FEWEST = 2 * _FOLDS  # rows


class BlockReference:
    """The Gaussian of each block, and what chance does to a mean.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Normal rows, `FEWEST` at least.
    columns : dict of str to (slice or ndarray of int)
        Of each block.

    Raises
    ------
    ValueError
        If a block is constant.
    """

    def __init__(self, X, columns):
        self.columns, self.n_samples, self._n_features = columns, len(X), X.shape[1]
        self._gaussians = LevelGaussians.of_rows(X, columns, "ledoit_wolf")
        self.traces, self.square_traces = self._measure_chance(X)

    @property
    def mean(self):
        """The mean of each feature; zero of those that are in no block."""
        mean = np.zeros(self._n_features)
        for columns, location in zip(self.columns.values(), self._gaussians.locations, strict=True):
            mean[columns] = location
        return mean

    def distances(self, means):
        """Return the distance of each mean from that of the fit, (n_means, n_blocks)."""
        return self._gaussians.distances(means)

    def chance(self, counts):
        """Return the root mean square of that distance for means of so many normal rows, (n_means, n_blocks)."""
        return np.sqrt(np.outer(1 / np.asarray(counts) + 1 / self.n_samples, self.traces))

    def p_values(self, distances, counts):
        """Return how often chance takes a mean of so many normal rows as far, (n_means, n_blocks)."""
        dof = self.traces**2 / self.square_traces
        return stats.chi2.sf(dof * (distances / self.chance(counts)) ** 2, dof)

    def whiten(self, deviations):
        """Return differences between rows, in units of the Gaussians, the blocks one after the other."""
        gaussians = self._gaussians.gaussians
        return np.hstack([gaussians[name].factor.whiten(deviations[:, at]) for name, at in self.columns.items()])

    def _measure_chance(self, X):
        """Return tr A and tr A² of each block."""
        traces, squares = np.zeros((_FOLDS, len(self.columns))), np.zeros((_FOLDS, len(self.columns)))
        folds = np.arange(len(X)) % _FOLDS
        for fold in range(_FOLDS):
            others = LevelGaussians.of_rows(X[folds != fold], self.columns, "ledoit_wolf")
            held = X[folds == fold]
            share = 1 + 1 / (len(X) - len(held))  # of a row's squared distance from a mean of others: 1 + 1/n
            for at, (name, columns) in enumerate(self.columns.items()):
                rows = others.gaussians[name].whiten(held[:, columns])
                products = rows @ rows.T
                traces[fold, at] = np.trace(products) / len(held) / share
                pairs = products[~np.eye(len(held), dtype=bool)]
                squares[fold, at] = np.mean(np.square(pairs - pairs.mean()))
        return traces.mean(axis=0), np.maximum(squares.mean(axis=0), np.finfo(float).tiny)
