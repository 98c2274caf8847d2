"""The Gaussians of all levels of a detector, or the joint one: rows join and leave them, exactly, and are left out."""

import numpy as np
from scipy.spatial.distance import cdist

from ._augmented import TOGETHER, left_out_together
from ._by_level import by_level
from ._estimate import DIAGONAL_KINDS, estimate
from ._laws import chi_quantile
from ._leave_one_out_joint import joint_leave_one_out_distances
from ._left_out_by_moments import LeftOut, LeftOutBehind
from ._moments import DrownedError, merge, moments, original_rows, remove, varies


class LevelGaussians:
    """One Gaussian for each level, or one over the blocks of all levels, and the moments that it follows from.

    An object is never changed: `add`, `merge` and `remove` return another one. The Gaussians are estimated when they
    are needed, and again after a pickle, which holds the moments alone: a factor is as large as they are.

    Parameters
    ----------
    columns : dict of str to (slice or ndarray of int)
        The name of each level, "" for the only one of columns without levels, and its columns of the rows.
    kind : str or None
        How a covariance is estimated, as in `estimate`; None for Gaussians that were estimated elsewhere.
    samples : dict of str to Moments, or None
        Those of each level; None where `kind` is.
    gaussians : dict of str to Gaussian, or None
        That of each level; None where they wait until they are needed.
    blocks : dict of str to int, or None
        For a joint Gaussian, the only entry of `columns`: its blocks, which are brought to one scale, by name, and how
        many of the columns are in each, one block after the other.
    """

    def __init__(self, columns, kind, samples=None, gaussians=None, blocks=None):
        self.columns = columns
        self.kind = kind
        self.samples = samples
        self._gaussians = gaussians
        self.blocks = blocks

    @classmethod
    def of_rows(cls, X, columns, kind, blocks=None):
        """Return the Gaussians of the rows of `X`: one row is enough to begin with."""
        diagonal, sizes = kind in DIAGONAL_KINDS, _sizes(blocks)
        samples = by_level(columns, lambda level: moments(X[:, columns[level]], diagonal=diagonal, sizes=sizes))
        return cls(columns, kind, samples, blocks=blocks)

    @property
    def n_samples(self):
        """The number of rows that were learnt, and not removed."""
        return next(iter(self.samples.values())).n_samples

    @property
    def gaussians(self):
        """The Gaussian of each level, by its name.

        Raises
        ------
        ValueError
            If a covariance is singular, a level is constant or of a single row, or rows that were removed have left too
            few digits of the others; names the level.
        """
        if self._gaussians is None:
            self._gaussians = {
                level: _estimate(level, sample, self.kind, self.blocks) for level, sample in self.samples.items()
            }
        return self._gaussians

    @property
    def locations(self):
        """The mean of each level, which needs no Gaussian."""
        if self.samples is None:
            return [gaussian.location for gaussian in self.gaussians.values()]
        return [sample.mean for sample in self.samples.values()]

    def add(self, X):
        """Return the Gaussians of all rows so far and of these."""
        return self.merge(LevelGaussians.of_rows(X, self.columns, self.kind, self.blocks))

    def merge(self, other):
        """Return the Gaussians of the rows of both, which have the same columns.

        Raises
        ------
        ValueError
            If their covariances are not estimated in the same way: then neither their moments nor their distances mean
            the same.
        """
        if self.kind != other.kind:
            raise ValueError(
                f"covariance={other.kind or 'an estimator'!r} does not join covariance={self.kind!r}: their Gaussians "
                "do not mean the same. Fit both with the same covariance."
            )
        samples = by_level(self.columns, lambda level: merge(self.samples[level], other.samples[level]))
        return LevelGaussians(self.columns, self.kind, samples, blocks=self.blocks)

    def remove(self, X):
        """Return the Gaussians of all rows but these; they are estimated at once, where enough is left for that.

        Raises
        ------
        ValueError
            If fewer than two rows would be left, if these rows cannot have been learnt, or if they leave too few digits
            of the others; names the level.
        """
        gone = LevelGaussians.of_rows(X, self.columns, self.kind, self.blocks).samples
        samples = by_level(self.columns, lambda level: remove(self.samples[level], gone[level]))
        left = LevelGaussians(self.columns, self.kind, samples, blocks=self.blocks)
        try:
            left.gaussians  # noqa: B018  # what has drowned is refused now, not at the first score
        except DrownedError:
            raise
        except ValueError:
            pass  # singular or constant: more rows may come, and a score says so
        return left

    def distances(self, X):
        """Return the distance of each row to the Gaussian of each level: (n_samples, n_levels)."""
        gaussians = self.gaussians
        return np.column_stack([gaussians[level].distances(X[:, columns]) for level, columns in self.columns.items()])

    def deviations_and_gradients(self, X):
        """Return each row less the mean, and the gradient of the sum of its distances, (n_samples, n_features) both."""
        deviations, gradients = np.zeros(X.shape), np.zeros(X.shape)
        for level, columns in self.columns.items():
            deviations[:, columns], gradients[:, columns] = self.gaussians[level].deviations_and_gradients(
                X[:, columns]
            )
        return deviations, gradients

    def distances_between(self, X, Y):
        """Return the distances between rows in the metric of each Gaussian, summed over levels: (len(X), len(Y))."""
        total = np.zeros((len(X), len(Y)))
        for level, columns in self.columns.items():
            total += cdist(*(self.gaussians[level].whiten(rows[:, columns]) for rows in (X, Y)))
        return total

    def leave_one_out(self, X):
        """Return the same for all rows that were learnt, each to the Gaussians of the others, in closed form.

        Raises
        ------
        ValueError
            If the Gaussians were estimated elsewhere, or there are fewer than three rows.
        """
        if self.samples is None:
            raise ValueError("A covariance estimator keeps no moments, which rows could be left out of. Refit it.")
        X = X.astype(np.float64, copy=False)
        sizes = _sizes(self.blocks)
        return np.column_stack(
            [joint_leave_one_out_distances(X[:, columns], sizes, self.kind) for columns in self.columns.values()]
        )

    def left_out(self):
        """Return for each level what measures some of the learnt rows by the others, from the moments alone.

        Returns
        -------
        dict of str to LeftOut

        Raises
        ------
        ValueError
            As `leave_one_out`.
        """
        return by_level(self.samples, lambda level: LeftOut(self.samples[level], self.kind))

    def left_out_behind(self, projected, n_components):
        """Return the same of a projection of each level, with the Gaussians `projected` behind it."""
        pairs = {level: (self.samples[level], projected.samples[level]) for level in self.samples}
        return by_level(pairs, lambda level: LeftOutBehind(*pairs[level], n_components, projected.kind))

    def together(self, X):
        """Return a function from new rows to the distances of the rows of `X` and of the new ones, summed over levels.

        It is a generator of both for some new rows at a time, since each of them has a distance for each row of `X`.

        Raises
        ------
        ValueError
            As `left_out_together`; names the level.
        """
        X, sizes = X.astype(np.float64, copy=False), _sizes(self.blocks)
        measures = by_level(self.columns, lambda level: left_out_together(X[:, self.columns[level]], self.kind, sizes))

        def measure(new):
            for at in range(0, len(new), TOGETHER):
                some = new[at : at + TOGETHER]
                pairs = [measures[level].distances(some[:, columns]) for level, columns in self.columns.items()]
                yield sum(rows for rows, _ in pairs), sum(own for _, own in pairs)

        return measure

    def leave_folds_out(self, X, fold):
        """Return the same, each row to the Gaussians of the rows outside of its fold.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            All rows that were learnt.
        fold : ndarray of int of shape (n_samples,)

        Raises
        ------
        ValueError
            As `remove` and `gaussians`.
        """
        result = np.empty((len(X), len(self.columns)))
        for number in np.unique(fold):
            rows = fold == number
            result[rows] = self.remove(X[rows]).distances(X[rows])
        return result

    def keeps_rows(self):
        """Return whether there are so few rows that a level keeps them, and is fitted anew more cheaply than parted."""
        return any(sample.rows is not None for sample in self.samples.values())

    def learnt_rows(self):
        """Return the rows that were learnt, in float32 where they came so; None unless each level keeps them."""
        if self.samples is None or any(sample.rows is None for sample in self.samples.values()):
            return None
        parts = {level: original_rows(sample) for level, sample in self.samples.items()}
        n_features = sum(part.shape[1] for part in parts.values())
        rows = np.empty((self.n_samples, n_features), dtype=np.result_type(*parts.values()))
        for level, columns in self.columns.items():
            rows[:, columns] = parts[level]
        return rows

    def chi_quantiles(self, fpr):
        """Return the distance that a share `fpr` of each level's Gaussian lies beyond, if it is one."""
        sizes = [len(location) for location in self.locations]
        if self.kind != "identity":
            return [chi_quantile(fpr, size) for size in sizes]
        if self.blocks:
            means = [len(self.blocks) / size for size in sizes]  # of variances, where that of each block is 1 in all
        else:
            means = [sample.variances.mean() for sample in self.samples.values()]
        return [np.sqrt(mean) * chi_quantile(fpr, size) for size, mean in zip(sizes, means, strict=True)]

    def __getstate__(self):
        return {**self.__dict__, "_gaussians": self._gaussians if self.samples is None else None}


