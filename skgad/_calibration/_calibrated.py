"""What a detector answers once its working point is set."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._parameters import read_fpr
from .._conventions._scores import read_scores
from .._conventions._warnings import warn
from ..exceptions import WorkingPointWarning
from ._bands import rate_curve
from ._summary import summarise
from ._working_point import check_reachable


class CalibratedMixin(ScoredOutlierMixin):
    """Scores, decisions and p-values of `FPRThresholdCV`, by the `WorkingPoint` that its fit has set."""

    estimator_: Any
    fit: Any
    out_of_fold_scores_: np.ndarray
    _frozen: bool
    _n_learnt: int
    _point: Any

    def score_samples(self, X):
        """Return the scores of the detector fitted on all normal images: higher is more normal.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If a score is NaN.
        """
        check_is_fitted(self)
        return self._check_scores(np.asarray(read_scores(self.estimator_, X), dtype=np.float64))

    def decision_function(self, X, *, categories=None):
        """Return ``score_samples(X)`` less the threshold: negative is anomalous.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
        categories : array-like of shape (n_samples,), default=None
            What each image shows, where `fit` had categories.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If a score is NaN; if categories are missing, or there are none in the fit; or if one had no calibration
            images, unless ``small_categories="pool"``.
        """
        check_is_fitted(self)
        self._point.check(categories)
        scores = self.score_samples(X)
        return scores - self._point.thresholds(len(scores), categories)

    def predict(self, X, *, categories=None):
        """Return +1 for normal and -1 for anomalous images.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
        categories : array-like of shape (n_samples,), default=None
            As in `decision_function`, whose errors it raises.

        Returns
        -------
        ndarray of int of shape (n_samples,)

        Warns
        -----
        WorkingPointWarning
            If ``estimator_`` has learnt or forgotten images since the calibration.
        """
        labels = self._decide(self.decision_function(X, categories=categories))
        self._warn_of_a_stale_threshold()
        return labels

    def fit_predict(self, X, y=None, **fit_params):
        """Fit on the normal images and return the labels of all: ``fit(X, y).predict(X)``.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
        y : array-like of shape (n_samples,), default=None
            As in `fit`.
        **fit_params : dict
            What else `fit` takes, such as ``groups``.

        Returns
        -------
        ndarray of int of shape (n_samples,)
        """
        return self.fit(X, y, **fit_params).predict(X, categories=fit_params.get("categories"))

    def p_values(self, X, *, categories=None):
        """Return the conformal p-value of each image: the share of calibration images that are as anomalous.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
        categories : array-like of shape (n_samples,), default=None
            As in `decision_function`: then each image is held against those of its category.

        Returns
        -------
        ndarray of shape (n_samples,)
            In (0, 1], a multiple of 1/(n+1) without groups. ``predict`` is -1 just where it is at most `fpr`.
        """
        check_is_fitted(self)
        self._point.check(categories)
        return self._point.p_values(self.score_samples(X), categories)

    def judge_scores(self, scores, *, categories=None):
        """Return the labels and p-values of images whose scores are there: photographs go through a network once.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            What `score_samples` gave.
        categories : array-like of shape (n_samples,), default=None
            As in `decision_function`.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            What `predict` gives.
        p_values : ndarray of shape (n_samples,)
            What `p_values` gives.

        Raises
        ------
        ValueError
            As `decision_function`.
        """
        check_is_fitted(self)
        self._point.check(categories)
        scores = self._check_scores(np.asarray(scores, dtype=np.float64))
        labels = self._decide(scores - self._point.thresholds(len(scores), categories))
        self._warn_of_a_stale_threshold()
        return labels, self._point.p_values(scores, categories)

    def p_value_staircase(self):
        """Return the p-value as a function of the score, for those who compute scores elsewhere.

        Returns
        -------
        edges : ndarray of shape (n_edges,)
            Scores, ascending.
        p_values : ndarray of shape (n_edges + 1,)
            ``p_values[np.searchsorted(edges, scores, side="right")]`` are those of scores.

        Raises
        ------
        ValueError
            If there are categories, each of which has a staircase of its own.
        """
        check_is_fitted(self)
        if self._point.by_category is not None:
            raise ValueError("Each category has a staircase of its own: ask p_values(X, categories=...).")
        return tuple(np.array(part) for part in self._point.staircase)

    def rate_curve(self, *, coverage=0.95):
        """Return for every threshold that the calibration knows what rate it stands for, and what may come.

        The band holds for all thresholds at once, so that one may choose a rate after looking: exactly for split
        calibration on independent images without ties, nominally elsewhere.

        Parameters
        ----------
        coverage : float in (0, 1), default=0.95
            The probability that all rates lie within the band.

        Returns
        -------
        RateCurve
            A named tuple of arrays of shape (n_thresholds,): ``thresholds``, scores below which an image is called
            anomalous; ``fpr``, the rates asked for; ``low`` and ``high``, the band, NaN where groups were given.
        """
        check_is_fitted(self)
        return rate_curve(self.out_of_fold_scores_, self._point.numbers, coverage=coverage)

    def summary(self):
        """Return in plain language what was calibrated, on what, and what can be said about the rate.

        Returns
        -------
        str
        """
        check_is_fitted(self)
        return summarise(self, self._point, exact=self._frozen and self._point.numbers is None)

    def set_fpr(self, fpr):
        """Keep another rate from now on, without a refit.

        Parameters
        ----------
        fpr : float in (0, 1)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If it is not in (0, 1), or cannot be reached with so few images, groups, or images of a category. The rate
            is what it was before.
        """
        check_is_fitted(self)
        share = read_fpr(fpr)
        check_reachable(fpr, share, self.n_groups_, grouped=self._point.numbers is not None)
        self._settle(self._point.at(share))
        self.fpr = fpr
        return self

    def _check_scores(self, scores):
        if np.isnan(scores).any():
            raise ValueError(f"{self.estimator_!r} gives the score NaN to image {np.argmax(np.isnan(scores))}.")
        return scores

    def _settle(self, point):
        """Set what follows from the scores and the rate."""
        self._point = point
        self.n_groups_ = point.n_groups
        self.offset_ = point.offset
        self.fpr_interval_ = point.interval
        self.drifted_fpr_ = point.drifted
        if point.by_category is not None:
            self.offsets_ = dict(zip(point.by_category.names, map(float, point.by_category.offsets), strict=True))
        elif hasattr(self, "offsets_"):
            del self.offsets_

    def _warn_of_a_stale_threshold(self):
        """Warn if the detector has gone on learning without its threshold."""
        seen = getattr(_last_step(self.estimator_), "n_samples_seen_", None)
        if not self._frozen and seen not in (None, self._n_learnt):
            warn(
                f"estimator_ has {seen} images in it, and the threshold rests on {self._n_learnt}: it was changed "
                "after the calibration, and fpr will not hold. Give new images to update(X), or fit anew.",
                WorkingPointWarning,
            )


def _last_step(estimator):
    return estimator[-1] if hasattr(estimator, "steps") else estimator
