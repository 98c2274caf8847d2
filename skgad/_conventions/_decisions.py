"""What every detector does with its scores: scikit-learn's sign, once."""

import numpy as np
from sklearn.base import OutlierMixin

from ..exceptions import WorkingPointWarning
from ._warnings import warn


class ScoredOutlierMixin(OutlierMixin):
    """Decisions from ``score_samples`` and ``offset_``.

    A detector that knows at its fit why ``offset_`` will not hold the rate that was asked for keeps the sentence in
    ``_doubt``. It is voiced where the threshold is used, in `predict`, and not where scores are ranked, or another
    threshold is set on them.
    """

    _doubt = ""

    def decision_function(self, X):
        """Return ``score_samples(X) - offset_``: negative is anomalous.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            As `fit` takes it.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return +1 for normal and -1 for anomalous images.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            As `fit` takes it.

        Returns
        -------
        ndarray of int of shape (n_samples,)

        Raises
        ------
        ValueError
            If an image has no score.

        Warns
        -----
        WorkingPointWarning
            If the threshold is known not to hold the false-positive rate that was asked for.
        """
        return self._decide(self.decision_function(X))

    def _decide(self, decision):
        """Return the labels of images by their `decision_function`."""
        if np.isnan(decision).any():
            rows = ", ".join(map(str, np.flatnonzero(np.isnan(decision))[:10]))
            raise ValueError(f"Images {rows} have no score, so they are neither normal nor anomalous; leave them out.")
        if self._doubt:
            warn(self._doubt, WorkingPointWarning)
        return np.where(decision < 0, -1, 1)

    def fit_predict(self, X, y=None, **fit_params):
        """Fit on the normal images and return the labels of all: ``fit(X, y).predict(X)``.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            As `fit` takes it.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.
        **fit_params : dict
            What else `fit` takes, such as ``groups``.

        Returns
        -------
        ndarray of int of shape (n_samples,)
        """
        return self.fit(X, y, **fit_params).predict(X)
