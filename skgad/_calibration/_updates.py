"""A calibrated detector goes on: more normal images enter it, and old ones leave."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._conventions._normals import read_normals
from .._conventions._scores import check_scores, read_scores
from .._conventions._sklearn import safe_indexing
from .._conventions._transaction import all_or_nothing
from ._closed_form import fit_tail, to_rows, with_new_tail
from ._kept_rows import join_rows, keep_rows
from ._out_of_fold import inflation
from ._working_point import Labels, check_reachable, count_groups


class UpdatesMixin:
    """`update` and `forget` of `FPRThresholdCV`."""

    cv: Any
    fpr: Any
    estimator_: Any
    out_of_fold_scores_: np.ndarray
    _frozen: bool
    _labels: Any
    _point: Any
    _settle: Any

    @all_or_nothing
    def update(self, X, y=None, *, groups=None, categories=None):
        """Learn more normal images, and calibrate on them too: the result is that of a fit on all so far and these.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            New images, of which one is enough.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.
        groups, categories : array-like of shape (n_samples,), default=None
            As in `fit`, for these images; where that had them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the detector leaves no single images out in closed form, and is not frozen: fit it on all images; if
            groups or categories are missing or come first now; and as `fit`. The estimator is what it was before.

        Notes
        -----
        A frozen detector stays as it is, and is calibrated on more images. Any other learns from the features of all
        images so far, which are kept for that: a pickle holds them, once.
        """
        check_is_fitted(self)
        normals, before = read_normals(X, y), self._point
        before.check(categories)
        more = Labels.read(groups, categories, X, normals.rows)
        labels = self._labels.join(more)
        with normals.errors_for_caller():
            if self._frozen:
                scores = check_scores(self.estimator_, read_scores(self.estimator_, normals.X), normals.rows)
                self.out_of_fold_scores_ = np.concatenate([self.out_of_fold_scores_, scores])
            else:
                self._learn_more(normals)
        self._labels = labels
        self._settle(before.on(self.out_of_fold_scores_, labels))
        return self

    def learnt_rows(self):
        """Return the features of the normal images, where they are kept for `update`: of a fit without refits.

        Returns
        -------
        array or frame of shape (n_normals, n_features), or None
            What the steps that learn were fitted on, in the order of ``out_of_fold_scores_``.
        """
        check_is_fitted(self)
        return None if self._rows is None else self._rows.get(self.estimator_)

    @all_or_nothing
    def forget(self, rows):
        """Unlearn images, and take them out of the calibration: the result is that of a fit on the others.

        Parameters
        ----------
        rows : array-like of int
            Their positions in ``out_of_fold_scores_``: the images of the fit first, in their order, then those of each
            update. ``range(100)`` are the oldest hundred.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a position is out of range or comes twice; if too few images are left for the rate; or as `update`. The
            estimator is what it was before.
        """
        check_is_fitted(self)
        n_samples = len(self.out_of_fold_scores_)
        rows = np.asarray(rows, dtype=int if np.size(rows) == 0 else None)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) < len(rows):
            raise ValueError("rows must be different positions of images, ints: range(100) for the oldest hundred.")
        if len(rows) and not (rows.min() >= 0 and rows.max() < n_samples):
            raise ValueError(f"rows must lie in 0..{n_samples - 1}; got {rows.min()}..{rows.max()}.")
        left = np.delete(np.arange(n_samples), rows)
        if not len(left):
            raise ValueError("No image would be left.")
        labels = self._labels.take(left)
        check_reachable(
            self.fpr, self._point.share, count_groups(len(left), labels.numbers), grouped=labels.groups is not None
        )
        before = self._point
        if self._frozen:
            self.out_of_fold_scores_ = self.out_of_fold_scores_[left]
        else:
            self._check_rows()
            self._refit(safe_indexing(self._rows.get(self.estimator_), left))
        self._labels = labels
        self._settle(before.on(self.out_of_fold_scores_, labels))
        return self

    def _learn_more(self, normals):
        """Set what `_score_out_of_fold` sets, of the rows that were kept and these."""
        self._check_rows()
        self._refit(join_rows(self._rows.get(self.estimator_), to_rows(self.estimator_, normals.X)))

    def _refit(self, rows):
        """Set the same of these rows alone."""
        estimator = with_new_tail(self.estimator_)
        scores = fit_tail(estimator, rows)
        self._keep(estimator, *(check_scores(estimator, one, np.arange(len(one))) for one in scores))
        self._rows = keep_rows(estimator, rows)

    def _keep(self, estimator, out_of_fold, in_sample):
        self.estimator_, self.out_of_fold_scores_ = estimator, out_of_fold
        self._n_learnt = len(out_of_fold)
        self.inflation_ = inflation(out_of_fold, in_sample)

    def _check_rows(self):
        if self._rows is None:
            raise ValueError(
                f"{self.estimator_!r}, with cv={self.cv!r}, was calibrated by refits, or on many machines, and keeps "
                "no features: fit it anew on all images to be learnt. A MahalanobisDetector with cv=None, and a "
                "FrozenEstimator, take updates."
            )
