"""What a Gaussian detector answers when rows are to be left out of its fit, in closed form."""

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._labels import normal_rows
from .._conventions._levels import frame
from .._conventions._transaction import all_or_nothing
from ._left_out_behind import score_left_out_behind


def _has_each_level(detector):
    return detector.levels == "each"  # behind a reduction a joint Gaussian is refitted


def score_left_out(detector, X, y, measure):
    """Return what `leave_one_out_scores` does, by a function from the rows that were learnt to their distances."""
    check_is_fitted(detector)
    learnt, _ = read_normal_rows(detector, X, y, reset=False)
    if len(learnt) != detector.n_samples_seen_:
        raise ValueError(
            f"leave_one_out_scores takes the {detector.n_samples_seen_} rows that were learnt; got {len(learnt)}. "
            "Where anomalous rows were left out of the fit, give y as there."
        )
    left_out = -measure(learnt)
    rows = None if y is None else normal_rows(y, len(X))
    if rows is None:
        return left_out
    scores = detector.score_samples(X)
    scores[rows] = left_out
    return scores


class LeftOutScores:
    """Leave-one-out scores of some rows at a time.

    Parameters
    ----------
    detector : MahalanobisDetector
        Whose columns the rows have.
    columns : dict of str to (slice or ndarray of int)
    measures : dict of str to LeftOut or LeftOutBehind
    """

    def __init__(self, detector, columns, measures):
        self._detector, self._columns, self._measures = detector, columns, measures

    def score_samples(self, X):
        """Return the score of each row: higher is more normal."""
        X, _ = read_columns(self._detector, X, reset=False)
        parts = [self._measures[level].distances(X[:, columns]) for level, columns in self._columns.items()]
        return -np.sum(parts, axis=0)


class LeavingOutMixin:
    """Leave-one-out and out-of-fold scores of `MahalanobisDetector`."""

    _gaussians: Any
    _fit: Any
    score_samples: Any
    n_samples_seen_: int
    covariance: Any
    levels: str

    def leave_one_out_scores(self, X, y=None):
        """Return the score of each training row by a detector that has not seen it, in closed form.

        An image that is in the fit pulls the Gaussian towards itself. Its leave-one-out score is on the scale of new
        images: sorted, or held against a threshold, these scores show suspicious images in a training set.

        Parameters
        ----------
        X : array-like or frame of shape (`n_samples_seen_`, n_features)
            All rows that were learnt, in any order.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and get their plain score.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal, as by refits, shrinkage included; minus infinity where the covariance of the others
            is singular ("empirical").

        Raises
        ------
        ValueError
            If `X` has another number of rows, or the fit was by an estimator.
        """
        return score_left_out(self, X, y, lambda rows: self._gaussians.leave_one_out(rows).sum(axis=1))

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold):
        """Fit on all rows, and score each by a detector that has not seen its fold: what `FPRThresholdCV` asks for.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Normal rows.
        fold : array-like of int of shape (n_samples,)
            Rows with the same number are left out together. Single rows are left out as in `leave_one_out_scores`, more
            of them exactly: their moments are taken out of all moments.

        Returns
        -------
        out_of_fold, in_sample : ndarray of shape (n_samples,)
            Scores. NotImplemented where refits are as cheap or more exact: the covariance is an estimator, there are
            few rows for many features, or rows lie so far out that the moments of the others drown in theirs.
        """
        if not self.leaves_out_in_closed_form():
            return NotImplemented
        X = self._fit(X, None)
        fitted, fold = self._gaussians, np.asarray(fold)
        if len(np.unique(fold)) == len(X):
            distances = fitted.leave_one_out(X)
        elif fitted.keeps_rows():
            return NotImplemented
        else:
            try:
                distances = fitted.leave_folds_out(X, fold)
            except ValueError:
                return NotImplemented
        return -distances.sum(axis=1), -fitted.distances(X).sum(axis=1)

    def leaves_out_in_closed_form(self):
        """Return whether `fit_score_out_of_fold` leaves single rows out without refits: `FPRThresholdCV` then does so.

        Returns
        -------
        bool
        """
        return isinstance(self.covariance, str)

    @available_if(_has_each_level)
    def score_left_out_behind(self, X, n_components, *, leading=False):
        """Score each row by a projection and a Gaussian behind it that have not seen it, without refits.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Normal rows, in front of the projection.
        n_components : float or int
            What it keeps of each level, as in `NPCA`.
        leading : bool, default=False
            Whether it keeps the directions of most variance instead, as scikit-learn's ``PCA`` does.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal; as by refits within rounding, or, beyond a thousand rows, a thousandth (the kurtosis
            behind the intensity is that of all rows). NaN for rows that leave the others no digits: refit those.
        """
        return score_left_out_behind(self, X, n_components, leading)

    def measure_left_out(self):
        """Return what scores some of the rows that were learnt, each by the others, from the moments alone.

        A pickle of it goes where the rows are: they need not be in one place.

        Returns
        -------
        LeftOutScores
            Its ``score_samples(X)`` takes some of the rows, and gives minus infinity where nothing is left of the
            others beside one.

        Raises
        ------
        ValueError
            If the fit was by an estimator, or there are fewer than three rows.
        """
        check_is_fitted(self)
        if not isinstance(self.covariance, str):
            raise ValueError(f"covariance={self.covariance!r} keeps no moments that rows could be left out of.")
        return LeftOutScores(self, self._gaussians.columns, self._gaussians.left_out())

    def measure_left_out_behind(self, projected, n_components):
        """Return the same for the Gaussians behind a projection, `NPCA`, this detector having learnt in front of it.

        Parameters
        ----------
        projected : MahalanobisDetector
            That has learnt all the rows behind the projection of all.
        n_components : float or int
            As in `NPCA`.

        Returns
        -------
        LeftOutScores
        """
        measures = self._gaussians.left_out_behind(projected._gaussians, n_components)
        return LeftOutScores(self, self._gaussians.columns, measures)

    def leave_out_together(self, X):
        """Return what measures these rows and a new one, each left out of all of them together.

        Full conformal prediction asks for it, see `FullConformalThreshold`.

        Parameters
        ----------
        X : array-like or frame of shape (`n_samples_seen_`, n_features)
            The rows that were learnt.

        Returns
        -------
        callable
            Of new rows: yields, for some of them at a time, the distances, summed over the levels, of the rows of `X`,
            (n_some, n_samples), and of the new ones, (n_some,). Each new row is taken with those of `X` alone.

        Raises
        ------
        ValueError
            If the covariance is an estimator, or "diagonal", or, for "empirical", there are no more rows than features.
        """
        check_is_fitted(self)
        if not isinstance(self.covariance, str):
            raise ValueError(f"covariance={self.covariance!r} keeps no moments that a row could join and leave.")
        X, _ = read_columns(self, X, reset=False)
        together = self._gaussians.together(X)
        return lambda new: together(read_columns(self, new, reset=False)[0])

    def learnt_rows(self):
        """Return the rows that were learnt, where the Gaussians have to keep them: few rows of many features.

        Returns
        -------
        ndarray or frame of shape (`n_samples_seen_`, n_features), or None
            In the order in which they were learnt, in float32 where they came so.
        """
        check_is_fitted(self)
        rows, names = self._gaussians.learnt_rows(), getattr(self, "feature_names_in_", None)
        return rows if rows is None or names is None else frame(rows, names)
