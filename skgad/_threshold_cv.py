"""The working point that holds: a threshold from out-of-fold scores of the normal images."""

import math

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.validation import check_is_fitted

from ._columns import check_has_scores, read_scores
from ._gaussian import check_fpr
from ._labels import normal_rows
from ._outliers import ScoredOutlierMixin


class FPRThresholdCV(ScoredOutlierMixin, MetaEstimatorMixin, BaseEstimator):
    """Set the threshold of any outlier detector at a false-positive rate, by cross-validation on the normal images.

    Every normal image is scored by a clone of `estimator` that was fitted without it. The threshold is the conformal
    quantile of these scores; the detector that is kept is fitted on all of them.

    Parameters
    ----------
    estimator : estimator
        An outlier detector, or a pipeline that ends in one, with ``score_samples`` or ``decision_function`` (higher =
        more normal). Whatever learns from the images belongs inside: `NPCA` picks its directions on the same images,
        so it must be refitted with each fold. The feature extractor learns nothing and belongs in front.
    fpr : float in (0, 1), default=0.01
        The false-positive rate: the share of normal images that may be called anomalous.
    cv : int, splitter or iterable, default=20
        The folds, as in scikit-learn; an iterable counts positions among the normal images. An int makes that many
        contiguous folds without shuffling; for images in an order that matters (kinds one after the other), pass
        ``KFold(20, shuffle=True, random_state=0)``. Each fold model sees fewer images than the final one: few folds are
        conservative.

    Attributes
    ----------
    estimator_ : estimator
        The detector fitted on all normal images.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    out_of_fold_scores_ : ndarray of shape (n_normals,)
        The score of each normal image by the model that did not see it, in the order of ``X``.
    n_features_in_ : int
        Number of columns seen in ``fit``, where `estimator` says so.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where `estimator` keeps them.

    See Also
    --------
    FPRThreshold : The paper's threshold from the chi-square law.
    sklearn.model_selection.TunedThresholdClassifierCV : The same idea for classifiers, with anomalies at hand.

    Notes
    -----
    With n scores out of fold, ``k = floor((n + 1) * fpr)`` in exact arithmetic, the threshold is the k-th lowest
    score; an image below it is called anomalous. Fewer than ``1/fpr - 1`` normal images give k = 0: refused.

    *What is guaranteed.* If the scores had been taken on held-out images that no fit has seen, P(false alarm) <=
    k/(n+1) would hold exactly for exchangeable images. Out of fold, followed by a refit on all, there is no
    finite-sample guarantee: the rate is reached asymptotically, if the fit is stable; usually it stays a little
    below, since the models of the folds see fewer images.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapters 2 and 4 (conformal and
    cross-conformal prediction).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgad import FPRThresholdCV, MahalanobisDetector, NPCA
    >>> rng = np.random.default_rng(0)
    >>> X, new = rng.normal(size=(1000, 20)), rng.normal(size=(10_000, 20))
    >>> detector = FPRThresholdCV(make_pipeline(NPCA(0.5), MahalanobisDetector()), fpr=0.05).fit(X)
    >>> round(float((detector.predict(new) == -1).mean()), 2)  # over such draws of X: 0.05, give or take 0.01
    0.06
    """

    def __init__(self, estimator, *, fpr=0.01, cv=20):
        self.estimator = estimator
        self.fpr = fpr
        self.cv = cv

    def fit(self, X, y=None):
        """Score the normal images out of fold, set the threshold, and refit on all of them.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Whatever `estimator` takes.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `fpr` is not in (0, 1) or cannot be reached with so few normal images, there are fewer of them than
            folds, a fold leaves some image without a score or scores it twice, or a score is not finite.
        TypeError
            If `estimator` has neither ``score_samples`` nor ``decision_function``.
        """
        share = check_fpr(self.fpr)
        check_has_scores("estimator", self.estimator)
        X = indexable(X)[0]
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        rows = normal_rows(y, n_samples)
        X = X if rows is None else _safe_indexing(X, rows)
        n_normals = n_samples if rows is None else len(rows)
        if n_samples == 0:
            raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
        rank = math.floor((n_normals + 1) * share)
        if rank < 1:
            raise ValueError(
                f"fpr={self.fpr} cannot be reached with n_samples = {n_normals} normal images: the smallest rate is "
                f"1/{n_normals + 1} = {1 / (n_normals + 1):.3g}. Raise fpr, or give at least "
                f"{math.ceil(1 / share) - 1} images."
            )
        scores = self._score_out_of_fold(X, n_normals)
        estimator = clone(self.estimator).fit(X, None)
        self.out_of_fold_scores_ = scores
        self.offset_ = float(np.partition(scores, rank - 1)[rank - 1])
        self.estimator_ = estimator
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
            elif hasattr(self, name):
                delattr(self, name)
        return self

    def score_samples(self, X):
        """Return the scores of the detector fitted on all normal images: higher is more normal. Shape (n_samples,)."""
        check_is_fitted(self)
        return read_scores(self.estimator_, X)

    def _score_out_of_fold(self, X, n_normals):
        splitter = check_cv(self.cv)
        if splitter.get_n_splits(X) > n_normals:
            raise ValueError(
                f"cv={self.cv} asks for more folds than there are normal images: n_samples = {n_normals}. "
                f"Lower cv, {n_normals} at most, or give more images."
            )
        scores = np.full(n_normals, np.nan)
        seen = np.zeros(n_normals, dtype=int)
        for train, test in splitter.split(X):
            _check_fold(train, test, n_normals)
            fold = clone(self.estimator).fit(_safe_indexing(X, train), None)
            scores[test] = read_scores(fold, _safe_indexing(X, test))
            seen[test] += 1
        if not (seen == 1).all():
            odd = int(np.argmax(seen != 1))
            raise ValueError(
                f"cv must test each normal image once; image {odd} of {n_normals} is tested {seen[odd]} times."
            )
        if not np.isfinite(scores).all():
            odd = int(np.argmin(np.isfinite(scores)))
            raise ValueError(
                f"{self.estimator!r} gives the score {scores[odd]} to normal image {odd}; scores must be finite."
            )
        return scores

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _check_fold(train, test, n_normals):
    if not len(train) or not len(test):
        raise ValueError("cv gives a fold without training or without test images; use fewer folds.")
    if max(np.max(train), np.max(test)) >= n_normals:
        raise ValueError(f"cv gives positions beyond the {n_normals} normal images; rows at -1 are left out before it.")
    if np.intersect1d(train, test).size:
        raise ValueError(
            "cv gives folds whose training and test images overlap; these scores would not be out of fold."
        )
