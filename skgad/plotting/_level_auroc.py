"""How well each level of a network tells normal from anomalous images, and how well their sum does."""

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._conventions._labels import check_labels
from .._conventions._levels import group_columns, level_number
from ._axes import NORMAL, REFERENCE, load_pyplot, make_axes, place_legend
from ._numbers import refuse_masked
from ._steps import reach_last_step


class LevelAUROCDisplay:
    """Image AUROC of each level's distance, and of their sum, with bootstrap intervals.

    `from_estimator` and `from_predictions` make one and draw it. The parameters are kept as attributes.

    Parameters
    ----------
    names : sequence of str of length n_bars
        What was judged: ``level7``, ..., ``sum``.
    aurocs : array-like of shape (n_bars,)
        The areas under the ROC curves, in [0, 1].
    intervals : array-like of shape (n_bars, 2), default=None
        Their intervals; None draws none.

    Attributes
    ----------
    points_ : Line2D
        The areas.
    interval_lines_ : LineCollection or None
        The intervals.
    chance_line_ : Line2D
        The area of a detector that guesses, 0.5.
    texts_ : list of Text
        The areas as numbers.
    legend_ : Legend
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    skgad.model_selection.auroc_scorer : The scorer, for choosing levels by a search.

    Notes
    -----
    The intervals hold 95 of 100 bootstrap samples of the *test images*, normal and anomalous ones drawn apart, the
    detector held fixed. They say nothing about other images to learn from, and the levels share the images: two levels
    whose intervals overlap may still differ.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skgad import MahalanobisDetector
    >>> from skgad.plotting import LevelAUROCDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(260, 4)), columns=[f"level{i}__{j}" for i in (6, 7) for j in (0, 1)])
    >>> y = np.repeat([1, -1], [220, 40])
    >>> X.loc[y == -1, "level7__0"] += 3
    >>> detector = MahalanobisDetector().fit(X[:180])
    >>> display = LevelAUROCDisplay.from_estimator(detector, X[180:], y[180:], random_state=0)
    >>> dict(zip(display.names, display.aurocs.round(2).tolist()))
    {'level6': 0.55, 'level7': 0.96, 'sum': 0.91}
    """

    def __init__(self, names, aurocs, *, intervals=None):
        refuse_masked("aurocs", aurocs)
        refuse_masked("intervals", intervals)
        self.names = list(names)
        self.aurocs = np.asarray(aurocs)
        self.intervals = None if intervals is None else np.asarray(intervals)

    @classmethod
    def from_estimator(cls, estimator, X, y, *, n_bootstraps=1000, random_state=None, ax=None):
        """Take the distances of a fitted detector, and draw how well each level finds the anomalous images.

        Parameters
        ----------
        estimator : fitted MahalanobisDetector or pipeline
            Its ``transform`` gives distances, one column a level. An `FPRThresholdCV`, alone or at the end of a
            pipeline, is asked for the detector in it.
        X : its input, of length n_samples
            Images that it has not learnt.
        y, n_bootstraps, random_state, ax
            As of `from_predictions`.

        Returns
        -------
        LevelAUROCDisplay

        Raises
        ------
        ValueError
            As `from_predictions` does.
        TypeError
            If no ``transform`` gives distances.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        _check_both(y)  # before the network runs
        return cls.from_predictions(
            y, _read_distances(estimator, X), n_bootstraps=n_bootstraps, random_state=random_state, ax=ax
        )

    @classmethod
    def from_predictions(cls, y, distances, *, n_bootstraps=1000, random_state=None, ax=None):
        """Draw how well each column of distances, and their sum, finds the anomalous images.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            +1 for normal images, -1 for anomalous ones; both are needed.
        distances : frame or array-like of shape (n_samples, n_levels)
            Higher is more anomalous; in a frame, one column a level: ``MahalanobisDetector().transform(X)``.
        n_bootstraps : int, default=1000
            Samples for the intervals; 0 draws none. A thousand cost about a second on a thousand images and ten levels.
        random_state : int, RandomState or None, default=None
            Draws the samples.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        LevelAUROCDisplay

        Raises
        ------
        ValueError
            If `y` holds anything but +1 and -1, or one of them only; if `distances` differ from it in length, are
            negative or not finite, or have several columns of a level, as features do.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_predictions")
        y = _check_both(y)
        names, values = _check_distances(distances, len(y))
        if len(names) > 1:
            names, values = [*names, "sum"], np.column_stack([values, values.sum(axis=1)])
        aurocs = np.array([roc_auc_score(y, -column) for column in values.T])
        intervals = _bootstrap(y, values, n_bootstraps, random_state) if n_bootstraps else None
        return cls(names, aurocs, intervals=intervals).plot(ax)

    def plot(self, ax=None):
        """Draw the areas.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        n_bars = len(self.names)
        ax = make_axes(f"{type(self).__name__}.plot", ax, figsize=(max(3.2, 1.6 + 0.55 * n_bars), 4))
        x = np.arange(n_bars)
        bounds = self.aurocs[:, np.newaxis] if self.intervals is None else self.intervals
        self.interval_lines_ = None
        if self.intervals is not None:
            label = "95 % of bootstrap samples"
            self.interval_lines_ = ax.vlines(x, *self.intervals.T, color=NORMAL, linewidth=2, alpha=0.6, label=label)
        self.points_ = ax.plot(x, self.aurocs, "o", color=NORMAL)[0]
        self.chance_line_ = ax.axhline(0.5, color=REFERENCE, linestyle="--", linewidth=1, label="chance")
        above = {"textcoords": "offset points", "ha": "center", "fontsize": "small"}
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        self.texts_ = [
            ax.annotate(f"{auroc:.3f}", (place, top), (0, 6), bbox=paper, **above)
            for place, auroc, top in zip(x, self.aurocs, bounds.max(axis=1), strict=True)
        ]
        low = min(0.5, bounds.min())
        ax.set(xlim=(-0.6, n_bars - 0.4), ylim=(low - 0.04 * (1 - low), 1 + 0.1 * (1 - low)), ylabel="AUROC of images")
        _name_ticks(ax, self.names)
        self.legend_ = place_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _read_distances(estimator, X):
    """Return the distances of each level, asking the detector within a threshold where that has no ``transform``."""
    detector = estimator
    if not hasattr(estimator, "transform"):
        detector, X = reach_last_step(estimator, X)
        check_is_fitted(detector)
        detector = getattr(detector, "estimator_", detector)
    if not hasattr(detector, "transform"):
        raise TypeError(
            f"{detector!r} has no transform that gives the distance of each level. Pass a fitted pipeline up to its "
            "MahalanobisDetector, as pipe[:-1] where FPRThreshold is the last step."
        )
    return detector.transform(X)


def _check_both(y):
    y = check_labels(y)
    if len(set(y.tolist())) < 2:
        raise ValueError(
            f"An AUROC needs both normal (+1) and anomalous (-1) images; y holds {sorted(set(y.tolist()))}."
        )
    return y


def _check_distances(distances, n_samples):
    """Return the name of each column, and the distances as float64."""
    refuse_masked("distances", distances)
    values = np.asarray(distances, dtype=np.float64)
    if values.ndim != 2 or len(values) != n_samples:
        raise ValueError(f"distances must have shape (n_samples, n_levels) with {n_samples} rows; got {values.shape}.")
    columns = [str(name) for name in getattr(distances, "columns", range(values.shape[1]))]
    groups = group_columns(columns, len(columns))
    if "" not in groups and len(groups) < len(columns):
        raise ValueError(
            f"There are {len(columns)} columns for {len(groups)} levels: are they features? Distances have one column "
            "a level, as MahalanobisDetector().transform(X) gives them."
        )
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"distances hold {values[row, column]:.6g} in row {row}, column {columns[column]!r}; they must be finite "
            "and not negative. Scores have the other sign; rows of bad images must be left out."
        )
    return (columns if "" in groups else list(groups)), values


def _bootstrap(y, values, n_bootstraps, random_state):
    """Return the 95 % interval of each column's area, of shape (n_columns, 2).

    An area is the mean rank of the anomalous images, shifted and scaled; ranking all columns at once is ten times
    faster than ``roc_auc_score``.
    """
    random = check_random_state(random_state)
    normal, anomalous = values[y == 1], values[y == -1]
    n, m = len(normal), len(anomalous)
    areas = []
    for _ in range(n_bootstraps):
        ranks = rankdata(np.vstack([anomalous[random.randint(m, size=m)], normal[random.randint(n, size=n)]]), axis=0)
        areas.append((ranks[:m].mean(axis=0) - (m + 1) / 2) / n)
    return np.quantile(areas, [0.025, 0.975], axis=0).T


def _name_ticks(ax, names):
    """Write the numbers of plain levels, and whole names else."""
    levels = [name for name in names if name != "sum"]
    plain = all(name.startswith("level") and name[5:].isdigit() for name in levels)
    short = [str(level_number(name)) if plain and name != "sum" else name for name in names]
    tilt = {"rotation": 30, "ha": "right"} if max(map(len, short)) > 6 else {}
    ax.set_xticks(range(len(names)), short, **tilt)
    ax.set_xlabel("level" if plain else "")
