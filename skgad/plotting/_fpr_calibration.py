r"""Whether the rate of false alarms that was asked for is the one that comes, on normal images that were held out.

With n calibration images, a threshold aimed at k/(n + 1) reaches a rate that follows Beta(k, n + 1 - k); among m
further images the false alarms then follow the beta-binomial law of m, k and n + 1 - k.
"""

import numpy as np
from scipy.stats import betabinom

from .._conventions._labels import check_labels
from ._axes import NORMAL, REFERENCE, load_pyplot, make_axes, place_legend
from ._numbers import refuse_masked
from ._steps import reach_last_step

_MOST_TARGETS = 200


class FPRCalibrationDisplay:
    """The false-positive rate reached on held-out normal images, against the rate asked for.

    `from_estimator` and `from_predictions` make one and draw it. The parameters are kept as attributes.

    Parameters
    ----------
    targets : array-like of shape (n_targets,)
        The rates asked for, ascending.
    rates : array-like of shape (n_targets,)
        The share of the held-out normal images that are called anomalous at each of them.
    low, high : array-like of shape (n_targets,)
        Where 95 of 100 such shares lie.
    n_calibration : int
        The number of calibration images.
    n_heldout : int
        The number of held-out normal images.

    Attributes
    ----------
    line_ : Line2D
        The rates reached.
    band_ : PolyCollection
        Between `low` and `high`.
    diagonal_ : Line2D
        Where the rate reached is the one asked for.
    legend_ : Legend
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    skgad.FPRThresholdCV : The threshold that is judged here.
    sklearn.calibration.CalibrationDisplay : The same idea for the probabilities of classifiers.

    Notes
    -----
    *What the band holds.* For each target k/(n+1), the central 95 % of the beta-binomial law of the share of false
    alarms among m held-out images. Two draws are in it: that of the n calibration images, which puts the rate at
    Beta(k, n+1-k), and that of the m held-out ones. It is exact for split calibration on i.i.d. continuous scores, and
    nominal elsewhere: for folds with a refit, and for groups, of which it takes the number for n, while photographs of
    one part among the held-out images add noise that it does not know. It is pointwise: neighbouring targets share
    the images, so that a curve that leaves it at all leaves it over a stretch, and over all targets more than 5 of 100
    curves do.

    The curve is drawn at the targets k/(n+1) that a calibration of n images can tell apart; of many, at 200 at most,
    which lie closest where rates are small.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import FPRThresholdCV, MahalanobisDetector
    >>> from skgad.plotting import FPRCalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> detector = FPRThresholdCV(MahalanobisDetector()).fit(rng.normal(size=(199, 3)))
    >>> display = FPRCalibrationDisplay.from_estimator(detector, rng.normal(size=(500, 3)))
    >>> at = np.argmin(abs(display.targets - 0.1))
    >>> rates = [display.targets[at], display.rates[at], display.low[at], display.high[at]]
    >>> [round(float(rate), 3) for rate in rates]
    [0.1, 0.122, 0.056, 0.154]
    """

    def __init__(self, *, targets, rates, low, high, n_calibration, n_heldout):
        self.targets = targets
        self.rates = rates
        self.low = low
        self.high = high
        self.n_calibration = n_calibration
        self.n_heldout = n_heldout

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, max_fpr=0.2, log=False, ax=None):
        """Take the p-values of held-out normal images by a fitted `FPRThresholdCV`, and draw the rates.

        Parameters
        ----------
        estimator : fitted FPRThresholdCV, or a pipeline that ends in one
        X : its input, of length n_samples
            Images that it has not seen; those that it was fitted on would look too good.
        y : array-like of shape (n_samples,), default=None
            +1 for normal images, -1 for anomalous ones, which are left out. None if all are normal.
        max_fpr, log, ax
            As of `plot`.

        Returns
        -------
        FPRCalibrationDisplay

        Raises
        ------
        ValueError
            If `y` holds anything but +1 and -1, or no +1.
        TypeError
            If `estimator` gives no p-values.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        y = None if y is None else check_labels(y)
        detector, X = reach_last_step(estimator, X)
        if not hasattr(detector, "p_values"):
            raise TypeError(
                f"{detector!r} gives no p-values. Calibrate it: FPRThresholdCV(FrozenEstimator(detector)).fit(normal), "
                "on images that it has not learnt."
            )
        p_values = detector.p_values(X)
        if y is not None:
            p_values = _keep_normal(p_values, y)
        return cls.from_predictions(p_values, detector.n_groups_, max_fpr=max_fpr, log=log, ax=ax)

    @classmethod
    def from_predictions(cls, p_values, n_calibration, *, max_fpr=0.2, log=False, ax=None):
        """Draw the rates from the p-values of held-out normal images.

        Parameters
        ----------
        p_values : array-like of shape (n_heldout,)
            In (0, 1]: an image is called anomalous at a target rate if its p-value is at most that.
        n_calibration : int
            How many images the p-values were calibrated on.
        max_fpr, log, ax
            As of `plot`.

        Returns
        -------
        FPRCalibrationDisplay

        Raises
        ------
        ValueError
            If a p-value does not lie in (0, 1], there is none, or `n_calibration` is not positive.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_predictions")
        p_values = np.sort(_check_p_values(p_values))
        if not isinstance(n_calibration, (int, np.integer)) or n_calibration < 1:
            raise ValueError(f"n_calibration must be a number of images from 1 on; got {n_calibration!r}.")
        ranks = _choose_ranks(n_calibration)
        targets = ranks / (n_calibration + 1)
        rates = np.searchsorted(p_values, targets, side="right") / len(p_values)
        low, high = _band(ranks, n_calibration, len(p_values))
        display = cls(
            targets=targets, rates=rates, low=low, high=high, n_calibration=n_calibration, n_heldout=len(p_values)
        )
        return display.plot(ax, max_fpr=max_fpr, log=log)

    def plot(self, ax=None, *, max_fpr=0.2, log=False):
        """Draw the rates.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.
        max_fpr : float in (0, 1], default=0.2
            Where the axes end. Rates above 0.2 are asked for by hardly anyone.
        log : bool, default=False
            Whether both axes are logarithmic, for rates of 0.001. A share of 0 lies below such axes.

        Returns
        -------
        self
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr must be a share in (0, 1]; got {max_fpr!r}.")
        ax = make_axes(f"{type(self).__name__}.plot", ax, figsize=(4.8, 4.8))
        scale, start = ("log", self._smallest_rate()) if log else ("linear", 0)
        if start >= max_fpr:
            raise ValueError(
                f"max_fpr={max_fpr} lies below the rates that can be told apart; give more than {start:.2g}."
            )
        ax.set(xscale=scale, yscale=scale, xlim=(start, max_fpr), ylim=(start, max_fpr), aspect="equal")
        self.diagonal_ = ax.plot([start, 1], [start, 1], "--", color=REFERENCE, linewidth=1, label="as asked for")[0]
        self.band_ = ax.fill_between(
            self.targets, self.low, self.high, step="post", color=NORMAL, alpha=0.2, linewidth=0, label=self._describe()
        )
        label = f"{self.n_heldout} normal images, held out"
        self.line_ = ax.step(self.targets, self.rates, where="post", color=NORMAL, label=label)[0]
        if not log:
            ax.locator_params(nbins=5)
        ax.set(xlabel="false-positive rate asked for", ylabel="rate reached")
        self.legend_ = place_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _describe(self):
        return f"95 % of split calibrations on {self.n_calibration} images"

    def _smallest_rate(self):
        """Return where logarithmic axes begin: at half the smallest rate that these numbers of images can show."""
        return 0.5 * min(1 / (self.n_calibration + 1), 1 / self.n_heldout)


def _keep_normal(p_values, y):
    if len(y) != len(p_values):
        raise ValueError(f"X has {len(p_values)} samples but y {len(y)} labels; give one each.")
    if not (y == 1).any():
        raise ValueError("Every label in y is -1 (anomalous); false alarms are counted among normal images, at +1.")
    return p_values[y == 1]


def _check_p_values(p_values):
    refuse_masked("p_values", p_values)
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or not p_values.size:
        raise ValueError(f"p_values must have shape (n_heldout,), with one image at least; got shape {p_values.shape}.")
    good = (p_values > 0) & (p_values <= 1)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"p_values[{row}] is {p_values[row]}; p-values lie in (0, 1], as FPRThresholdCV.p_values gives."
        )
    return p_values


def _choose_ranks(n_calibration):
    """Return k of the targets k/(n + 1): all of them, or of many some that are dense where rates are small."""
    if n_calibration <= _MOST_TARGETS:
        return np.arange(1, n_calibration + 1)
    return np.unique(np.geomspace(1, n_calibration, _MOST_TARGETS).round().astype(int))


def _band(ranks, n_calibration, n_heldout):
    """Return the central 95 % of the beta-binomial law of the share of false alarms, for each rank."""
    counts = np.arange(n_heldout + 1)
    cumulated = [betabinom(n_heldout, k, n_calibration + 1 - k).pmf(counts).cumsum() for k in ranks]
    low, high = ([np.searchsorted(law, share) for law in cumulated] for share in (0.025, 0.975))
    return np.array(low) / n_heldout, np.minimum(high, n_heldout) / n_heldout
