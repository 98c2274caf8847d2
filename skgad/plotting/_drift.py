"""A line over time: the evidence that its photographs have changed, and which levels moved."""

import numpy as np

from ._axes import ANOMALOUS, NORMAL, REFERENCE, check_axes, load_pyplot, place_legend


class DriftDisplay:
    """The test martingale over time, with its alarm, and below how far the mean of each level has moved.

    `from_estimator` and `from_history` make one and draw it. The parameters are kept as attributes.

    Parameters
    ----------
    history : DataFrame
        ``n_seen`` and ``log_value``: ``ConformalTestMartingale.history()``.
    log_threshold : float
        The logarithm at which the alarm is raised: ``log_threshold_``.
    alarm_at : int, default=None
        The number of the image at which it was; None for no alarm.
    change_at : int, default=None
        That at which the change most likely began; drawn where there is an alarm.
    drift : DataFrame, default=None
        ``FeatureDrift.history()``. None draws the martingale alone.

    Attributes
    ----------
    line_ : Line2D
        The martingale, or the Shiryaev-Roberts statistic, as powers of ten.
    threshold_line_ : Line2D
    alarm_line_, change_line_ : Line2D or None
    mesh_ : QuadMesh or None
        How many times as far as by chance each level's mean lies, of each bin of time; over cells, the root mean
        square.
    legend_ : Legend
    ax_ : Axes, or ndarray of two Axes with `drift`
    figure_ : Figure

    Raises
    ------
    ValueError
        If `history` or `drift` lack a column, or `history` is empty.

    See Also
    --------
    skgad.monitoring.LineMonitor : What is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import FPRThresholdCV, MahalanobisDetector
    >>> from skgad.monitoring import LineMonitor
    >>> from skgad.plotting import DriftDisplay
    >>> rng = np.random.default_rng(0)
    >>> line = FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(rng.normal(size=(300, 5)))
    >>> monitor = LineMonitor(line, random_state=0).observe(rng.normal(size=(200, 5)))
    >>> display = DriftDisplay.from_estimator(monitor.observe(rng.normal(size=(100, 5)) + 1))
    >>> print(display.alarm_line_.get_label())
    alarm at image 226
    """

    def __init__(self, *, history, log_threshold, alarm_at=None, change_at=None, drift=None):
        _check_columns("history", history, ("n_seen", "log_value"))
        if not len(history):
            raise ValueError("history is empty: nothing was observed.")
        if drift is not None:
            _check_columns("drift", drift, ("start", "n_samples", "level", "ratio"))
        self.history = history
        self.log_threshold = log_threshold
        self.alarm_at = alarm_at
        self.change_at = change_at
        self.drift = drift

    @classmethod
    def from_estimator(cls, monitor, *, ax=None):
        """Draw what a monitor has observed.

        Parameters
        ----------
        monitor : LineMonitor
        ax : Axes or array of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        DriftDisplay

        Raises
        ------
        TypeError
            If it is no monitor.
        ValueError
            If nothing was observed.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        if not hasattr(monitor, "martingale_"):
            raise TypeError(f"{monitor!r} has no martingale_: pass a LineMonitor.")
        martingale = monitor.martingale_
        return cls.from_history(
            martingale.history(),
            log_threshold=martingale.log_threshold_,
            alarm_at=martingale.alarm_at_,
            change_at=martingale.change_at_,
            drift=None if monitor.drift_ is None else monitor.drift_.history(),
            ax=ax,
        )

    @classmethod
    def from_history(cls, history, *, log_threshold, alarm_at=None, change_at=None, drift=None, ax=None):
        """Draw the history of a martingale, and of the features' means.

        Parameters
        ----------
        history, log_threshold, alarm_at, change_at, drift
            As the parameters of the display.
        ax : Axes or array of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        DriftDisplay

        Raises
        ------
        ValueError
            If `history` or `drift` lack a column, or `history` is empty.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_history")
        display = cls(history=history, log_threshold=log_threshold, alarm_at=alarm_at, change_at=change_at, drift=drift)
        return display.plot(ax)

    def plot(self, ax=None):
        """Draw it.

        Parameters
        ----------
        ax : Axes or array of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        DriftDisplay
        """
        plt = load_pyplot(f"{type(self).__name__}.plot")
        n_axes = 1 if self.drift is None else 2
        if ax is None:
            size = {"figsize": (6.5, 2.2 + 2.4 * (n_axes - 1))}
            ax = plt.subplots(n_axes, sharex=True, squeeze=False, layout="constrained", **size)[1]
        axes = check_axes(ax, n_axes, "an Axes for the martingale alone, an array of two with levels")
        self._draw_martingale(axes[0])
        self.mesh_ = None if self.drift is None else self._draw_levels(axes[1])
        axes[-1].set_xlabel("image")
        self.ax_, self.figure_ = axes if n_axes == 2 else axes[0], axes[0].figure
        return self

    def _draw_martingale(self, ax):
        ten = np.log(10)
        (self.line_,) = ax.plot(self.history["n_seen"], self.history["log_value"] / ten, color=NORMAL, label="evidence")
        label = f"alarm from {np.exp(self.log_threshold):.4g} on"
        self.threshold_line_ = ax.axhline(self.log_threshold / ten, color=REFERENCE, linestyle="--", label=label)
        self.alarm_line_ = self.change_line_ = None
        if self.alarm_at is not None:
            options = {"color": ANOMALOUS, "label": f"alarm at image {self.alarm_at}"}
            self.alarm_line_ = ax.axvline(self.alarm_at, **options)
            if self.change_at is not None:
                options = {"color": ANOMALOUS, "linestyle": ":", "label": f"changed at about {self.change_at}"}
                self.change_line_ = ax.axvline(self.change_at, **options)
        ax.set_ylabel("evidence of a\nchange, powers of ten")
        self.legend_ = place_legend(ax, ncols=2)

    def _draw_levels(self, ax):
        squares = self.drift.assign(square=self.drift["ratio"] ** 2)
        levels = list(dict.fromkeys(self.drift["level"]))
        means = squares.groupby(["level", "start"], sort=False)["square"].mean().unstack("start").loc[levels]
        means = means.sort_index(axis=1)
        widths = self.drift.groupby("start")["n_samples"].first()
        edges = np.append(means.columns.to_numpy(), means.columns[-1] + widths.loc[means.columns[-1]])
        mesh = ax.pcolormesh(edges, np.arange(len(levels) + 1), np.sqrt(means), cmap="viridis", vmin=1)
        ax.set_yticks(np.arange(len(levels)) + 0.5, [level.replace("level", "level ") or "all" for level in levels])
        ax.figure.colorbar(mesh, ax=ax, label="shift, times chance")
        return mesh


def _check_columns(name, frame, columns):
    missing = [column for column in columns if column not in getattr(frame, "columns", ())]
    if missing:
        raise ValueError(
            f"{name} must be a frame with the columns {', '.join(columns)}; it has no {', '.join(missing)}."
        )
