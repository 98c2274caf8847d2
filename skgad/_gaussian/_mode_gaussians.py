r"""Several Gaussians of the same features, one for each mode, with a covariance of their own or one that they share.

The tied covariance is that of the rows less the mean of their mode,

.. math:: \hat\Sigma = (1 - \rho) \tfrac{1}{n} \sum_k T_k + \rho \, \tfrac{\mathrm{tr}}{D} I, \qquad
    T_k = \sum_{i \in k} (x_i - \bar x_k)(x_i - \bar x_k)^\top

whose moments are those of the modes, added at the same mean: they stream as these do. Without row i of mode k,

.. math:: T' = T - \tfrac{n_k}{n_k - 1} r r^\top, \quad r = x_i - \bar x_k, \quad
    x_i - \bar x'_k = \tfrac{n_k}{n_k - 1} r,

so that with whitened rows z of r and v_j of :math:`x_i - \bar x'_j`, the intensity held, the squared distances are

.. math:: \tfrac{n - 1}{n} \Bigl( \lVert v_j \rVert^2 + \tfrac{c (v_j^\top z)^2}{1 - c \lVert z \rVert^2} \Bigr),
    \qquad c = \tfrac{1 - \rho}{n} \tfrac{n_k}{n_k - 1}.
"""

from functools import reduce

import numpy as np

from ._by_level import by_level
from ._estimate import DIAGONAL_KINDS
from ._level_gaussians import LevelGaussians
from ._moments import at_zero, merge


class ModeGaussians:
    """The Gaussians of each mode. An object is never changed: `add`, `merge` and `remove` return another one.

    Parameters
    ----------
    modes : list of LevelGaussians
        That of each mode, all of them of the same columns and kind.
    tied : bool
    """

    def __init__(self, modes, tied):
        self.modes = modes
        self.tied = tied
        self._shared = None

    @classmethod
    def of_rows(cls, X, labels, n_modes, columns, kind, tied, blocks=None):
        """Return those of the rows of `X`, whose modes are `labels`; each mode has some."""
        modes = [LevelGaussians.of_rows(X[labels == mode], columns, kind, blocks) for mode in range(n_modes)]
        return cls(modes, tied)

    @property
    def sizes(self):
        """How many rows each mode has, (n_modes,)."""
        return np.array([mode.n_samples for mode in self.modes])

    @property
    def shared(self):
        """The Gaussians, about zero, of the rows less the mean of their mode."""
        if self._shared is None:
            first = self.modes[0]
            samples = by_level(
                first.columns, lambda level: reduce(merge, [at_zero(mode.samples[level]) for mode in self.modes])
            )
            self._shared = LevelGaussians(first.columns, first.kind, samples, blocks=first.blocks)
        return self._shared

    @property
    def locations(self):
        """The mean of each mode, (n_modes, n_features)."""
        return np.array([_join_levels(mode) for mode in self.modes])

    def estimate(self):
        """Estimate all of them now, so that what is singular is refused; names the mode."""
        if self.tied:
            self.shared.gaussians  # noqa: B018
            return
        for number, mode in enumerate(self.modes):
            try:
                mode.gaussians  # noqa: B018
            except ValueError as error:
                raise ValueError(f"mode {number}: {error}") from error

    def distances(self, X):
        """Return the distance of each row to each mode, summed over levels, (n_samples, n_modes)."""
        if not self.tied:
            return np.column_stack([mode.distances(X).sum(axis=1) for mode in self.modes])
        return np.column_stack([self.shared.distances(X - mean).sum(axis=1) for mean in self.locations])

    def leave_one_out(self, X, labels):
        """Return the same of the rows that were learnt, in the order of `X`, each by the Gaussians of the others."""
        if not self.tied:
            result = self.distances(X)
            for number, mode in enumerate(self.modes):
                rows = labels == number
                result[rows, number] = mode.leave_one_out(X[rows]).sum(axis=1)
            return result
        n_samples, sizes = len(X), self.sizes[labels]
        grown = (sizes / (sizes - 1.0))[:, np.newaxis]
        result = np.zeros((n_samples, len(self.modes)))
        means = self.locations
        deviations = X - means[labels]
        for level, columns in self.shared.columns.items():
            gaussian = self.shared.gaussians[level]
            whitened = gaussian.factor.whiten(deviations[:, columns])
            weight = (1.0 - (gaussian.shrinkage or 0.0)) / n_samples * grown[:, 0]
            left = 1.0 - weight * np.einsum("ij,ij->i", whitened, whitened)
            for number, mean in enumerate(means):
                others = gaussian.factor.whiten(X[:, columns] - mean[columns])
                own = (labels == number)[:, np.newaxis]
                others = np.where(own, grown * whitened, others)
                along = np.einsum("ij,ij->i", others, whitened)
                squares = np.einsum("ij,ij->i", others, others)
                with np.errstate(divide="ignore", invalid="ignore"):
                    whole = (n_samples - 1) / n_samples * (squares + weight * along**2 / left)
                result[:, number] += np.where(left > 0, np.sqrt(whole), np.inf)
        return result

    def leaves_out(self):
        """Return whether `leave_one_out` can be asked for."""
        return not (self.tied and self.modes[0].kind in DIAGONAL_KINDS)

    def add(self, X, labels):
        """Return those of all rows so far and of these."""
        return self._with(X, labels, lambda mode, rows: mode.add(rows))

    def remove(self, X, labels):
        """Return those of all rows but these; raise ValueError as `LevelGaussians.remove`, and name the mode."""
        return self._with(X, labels, lambda mode, rows: mode.remove(rows))

    def merge(self, other):
        """Return those of the rows of both."""
        return ModeGaussians(
            [one.merge(another) for one, another in zip(self.modes, other.modes, strict=True)], self.tied
        )

    def _with(self, X, labels, change):
        modes = []
        for number, mode in enumerate(self.modes):
            rows = X[labels == number]
            try:
                modes.append(change(mode, rows) if len(rows) else mode)
            except ValueError as error:
                raise type(error)(f"mode {number}: {error}") from error
        return ModeGaussians(modes, self.tied)

    def __getstate__(self):
        return {**self.__dict__, "_shared": None}


def _join_levels(mode):
    """Return the mean of a mode over the columns of all of its levels."""
    mean = np.empty(sum(len(part) for part in mode.locations))
    for columns, part in zip(mode.columns.values(), mode.locations, strict=True):
        mean[columns] = part
    return mean
