"""Histograms of the scores of normal and anomalous images, with the threshold that parts them."""

import numpy as np

from .._conventions._labels import check_labels
from ._axes import ANOMALOUS, NORMAL, load_pyplot, make_axes, place_legend
from ._numbers import refuse_masked
from ._steps import last_step


class ScoreHistogramDisplay:
    """Histograms of the scores of normal and anomalous images on common bins, with the threshold.

    `from_estimator` and `from_predictions` make one and draw it. The parameters are kept as attributes.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        As of ``score_samples``: higher is more normal.
    y : array-like of shape (n_samples,) or None, default=None
        +1 for normal images, -1 for anomalous ones; None for one histogram of all.
    threshold : float, default=None
        The score below which an image is called anomalous, an estimator's ``offset_``. None draws none.

    Attributes
    ----------
    normal_bars_, anomalous_bars_, all_bars_ : BarContainer or None
        The bars of each histogram: the last without `y`, the others with it; None where there are no such images.
    bin_edges_ : ndarray of shape (n_bins + 1,)
        Of all histograms.
    threshold_line_ : Line2D or None
    legend_ : Legend
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        If a score or `threshold` is not finite, `y` holds anything but +1 and -1, or the two differ in length.

    See Also
    --------
    FPRCalibrationDisplay : Whether the threshold reaches its rate.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import FPRThresholdCV, MahalanobisDetector
    >>> from skgad.plotting import ScoreHistogramDisplay
    >>> rng = np.random.default_rng(0)
    >>> detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(rng.normal(size=(200, 3)))
    >>> X, y = np.vstack([rng.normal(size=(50, 3)), 2 + rng.normal(size=(10, 3))]), np.repeat([1, -1], [50, 10])
    >>> display = ScoreHistogramDisplay.from_estimator(detector, X, y)
    >>> print(display.threshold_line_.get_label())
    threshold -2.65: 1 false alarm, 0 misses
    """

    def __init__(self, scores, y=None, *, threshold=None):
        self.scores = _check_scores(scores)
        self.y = None if y is None else check_labels(y)
        if self.y is not None and len(self.y) != len(self.scores):
            raise ValueError(f"There are {len(self.scores)} scores but {len(self.y)} labels in y; give one each.")
        if threshold is not None and not np.isfinite(threshold):
            raise ValueError(f"threshold must be a finite score, or None to draw none; got {threshold!r}.")
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, threshold=None, bins=30, density=False, ax=None):
        """Score images by a fitted detector, and draw the histograms.

        Parameters
        ----------
        estimator : fitted detector, or a pipeline that ends in one
            With ``score_samples``.
        X : its input, of length n_samples
            Images that it has not learnt: those that it has score higher than new ones.
        y
            As of `from_predictions`.
        threshold : float, default=None
            None takes ``offset_`` of the detector, and draws none if it has none.
        bins, density, ax
            As of `from_predictions`.

        Returns
        -------
        ScoreHistogramDisplay

        Raises
        ------
        ValueError
            As `from_predictions` does.
        TypeError
            If `estimator` has no ``score_samples``.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        if not hasattr(estimator, "score_samples"):
            raise TypeError(
                f"{estimator!r} has no score_samples. Pass a detector, or scores of your own (higher = more normal) to "
                f"{cls.__name__}.from_predictions."
            )
        y = None if y is None else check_labels(y)  # before the network runs
        scores = estimator.score_samples(X)
        threshold = getattr(last_step(estimator), "offset_", None) if threshold is None else threshold
        return cls(scores, y, threshold=threshold).plot(ax, bins=bins, density=density)

    @classmethod
    def from_predictions(cls, y, scores, *, threshold=None, bins=30, density=False, ax=None):
        """Draw the histograms of scores.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or None
            +1 for normal images, -1 for anomalous ones; None for one histogram of all.
        scores : array-like of shape (n_samples,)
            As of ``score_samples``: higher is more normal.
        threshold : float, default=None
            The score below which an image is called anomalous. None draws none.
        bins : int, str or array-like, default=30
            As of ``numpy.histogram_bin_edges``, over all scores.
        density : bool, default=False
            Whether each histogram has area 1, for few anomalous images among many normal ones.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ScoreHistogramDisplay

        Raises
        ------
        ValueError
            If a score or `threshold` is not finite, `y` holds anything but +1 and -1, or the two differ in length.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_predictions")
        return cls(scores, y, threshold=threshold).plot(ax, bins=bins, density=density)

    def plot(self, ax=None, *, bins=30, density=False):
        """Draw the histograms.

        Parameters
        ----------
        ax, bins, density
            As of `from_predictions`.

        Returns
        -------
        self
        """
        ax = make_axes(f"{type(self).__name__}.plot", ax)
        self.bin_edges_ = np.histogram_bin_edges(self.scores, bins)
        y = np.zeros(len(self.scores), dtype=int) if self.y is None else self.y  # 0: not labelled
        self.all_bars_ = self._draw_bars(ax, y == 0, "all images", density, color=NORMAL)
        self.normal_bars_ = self._draw_bars(ax, y == 1, "normal", density, color=NORMAL)
        self.anomalous_bars_ = self._draw_bars(ax, y == -1, "anomalous", density, color=ANOMALOUS, hatch="///")
        self.threshold_line_ = None
        if self.threshold is not None:
            self.threshold_line_ = ax.axvline(self.threshold, color="black", linestyle="--", label=self._judge())
        ax.set(xlabel="score (higher = more normal)", ylabel="density" if density else "images")
        ax.locator_params(axis="y", integer=not density)
        self.legend_ = place_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_bars(self, ax, rows, name, density, **style):
        """Draw one histogram; None for no images."""
        if not rows.any():
            return None
        label = f"{name} (n = {rows.sum()})"
        return ax.hist(
            self.scores[rows], self.bin_edges_, density=density, label=label, alpha=0.6, edgecolor="white", **style
        )[2]

    def _judge(self):
        """Return what the threshold makes of the images, in words."""
        called = self.scores < self.threshold
        label = f"threshold {self.threshold:.3g}: "
        if self.y is None:
            return f"{label}{called.sum()} of {len(called)} called anomalous"
        false_alarms, misses = (called & (self.y == 1)).sum(), (~called & (self.y == -1)).sum()
        return label + ", ".join(
            f"{count} {one if count == 1 else many}"
            for count, one, many in [(false_alarms, "false alarm", "false alarms"), (misses, "miss", "misses")]
        )


def _check_scores(scores):
    refuse_masked("scores", scores)
    scores = np.asarray(scores)
    if scores.ndim != 1 or not scores.size or scores.dtype.kind not in "iuf":
        raise ValueError(f"scores must be numbers of shape (n_samples,); got shape {scores.shape} of {scores.dtype}.")
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise ValueError(f"scores[{row}] is {scores[row]}; every image needs a finite score, or must be left out.")
    return scores
