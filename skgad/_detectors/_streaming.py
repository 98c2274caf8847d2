"""Rows join and leave a fitted Gaussian, exactly: what the moments of the rows allow, without the rows."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._conventions._columns import read_normal_rows
from .._conventions._labels import normal_rows
from .._conventions._transaction import all_or_nothing
from .._gaussian._estimate import KINDS, estimate, leave_one_out_distances
from .._gaussian._moments import merge, moments, remove


class StreamingMixin:
    """Updates of a detector that keeps the moments of each level in ``_samples``, and scores out of fold."""

    # What the detector brings.
    covariance: Any
    n_features_in_: int
    n_samples_seen_: int
    score_samples: Any
    _samples: Any
    _groups: dict
    _kind: Any
    _fit: Any
    _keep: Any
    _factorised: Any
    _check_parameters: Any
    _is_diagonal: Any

    @all_or_nothing
    def partial_fit(self, X, y=None):
        """Learn more rows: the result is that of a fit on all rows so far.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            One row is enough; scoring needs two in all, and an empirical covariance more than features.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`; and if ``covariance`` is an estimator, which has no moments to be updated.
        """
        self._check_streams()
        first = not hasattr(self, "_samples")
        X, groups = read_normal_rows(self, X, y, reset=first)
        batch = [moments(X[:, columns], diagonal=self._is_diagonal()) for columns in groups.values()]
        if not first:
            batch = [merge(seen, new) for seen, new in zip(self._samples, batch, strict=True)]
        self._groups = groups
        self._keep(batch, None, batch[0].n_samples)
        return self

    @all_or_nothing
    def merge(self, other):
        """Learn all that another detector has learnt: the result is that of a fit on the rows of both.

        Parameters
        ----------
        other : MahalanobisDetector
            Fitted on the same columns with a ``covariance`` of the same form. It is left as it is.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the two do not fit together; neither is changed.
        """
        if not isinstance(other, StreamingMixin):
            raise ValueError(f"merge takes another MahalanobisDetector; got {type(other).__name__}.")
        check_is_fitted(self)
        check_is_fitted(other)
        self._check_streams()
        other._check_streams()
        names, others = (getattr(one, "feature_names_in_", np.array([])) for one in (self, other))
        if self.n_features_in_ != other.n_features_in_ or not np.array_equal(names, others):
            raise ValueError(
                f"The detectors were fitted on different columns ({self.n_features_in_} and {other.n_features_in_}, or "
                "with other names); only Gaussians of the same features can be merged."
            )
        samples = [merge(one, two) for one, two in zip(self._samples, other._samples, strict=True)]
        self._keep(samples, None, samples[0].n_samples)
        return self

    @all_or_nothing
    def forget(self, X, y=None):
        """Unlearn rows that were learnt before: the result is that of a fit without them.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows that `fit`, `partial_fit` or `merge` learnt. Rows that never were learnt cannot be told in general.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and are not forgotten.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If fewer than two rows would be left, or a variance would be negative, which shows that these rows were
            never learnt. The detector is unchanged then.
        """
        check_is_fitted(self)
        self._check_streams()
        X, groups = read_normal_rows(self, X, y, reset=False)
        samples = [
            remove(sample, moments(X[:, columns], diagonal=self._is_diagonal()))
            for sample, columns in zip(self._samples, groups.values(), strict=True)
        ]
        self._keep(samples, None, samples[0].n_samples)
        return self

    def leave_one_out_scores(self, X, y=None):
        """Return the score of each training row by a detector that has not seen it, in closed form.

        An image that is in the fit pulls the Gaussian towards itself, so that its plain score looks better than it
        should. Its leave-one-out score is on the scale of new images: sorted, or held against a threshold, these scores
        show suspicious images in a training set.

        Parameters
        ----------
        X : array-like or frame of shape (`n_samples_seen_`, n_features)
            All rows that were learnt, in any order.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and get their plain score.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal. The shrinkage intensity and its target are held fixed; minus infinity where the
            covariance of the others is singular ("empirical").

        Raises
        ------
        ValueError
            If `X` has another number of rows, or ``covariance`` is an estimator.
        """
        check_is_fitted(self)
        self._check_streams()
        learnt, groups = read_normal_rows(self, X, y, reset=False)
        if len(learnt) != self.n_samples_seen_:
            raise ValueError(
                f"leave_one_out_scores takes the {self.n_samples_seen_} rows that were learnt; got {len(learnt)}. "
                "Where anomalous rows were left out of the fit, give y as there."
            )
        left_out = self._leave_one_out(learnt, groups)
        rows = None if y is None else normal_rows(y, len(X))
        if rows is None:
            return left_out
        scores = self.score_samples(X)
        scores[rows] = left_out
        return scores

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
        if not isinstance(self.covariance, str):
            return NotImplemented
        X, groups = self._fit(X, None)
        numbers = np.unique(fold)
        if len(numbers) == len(X):
            out_of_fold = self._leave_one_out(X, groups)
        elif all(sample.rows is None for sample in self._samples):
            try:
                out_of_fold = self._leave_folds_out(X, groups, [np.flatnonzero(fold == number) for number in numbers])
            except (ValueError, np.linalg.LinAlgError):
                return NotImplemented
        else:
            return NotImplemented
        pairs = zip(self._factorised(), groups.values(), strict=True)
        return out_of_fold, -sum(gaussian.distances(X[:, columns]) for gaussian, columns in pairs)

    def _leave_folds_out(self, X, groups, folds):
        scores = np.zeros(len(X))
        for sample, columns in zip(self._samples, groups.values(), strict=True):
            for rows in folds:
                left_out = X[rows][:, columns]
                others = remove(sample, moments(left_out, diagonal=self._is_diagonal()))
                scores[rows] -= estimate(others, self._kind).distances(left_out)
        return scores

    def _leave_one_out(self, X, groups):
        pairs = zip(self._samples, groups.values(), strict=True)
        return -sum(leave_one_out_distances(X[:, columns], sample, self._kind) for sample, columns in pairs)

    def _check_streams(self):
        """Raise ValueError unless there are moments to be updated, of the form that `covariance` needs."""
        self._check_parameters()
        if not isinstance(self.covariance, str):
            raise ValueError(f"covariance={self.covariance!r} keeps no moments; only {', '.join(KINDS)} do.")
        if getattr(self, "_samples", ()) is None:
            raise ValueError("The fit was by a covariance estimator, which keeps no moments to go on from; fit anew.")
        sample = getattr(self, "_samples", [None])[0]
        only_variances = sample is not None and sample.scatter is not None and sample.scatter.ndim == 1
        if sample is not None and only_variances != self._is_diagonal():
            raise ValueError(
                f"covariance={self.covariance!r} was set after the fit, and needs other moments. Fit anew."
            )