def _sizes(blocks):
    return tuple(blocks.values()) if blocks else ()


def _estimate(level, sample, kind, blocks):
    _refuse_constant(level, sample, blocks)
    try:
        return estimate(sample, kind)
    except np.linalg.LinAlgError as error:
        raise ValueError(_explain_singular(level, sample, kind)) from error
    except DrownedError as error:
        raise DrownedError(f"{level}: {error}" if level else str(error)) from error


def _refuse_constant(level, sample, blocks):
    level = level or "the data"
    if sample.n_samples < 2:
        raise ValueError(f"One normal row does not make a Gaussian of {level}: n_samples = 1, at least two are needed.")
    names = list(blocks) if blocks else [level]
    for name, vary in zip(names, np.add.reduceat(varies(sample), sample.block_starts), strict=True):
        if not vary:
            raise ValueError(
                f"All features of {name} are constant over the {sample.n_samples} normal rows: there is nothing to "
                "learn from. Are these images all the same?"
            )


def _explain_singular(level, sample, kind):
    constant = np.flatnonzero(~varies(sample))
    reason = f"{sample.n_samples} normal rows of {sample.n_features} features"
    if len(constant):
        reason += f", of which {len(constant)} are constant (the first is column {constant[0]} of the level, from 0)"
    remedy = "'oas'" if kind == "ledoit_wolf" else "'ledoit_wolf'"
    return (
        f"The covariance of {level or 'the data'} is singular with covariance={kind!r}: {reason}. "
        f"Give more, and more different, images; or use covariance={remedy}, NPCA in front, or no constant features."
    )
