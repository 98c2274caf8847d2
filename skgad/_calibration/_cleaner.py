"""Who does not belong among the images that are said to be normal, by detectors of the others."""

import warnings

import numpy as np
from scipy import stats
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import count_samples, take_names
from .._conventions._normals import read_normals
from .._conventions._parameters import check_int, check_share
from .._conventions._scores import read_scores
from .._conventions._sklearn import safe_indexing
from .._conventions._transaction import all_or_nothing
from .._conventions._warnings import warn
from .._detectors._mahalanobis import MahalanobisDetector
from ..exceptions import WorkingPointWarning
from ._threshold_cv import FPRThresholdCV

_FEWEST = 10  # images
_CENTRE = np.linspace(0.05, 0.75, 30)  # quantiles that images which do not belong hardly move


class TrainingSetCleaner(MetaEstimatorMixin, StampedEstimator):
    r"""Find the images of a training set that do not belong there, by what a detector of all others makes of them.

    Each image gets its leave-one-out distance, and a p-value by the law that the middle of all distances follows; those
    that Benjamini and Hochberg's rule discovers are taken out, and the rest is fitted again, until nothing changes. An
    image that was taken out comes back, once, where a cleaner fit finds it normal. Someone should look at them.

    Parameters
    ----------
    estimator : estimator, default=None
        An outlier detector, or a pipeline that ends in one, as `FPRThresholdCV` takes it. None for a joint
        `MahalanobisDetector`.
    fdr : float in (0, 1), default=0.1
        Which share of those that are taken out may be normal after all.
    max_iter : int, default=20
        How often it is fitted at most.

    Attributes
    ----------
    kept_ : ndarray of bool of shape (n_samples,)
        The images to learn from. Those labelled -1 are not among them.
    suspects_ : ndarray of int
        The positions of those that were taken out, the most anomalous first.
    p_values_ : ndarray of shape (n_samples,)
        NaN for images labelled -1.
    scores_ : ndarray of shape (n_samples,)
        By a detector of the others that were kept: higher is more normal. NaN for images labelled -1.
    estimator_ : estimator
        Fitted on the images that were kept.
    n_iter_ : int
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number and names of the columns seen in ``fit``, where `estimator` keeps them.

    See Also
    --------
    MahalanobisDetector.leave_one_out_scores : The scores, once.

    Notes
    -----
    *What holds.* Ranks of images among each other are uniform whatever is among them, so that a law has to be assumed:
    the Gumbel law, of the largest of many, whose location and scale are those of the 5 to 75 % quantiles of the
    distances (central matching, Efron 2004). The false-discovery rate is as good as that law's tail, and no theorem;
    ``docs/when_it_fails.md`` has what came of it. Defects that are alike hide each other, as a mode of their own.
    Normal images of a kind with few others are taken for anomalous.

    References
    ----------
    Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57, 1995.
    Efron, "Large-scale simultaneous hypothesis testing: the choice of a null hypothesis", Journal of the American
    Statistical Association 99, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import TrainingSetCleaner
    >>> X = np.random.default_rng(0).normal(size=(200, 10))
    >>> X[:4] *= 4
    >>> TrainingSetCleaner().fit(X).suspects_
    array([1, 0, 3, 2])
    """

    def __init__(self, estimator=None, *, fdr=0.1, max_iter=20):
        self.estimator = estimator
        self.fdr = fdr
        self.max_iter = max_iter

    @all_or_nothing
    def fit(self, X, y=None):
        """Find them.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Whatever `estimator` takes; features, so that images go through a network once.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or there are fewer than ten normal images.

        Warns
        -----
        WorkingPointWarning
            If a fifth or more is taken out: what is left need not be what is normal; or if images still come and go
            after `max_iter` fits.
        """
        check_share("fdr", self.fdr)
        check_int("max_iter", self.max_iter)
        normals = read_normals(X, y)
        n_normals = len(normals)
        if n_normals < _FEWEST:
            raise ValueError(
                f"It takes {_FEWEST} normal images at least to tell who does not belong; got n_samples = {n_normals}."
            )
        estimator = MahalanobisDetector(levels="joint") if self.estimator is None else self.estimator
        kept, times_out, settled = np.ones(n_normals, dtype=bool), np.zeros(n_normals, dtype=int), False
        with normals.errors_for_caller():
            for number in range(1, self.max_iter + 1):
                fitted, scores = _score_by_others(estimator, normals.X, kept)
                p_values = central_p_values(-scores)
                stays = stats.false_discovery_control(p_values) > self.fdr
                stays &= times_out < 2  # what has come back once, and goes again, stays away: else some come and go
                settled = bool((stays == kept).all())
                if settled or number == self.max_iter:
                    break
                times_out += kept & ~stays
                kept = stays
                if kept.sum() < n_normals / 2:
                    raise ValueError(
                        f"More than half of the {n_normals} images do not belong to the rest: there is no telling "
                        "which are normal. Are there several products? MahalanobisMixture learns them."
                    )
        n_samples, rows = count_samples(X), normals.rows
        self.kept_ = np.zeros(n_samples, dtype=bool)
        self.kept_[rows] = kept
        self.p_values_, self.scores_ = np.full(n_samples, np.nan), np.full(n_samples, np.nan)
        self.p_values_[rows], self.scores_[rows] = p_values, scores
        out = rows[~kept]
        self.suspects_ = out[np.argsort(self.scores_[out], kind="stable")]
        self.estimator_, self.n_iter_ = fitted, number
        take_names(self, fitted)
        self._warn(n_normals, settled)
        return self

    def fit_predict(self, X, y=None):
        """Return +1 for images that are kept, and -1 for those that are taken out, or were labelled -1.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        ndarray of int of shape (n_samples,)
        """
        return np.where(self.fit(X, y).kept_, 1, -1)

    def clean(self, X):
        """Return those of the images of the fit that were kept.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            As `fit` had it.

        Returns
        -------
        the same, of length ``kept_.sum()``
        """
        check_is_fitted(self)
        if count_samples(X) != len(self.kept_):
            raise ValueError(f"clean takes the {len(self.kept_)} images of the fit; got {count_samples(X)}.")
        return safe_indexing(X, np.flatnonzero(self.kept_))

    def _warn(self, n_normals, settled):
        if len(self.suspects_) >= n_normals / 5:
            warn(
                f"{len(self.suspects_)} of {n_normals} images were taken out. So many need not be anomalous: look at "
                "them. Several products are learnt by MahalanobisMixture.",
                WorkingPointWarning,
            )
        if not settled:
            warn(f"Images still come and go after max_iter={self.max_iter} fits.", WorkingPointWarning)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def central_p_values(distances):
    """Return how far out each distance lies, by the Gumbel law that fits the middle of all of them.

    Parameters
    ----------
    distances : ndarray of shape (n_samples,)
        Higher is more anomalous.
    """
    scale, location = np.polyfit(stats.gumbel_r.ppf(_CENTRE), np.quantile(distances, _CENTRE), 1)
    if not scale > 1e-9 * np.abs(location):
        raise ValueError("All distances are the same: there is nothing to tell images apart by.")
    return stats.gumbel_r.sf(distances, location, scale)


def _score_by_others(estimator, X, kept):
    """Return a detector of the images that are kept, and the scores of all images by detectors of the others."""
    chosen = safe_indexing(X, np.flatnonzero(kept))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WorkingPointWarning)  # of a rate, which is not asked for
        calibrated = FPRThresholdCV(clone(estimator), fpr=0.5).fit(chosen)
    scores = np.empty(len(kept))
    scores[kept] = calibrated.out_of_fold_scores_
    if not kept.all():
        scores[~kept] = read_scores(calibrated.estimator_, safe_indexing(X, np.flatnonzero(~kept)))
    return calibrated.estimator_, scores
