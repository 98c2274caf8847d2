"""What every detector does with its scores: scikit-learn's sign, once."""

import numpy as np
from sklearn.base import OutlierMixin


class ScoredOutlierMixin(OutlierMixin):
    """Decisions from ``score_samples`` and ``offset_``."""

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
        """
        decision = self.decision_function(X)
        if np.isnan(decision).any():
            rows = ", ".join(map(str, np.flatnonzero(np.isnan(decision))[:10]))
            raise ValueError(f"Images {rows} have no score, so they are neither normal nor anomalous; leave them out.")
        return np.where(decision < 0, -1, 1)

    def fit_predict(self, X, y=None):
        """Fit on the normal images and return the labels of all: ``fit(X, y).predict(X)``.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            As `fit` takes it.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        ndarray of int of shape (n_samples,)
        """
        return self.fit(X, y).predict(X)
