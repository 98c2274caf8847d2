"""What moved: the mean of recent features against that of the normal ones, for each level and place."""

import copy

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._levels import split_name
from .._conventions._parameters import check_int
from .._conventions._transaction import all_or_nothing
from ._reference import FEWEST, BlockReference
from ._timeline import Timeline


class FeatureDrift(StampedEstimator):
    r"""Say which levels, and which places, have moved: means of features over time, in units of the training Gaussian.

    Attributes
    ----------
    n_samples_fit_ : int
        The normal rows that were learnt.
    n_seen_ : int
        New rows so far.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number of columns seen in ``fit``, and their names, where all are strings.

    See Also
    --------
    ConformalTestMartingale : Whether anything moved, with a guarantee.
    LineMonitor : Both, for a line.

    Notes
    -----
    Each level at each cell of a grid is a block with a Gaussian of its own (Ledoit-Wolf). The distance of the recent
    mean is a Mahalanobis distance, unsquared. Chance is measured on normal rows that a fit has not seen, so that it
    holds for few images of many features as well; p-values are approximate (Satterthwaite), and hold for independent
    images: photographs of one batch are alike, and their mean is farther out than that.

    *State.* Sums of features over time: the latest in bins of 16 rows, older ones in wider bins, eight of each width. A
    stream of ten million rows has 170 bins.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.monitoring import FeatureDrift
    >>> names = [f"level{level}__{index:04d}" for level in (1, 7) for index in range(4)]
    >>> import pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> drift = FeatureDrift().fit(pd.DataFrame(rng.normal(size=(200, 8)), columns=names))
    >>> new = pd.DataFrame(rng.normal(size=(64, 8)), columns=names)
    >>> new["level7__0002"] += 1
    >>> drift.observe(new).table()[["level", "n_samples", "p_value"]].round(3)
        level  n_samples  p_value
    0  level1         64    0.344
    1  level7         64    0.000
    """

    @all_or_nothing
    def fit(self, X, y=None):
        """Learn what is normal, and forget what was observed.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Features of normal images, ten at least: those that the detector learnt, or others.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are too few rows, or all features are constant. Single levels or places that are constant are left
            out.
        """
        X, groups = read_normal_rows(self, X, y, reset=True, at_least=FEWEST)
        self._groups = groups
        X = X.astype(np.float64, copy=False)
        blocks = _find_blocks(getattr(self, "feature_names_in_", None), X.shape[1])
        blocks = {part: columns for part, columns in blocks.items() if np.ptp(X[:, columns], axis=0).any()}
        if not blocks:
            raise ValueError("All features are the same for all normal rows: there is nothing that could move.")
        self._parts = list(blocks)
        self._reference = BlockReference(
            X, {"__".join(filter(None, part)): columns for part, columns in blocks.items()}
        )
        self._timeline = Timeline(X.shape[1])
        self.n_samples_fit_, self.n_seen_ = len(X), 0
        return self

    @all_or_nothing
    def observe(self, X):
        """Take new rows, in the order in which they came.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        self
        """
        check_is_fitted(self)
        X, _ = read_columns(self, X, reset=False)
        timeline = copy.copy(self._timeline)  # whose arrays are made anew, not changed
        timeline.add(X.astype(np.float64, copy=False), self.n_seen_)
        self._timeline, self.n_seen_ = timeline, self.n_seen_ + len(X)
        return self

    def skip(self, n_samples):
        """Count rows that came and whose features are lost, so that numbers go on meaning the same.

        Parameters
        ----------
        n_samples : int

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.n_seen_ += n_samples
        return self

    @all_or_nothing
    def merge(self, other):
        """Take what another has observed, at the same time, on another machine.

        Parameters
        ----------
        other : FeatureDrift
            Fitted on the same rows. It is left as it is.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the two were not fitted on the same rows.
        """
        check_is_fitted(self)
        check_is_fitted(other)
        if self._parts != other._parts or not np.array_equal(self._reference.mean, other._reference.mean):
            raise ValueError("The two were not fitted on the same normal rows: their shifts do not mean the same.")
        timeline = copy.copy(self._timeline)
        timeline.merge(other._timeline)
        self._timeline, self.n_seen_ = timeline, self.n_seen_ + other.n_seen_
        return self

    def table(self, since=0):
        """Return for each level and place how far its mean has moved.

        Parameters
        ----------
        since : int, default=0
            The number of the row, from 0, from which on rows count; of a bin that begins before it, none do.

        Returns
        -------
        DataFrame of shape (n_blocks, 6)
            ``level`` and ``cell`` of the grid ("" where there is none); ``n_samples`` that the recent mean is of;
            ``shift``, its Mahalanobis distance from that of the fit; ``chance``, the root mean square of what normal
            images give; ``p_value``, how often chance takes it as far.

        Raises
        ------
        ValueError
            If nothing was observed.
        """
        means, counts = self._mean_since(since)
        shift = self._reference.distances(means)
        table = pd.DataFrame(self._parts, columns=["level", "cell"])
        table["n_samples"] = int(counts[0])
        table["shift"] = shift[0]
        table["chance"] = self._reference.chance(counts)[0]
        table["p_value"] = self._reference.p_values(shift, counts)[0]
        return table

    def history(self):
        """Return the same for each bin of time: how many times as far as by chance its mean lies.

        Returns
        -------
        DataFrame of shape (n_bins * n_blocks, 5)
            ``start``, the number of a bin's first row; ``n_samples`` in it; ``level``, ``cell`` and ``ratio``, the
            shift over chance: about 1 for normal images.
        """
        check_is_fitted(self)
        line, names = self._timeline, pd.DataFrame(self._parts, columns=["level", "cell"])
        if not len(line.counts):
            return pd.DataFrame(columns=["start", "n_samples", "level", "cell", "ratio"])
        ratios = self._reference.distances(line.sums / line.counts[:, np.newaxis]) / self._reference.chance(line.counts)
        parts = [
            names.assign(ratio=ratio).assign(start=start, n_samples=count)
            for ratio, start, count in zip(ratios, line.starts, line.counts, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)[["start", "n_samples", "level", "cell", "ratio"]]

    def similarity(self, directions, since=0):
        """Return how alike the shift of the recent mean is to other shifts: cosines in the metric of the Gaussians.

        Parameters
        ----------
        directions : array-like or frame of shape (n_directions, n_features)
            Differences of features, such as what more light makes of the same images.
        since : int, default=0
            As in `table`.

        Returns
        -------
        ndarray of shape (n_directions,)
            In [-1, 1]; 0 for a direction without length.
        """
        means, _ = self._mean_since(since)
        directions, _ = read_columns(self, directions, reset=False)
        moved = self._reference.whiten(means - self._reference.mean)[0]
        others = self._reference.whiten(directions.astype(np.float64, copy=False))
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(moved)
        return np.divide(others @ moved, lengths, out=np.zeros(len(others)), where=lengths > 0)

    def get_state(self):
        """Return what was observed, as arrays: for `set_state` of one that was fitted on the same rows.

        Returns
        -------
        dict of str to ndarray
        """
        check_is_fitted(self)
        line = self._timeline
        return {"starts": line.starts, "counts": line.counts, "sums": line.sums, "n_seen": np.array(self.n_seen_)}

    def set_state(self, state):
        """Go on from what another has observed, whose `get_state` this is.

        Parameters
        ----------
        state : dict of str to ndarray

        Returns
        -------
        self
        """
        check_is_fitted(self)
        timeline = Timeline(self.n_features_in_)
        timeline.starts, timeline.counts, timeline.sums = (state[key] for key in ("starts", "counts", "sums"))
        self._timeline, self.n_seen_ = timeline, int(state["n_seen"])
        return self

    def _mean_since(self, since):
        check_is_fitted(self)
        check_int("since", since, least=0)
        if not len(self._timeline.counts):
            raise ValueError("Nothing was observed: give new rows to observe(X).")
        chosen = self._timeline.since(since)
        count = self._timeline.counts[chosen].sum()
        return self._timeline.sums[chosen].sum(axis=0)[np.newaxis] / count, np.array([count])


def _find_blocks(names, n_features):
    """Return the columns of each block, by its level and cell."""
    if names is None:
        return {("", ""): slice(0, n_features)}
    blocks: dict[tuple, list[int]] = {}
    for index, name in enumerate(names):
        blocks.setdefault(split_name(str(name))[:2], []).append(index)
    return {part: np.asarray(columns) for part, columns in blocks.items()}
