"""Which false-positive rate to ask for: what each of them may bring, and what it finds, before one is chosen."""

import numpy as np

from .._conventions._labels import check_labels
from ._axes import ANOMALOUS, NORMAL, REFERENCE, check_axes, load_pyplot, make_axes, place_legend
from ._numbers import refuse_masked
from ._steps import last_step, reach_last_step

_AXES = "an Axes for a curve without true-positive rates, an array of two with them"


class FPRCurveDisplay:
    """The false-positive rates that may come, and the share of anomalies found, against the rate asked for.

    `from_estimator` and `from_curve` make one and draw it. The parameters are kept as attributes.

    Parameters
    ----------
    thresholds : array-like of shape (n_thresholds,)
        Scores below which an image is called anomalous, ascending.
    fpr : array-like of shape (n_thresholds,)
        The rate to ask for that gives each of them, in (0, 1], ascending: what comes on average.
    low, high : array-like of shape (n_thresholds,)
        Where the rates lie, all at once. NaN draws no band.
    coverage : float, default=0.95
        The probability that they do.
    tpr : array-like of shape (n_thresholds,), default=None
        The share of the anomalous images that each threshold finds; None draws none.
    n_anomalous : int, default=None
        The number of these images.
    threshold : float, default=None
        The threshold in use, an estimator's ``offset_``, which is marked; None marks none.

    Attributes
    ----------
    line_ : Line2D
        The rate that comes on average.
    band_ : PolyCollection or None
        Between `low` and `high`.
    tpr_line_ : Line2D or None
        The share of anomalous images found.
    threshold_lines_ : list of Line2D
        Where the threshold in use lies, in each axes. Empty without one.
    legend_ : Legend
    ax_ : Axes, or ndarray of two Axes with true-positive rates
    figure_ : Figure

    Raises
    ------
    ValueError
        If `thresholds`, `fpr`, `low`, `high` and `tpr` differ in length or are empty, `thresholds` or `fpr` do not
        ascend, or `threshold` lies above all of the thresholds.

    See Also
    --------
    FPRCalibrationDisplay : Whether the rates asked for come, on held-out normal images.

    Notes
    -----
    The band holds for all thresholds at once, so that one may be chosen after looking: take the largest rate to ask for
    whose band stays below what can be borne. It is exact for split calibration on independent images whose scores do
    not tie, and nominal elsewhere. The false-positive axes are logarithmic, for rates of 0.001, and end at a tenth of
    the smallest rate that can be asked for; a band may go on below. The share of anomalies found is that of the images
    given, and has no band; an image that helped to choose a rate says nothing more about it.

    Examples
    --------
    >>> from skgad.plotting import FPRCurveDisplay
    >>> curve = [-3.0, -2.0, -1.0], [0.25, 0.5, 0.75], [0.003, 0.059, 0.21], [0.79, 0.94, 0.997]
    >>> display = FPRCurveDisplay.from_curve(curve, [1, -1, -1], [-0.5, -1.5, -4.0], threshold=-2.0, max_fpr=1)
    >>> display.tpr.tolist()
    [0.5, 0.5, 1.0]
    >>> print(display.threshold_lines_[0].get_label())
    threshold -2: 0.5 asked for, 0.059 to 0.94 may come
    """

    def __init__(self, *, thresholds, fpr, low, high, coverage=0.95, tpr=None, n_anomalous=None, threshold=None):
        self.thresholds = thresholds
        self.fpr = fpr
        self.low = low
        self.high = high
        self.coverage = coverage
        self.tpr = tpr
        self.n_anomalous = n_anomalous
        self.threshold = threshold
        _check_curve({"thresholds": thresholds, "fpr": fpr, "low": low, "high": high, "tpr": tpr}, threshold)

    @classmethod
    def from_estimator(cls, estimator, X=None, y=None, *, coverage=0.95, max_fpr=0.2, ax=None):
        """Take the rates of a calibrated detector, score held-out images where they are given, and draw.

        Parameters
        ----------
        estimator : fitted detector, or a pipeline that ends in one
            With ``rate_curve``, which gives the four arrays of `from_curve`.
        X : its input, of length n_samples, default=None
            Images that it has not seen, some of them anomalous.
        y : array-like of shape (n_samples,), default=None
            +1 for normal images, -1 for anomalous ones. Comes with `X`.
        coverage : float, default=0.95
            The probability that all rates lie within the band.
        max_fpr, ax
            As of `plot`.

        Returns
        -------
        FPRCurveDisplay

        Raises
        ------
        ValueError
            As `from_curve` does.
        TypeError
            If `estimator` has no ``rate_curve``.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        y = _check_pair("X", X, y)  # before the network runs
        detector = last_step(estimator)
        if not hasattr(detector, "rate_curve"):
            raise TypeError(
                f"{detector!r} has no rate_curve. Calibrate it: FPRThresholdCV(FrozenEstimator(detector)).fit(normal), "
                "on images that it has not learnt."
            )
        curve = detector.rate_curve(coverage=coverage)
        scores = None if X is None else detector.score_samples(reach_last_step(estimator, X)[1])
        return cls.from_curve(curve, y, scores, coverage=coverage, threshold=detector.offset_, max_fpr=max_fpr, ax=ax)

    @classmethod
    def from_curve(cls, curve, y=None, scores=None, *, coverage=0.95, threshold=None, max_fpr=0.2, ax=None):
        """Draw the rates of a calibration.

        Parameters
        ----------
        curve : tuple of four array-likes of shape (n_thresholds,)
            ``thresholds, fpr, low, high``, as the parameters of this class.
        y : array-like of shape (n_samples,), default=None
            +1 for normal images, -1 for anomalous ones, which are held out. Comes with `scores`.
        scores : array-like of shape (n_samples,), default=None
            Their scores: higher is more normal.
        coverage : float, default=0.95
            The probability that all rates lie within the band.
        threshold : float, default=None
            The threshold in use.
        max_fpr, ax
            As of `plot`.

        Returns
        -------
        FPRCurveDisplay

        Raises
        ------
        ValueError
            If the arrays of `curve` are not as wanted; `y` and `scores` do not come together, differ in length, or `y`
            holds anything but +1 and -1, or no -1; a score is NaN.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_curve")
        thresholds, fpr, low, high = (np.asarray(values, dtype=np.float64) for values in curve)
        y = _check_pair("scores", scores, y)
        tpr, n_anomalous = (None, None) if y is None else _find_tpr(thresholds, scores, y)
        display = cls(
            thresholds=thresholds,
            fpr=fpr,
            low=low,
            high=high,
            coverage=coverage,
            tpr=tpr,
            n_anomalous=n_anomalous,
            threshold=threshold,
        )
        return display.plot(ax, max_fpr=max_fpr)

    def plot(self, ax=None, *, max_fpr=0.2):
        """Draw the rates, and below them the share of anomalous images found, where that is known.

        Parameters
        ----------
        ax : Axes, or array of two Axes with true-positive rates, default=None
            Where to draw; None makes a figure.
        max_fpr : float in (0, 1], default=0.2
            Where the rates asked for end. More than 0.2 is asked for by hardly anyone.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `max_fpr` does not lie in (0, 1] and above the smallest rate, or the number of axes is another one.
        DependencyError
            If matplotlib is not installed.
        """
        if not self.fpr[0] < max_fpr <= 1:
            raise ValueError(
                f"max_fpr must lie above the smallest rate that can be asked for, {self.fpr[0]:.3g}, and be at most 1; "
                f"got {max_fpr!r}."
            )
        n_axes = 1 if self.tpr is None else 2
        size = {"figsize": (6, 4.4 if n_axes == 1 else 6.4), "height_ratios": [3, 2][:n_axes]}
        ax = make_axes(f"{type(self).__name__}.plot", ax, nrows=n_axes, sharex=True, **size)
        axes = check_axes(ax, n_axes, _AXES)
        self._draw_rates(axes[0], max_fpr)
        self.tpr_line_ = None if self.tpr is None else self._draw_tpr(axes[1])
        self.threshold_lines_ = [] if self.threshold is None else self._draw_threshold(axes)
        for one in axes:
            one.set(xscale="log", xlim=(self.fpr[0], max_fpr))
            _write_plain_ticks(one.xaxis)
        axes[-1].set_xlabel("false-positive rate asked for")
        self.legend_ = place_legend(axes[0])
        self.ax_, self.figure_ = ax, axes[0].figure
        return self

    def _draw_rates(self, ax, max_fpr):
        shown = np.asarray(self.fpr) <= max_fpr
        self.band_ = None
        top = max_fpr
        if not np.isnan(self.high).any():
            top = np.max(np.asarray(self.high)[shown])
            label = f"{100 * self.coverage:g} % band around all rates at once"
            self.band_ = ax.fill_between(
                self.fpr, self.low, self.high, step="post", color=NORMAL, alpha=0.2, linewidth=0, label=label
            )
        self.line_ = ax.step(self.fpr, self.fpr, where="post", color=NORMAL, label="what comes on average")[0]
        ax.set(yscale="log", ylim=(self.fpr[0] / 10, top), ylabel="false-positive rate")
        _write_plain_ticks(ax.yaxis)

    def _draw_tpr(self, ax):
        count = "" if self.n_anomalous is None else f"{self.n_anomalous} "
        ax.set(ylim=(0, 1.02), ylabel=f"share of {count}anomalies found")
        return ax.step(self.fpr, self.tpr, where="post", color=ANOMALOUS)[0]

    def _draw_threshold(self, axes):
        at = np.searchsorted(self.thresholds, self.threshold)
        fpr, low, high = (values[at] for values in (self.fpr, self.low, self.high))
        comes = (
            "" if np.isnan(high) else f", {low:.2g} to {high:.2g} may come" if low else f", at most {high:.2g} comes"
        )
        label = f"threshold {self.threshold:.3g}: {fpr:.2g} asked for{comes}"
        return [ax.axvline(fpr, color=REFERENCE, linestyle="--", linewidth=1, label=label) for ax in axes]


