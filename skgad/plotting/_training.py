"""How a training went: loss and criterion, epoch by epoch, and the state that was kept."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._axes import ANOMALOUS, NORMAL, REFERENCE, check_axes, load_pyplot, place_legend

_COLUMNS = ["epoch", "loss", "criterion", "kept"]


class TrainingDisplay:
    """Loss and criterion of a `FineTuner`, epoch by epoch.

    `from_estimator` and `from_history` make one and draw it. The parameter is kept as an attribute.

    Parameters
    ----------
    history : DataFrame
        ``history_`` of a `FineTuner`: a row for each epoch, with ``epoch``, ``loss``, ``criterion`` and ``kept``.

    Attributes
    ----------
    loss_ : Line2D
        Mean loss over the training images, from epoch 1 on.
    criterion_ : Line2D or None
        Of the validation, from epoch 0, the frozen network, on; None without validation.
    kept_lines_ : list of Line2D
        The epoch whose state was kept, in each axes.
    legend_ : Legend
    ax_ : Axes, or ndarray of two Axes with a criterion
    figure_ : Figure

    Raises
    ------
    ValueError
        If `history` lacks a column.

    See Also
    --------
    skgad.deep.FineTuner : What it shows.

    Examples
    --------
    >>> import pandas as pd
    >>> from skgad.plotting import TrainingDisplay
    >>> history = pd.DataFrame(
    ...     {"epoch": [0, 1], "loss": [float("nan"), 21.0], "criterion": [0.84, 0.86], "kept": [False, True]}
    ... )
    >>> TrainingDisplay.from_history(history).criterion_.get_ydata().tolist()
    [0.84, 0.86]
    """

    def __init__(self, history):
        missing = [name for name in _COLUMNS if name not in getattr(history, "columns", ())]
        if missing:
            raise ValueError(f"history must be the history_ of a FineTuner; it has no {', '.join(missing)}.")
        self.history = history

    @classmethod
    def from_estimator(cls, tuner, *, ax=None):
        """Draw how the training of a fitted `FineTuner` went.

        Parameters
        ----------
        tuner : FineTuner
        ax : array-like of two Axes, default=None
            Where to draw: loss, and criterion; of one without validation. None makes a figure.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        TypeError
            If `tuner` has no ``history_``.
        NotFittedError
            If it is not fitted.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(tuner)
        if not hasattr(tuner, "history_"):
            raise TypeError(f"{tuner!r} has no history_: pass a FineTuner.")
        return cls(tuner.history_).plot(ax)

    @classmethod
    def from_history(cls, history, *, ax=None):
        """Draw a history.

        Parameters
        ----------
        history
            As of the class.
        ax
            As of `from_estimator`.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        ValueError
            If `history` lacks a column.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_history")
        return cls(history).plot(ax)

    def plot(self, ax=None):
        """Draw the lines.

        Parameters
        ----------
        ax
            As of `from_estimator`.

        Returns
        -------
        self
        """
        plt = load_pyplot(f"{type(self).__name__}.plot")
        table = self.history
        examined = bool(table["criterion"].notna().any())
        if ax is None:
            size = (5.5, 4.4 if examined else 2.8)
            ax = plt.subplots(1 + examined, 1, sharex=True, figsize=size, layout="constrained", squeeze=False)[1]
        axes = check_axes(ax, 1 + examined, "an axes for the loss, and one for the criterion of a validation")
        kept = table.loc[table["kept"].to_numpy(bool), "epoch"]
        later = table["epoch"] > 0
        style = {"marker": "o", "markersize": 3}
        self.loss_ = axes[0].plot(table["epoch"][later], table["loss"][later], color=ANOMALOUS, **style)[0]
        axes[0].set_ylabel("loss")
        self.criterion_ = None
        if examined:
            self.criterion_ = axes[1].plot(table["epoch"], table["criterion"], color=NORMAL, **style)[0]
            axes[1].set_ylabel("criterion")
        axes[-1].set_xlabel("epoch (0: the frozen network)")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        label = f"kept: epoch {kept.iloc[0]}" if len(kept) else None
        line = {"color": REFERENCE, "linestyle": "--", "linewidth": 1, "label": label}
        self.kept_lines_ = [one.axvline(epoch, **line) for one in axes for epoch in kept]
        self.legend_ = place_legend(axes[0])
        self.ax_ = axes[0] if len(axes) == 1 else np.asarray(axes)
        self.figure_ = axes[0].figure
        return self