def _check_curve(arrays, threshold):
    """Raise ValueError unless the arrays are of one length, and those that rank the others ascend."""
    lengths = {name: np.shape(values) for name, values in arrays.items() if values is not None}
    if len(set(lengths.values())) > 1 or len(lengths["fpr"]) != 1 or lengths["fpr"] == (0,):
        raise ValueError(
            f"A curve has one value for each threshold, of which there is at least one; got shapes {lengths}."
        )
    for name in ("thresholds", "fpr"):
        if not (np.diff(arrays[name]) > 0).all() or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} must be finite and ascend, without repetition.")
    if not 0 < arrays["fpr"][0] <= arrays["fpr"][-1] <= 1:
        raise ValueError(f"fpr must lie in (0, 1]; got {arrays['fpr'][0]!r} to {arrays['fpr'][-1]!r}.")
    if threshold is not None and not threshold <= arrays["thresholds"][-1]:
        raise ValueError(
            f"threshold={threshold!r} is none of this curve: the highest of them is {arrays['thresholds'][-1]!r}."
        )


def _check_pair(name, values, y):
    """Return the labels, or None without; raise ValueError unless both are there, with an anomaly, or none."""
    if (values is None) != (y is None):
        raise ValueError(f"{name} and y come together: the share of anomalies found takes images and their labels.")
    refuse_masked(name, values)
    y = None if y is None else check_labels(y)
    if y is not None and not (y == -1).any():
        raise ValueError(f"Every label in y is +1 (normal): leave out y and {name}, or add anomalous images, at -1.")
    return y


def _find_tpr(thresholds, scores, y):
    """Return the share of the anomalous images with a score below each threshold, and their number."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != y.shape:
        raise ValueError(f"There are {len(y)} labels in y, but scores have shape {scores.shape}; give one each.")
    if np.isnan(scores).any():
        raise ValueError(
            f"scores[{np.argmax(np.isnan(scores))}] is NaN; every image needs a score, or must be left out."
        )
    anomalous = np.sort(scores[y == -1])
    return np.searchsorted(anomalous, thresholds) / len(anomalous), len(anomalous)


def _write_plain_ticks(axis):
    """Write 0.02 for a rate, not a power of ten, at steps that a reader can read between."""
    from matplotlib.ticker import LogLocator, NullFormatter

    start, end = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if end < 1000 * start else (1,)))
    axis.set_major_formatter(lambda rate, _: f"{rate:g}")
    axis.set_minor_formatter(NullFormatter())
