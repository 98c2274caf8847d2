r"""A rate that is a theorem, with all images to learn from: full conformal prediction for Gaussians.

Each new image x is judged together with the n normal ones: by the Gaussian of all n + 1, each of them left out of it in
turn. In

.. math:: p(x) = \frac{1 + \#\{i : a_i \ge a_x\}}{n + 1}

the distances :math:`a` are a function of the n + 1 images that treats them alike, so that for exchangeable images
:math:`P(p \le \text{fpr}) \le \lfloor \text{fpr} (n + 1) \rfloor / (n + 1)`, at any n, whatever their law.
"""

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import take_names
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._normals import read_normals
from .._conventions._parameters import read_fpr
from .._conventions._transaction import all_or_nothing
from ._closed_form import learns_nothing
from ._conformal import conformal_rank, groups_needed
from ._kept_rows import keep_rows
from ._learnt_columns import refuse_learnt_columns
from ._out_of_fold import is_frozen

_TIE = 1e-9  # of a distance: less is rounding, and a tie, which counts for the new image


class FullConformalThreshold(ScoredOutlierMixin, MetaEstimatorMixin, StampedEstimator):
    r"""Keep a false-positive rate by theorem, with all normal images to learn from and to calibrate on.

    Parameters
    ----------
    estimator : MahalanobisDetector or Pipeline
        A `MahalanobisDetector`, "each" or "joint", alone or at the end of a pipeline of steps that learn nothing, such
        as `DeepFeatureTransformer`. Its covariance is "ledoit_wolf", "oas", "empirical" or "identity".
    fpr : float in (0, 1), default=0.01
        The false-positive rate: the share of normal images that may be called anomalous. It takes ``1/fpr - 1`` normal
        images at least.

    Attributes
    ----------
    estimator_ : MahalanobisDetector or Pipeline
        Fitted on all normal images.
    n_samples_ : int
        How many these are.
    fpr_bound_ : float
        The bound k/(n+1), k = floor(fpr·(n+1)) in exact arithmetic.
    offset_ : float
        ``decision_function = score_samples - offset_``: minus the k-th largest distance of a training image, left out;
        -1 where that is zero or infinite.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number and names of the columns seen in ``fit``, where `estimator` keeps them.

    See Also
    --------
    FPRThresholdCV : A threshold once for all, at less cost an image; takes any detector, reductions and groups.

    Notes
    -----
    *What is guaranteed.* P(false alarm) <= k/(n+1) for each new image that is exchangeable with the training images,
    over the draw of both; for few features and many alike. Not for each training set on its own, and not of several new
    images at once: their p-values depend on each other. Images that come in groups are not exchangeable one by one:
    there is no rule for them here.

    *What is measured.* For each new image the Gaussian of the n + 1: their mean, covariance, shrinkage and its target,
    and, for "joint", their scales. The distance of each of them is that to the Gaussian without it, the shrinkage held;
    several levels are summed. Distances within the n + 1, not left out, would be as valid, and find fewer defects. So
    would be all of it behind `NPCA`, where it finds hardly any: a new image that lies far out would be a leading
    direction of the n + 1, which `NPCA` drops.

    The threshold moves with the image. `score_samples` corrects each distance for what the image does to it, so that
    one `offset_` separates; it orders images as their plain distances do, but for a few.

    *Cost.* O(n D) an image for each level; a joint Gaussian O(n D + n³), or, for more images than features, O(n D² +
    D³). A pickle holds the training rows.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import FullConformalThreshold, MahalanobisDetector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_t(3, size=(60, 20))  # heavy tails, few rows
    >>> detector = FullConformalThreshold(MahalanobisDetector(), fpr=0.05).fit(X)
    >>> round(detector.fpr_bound_, 4)
    0.0492
    >>> detector.predict(np.vstack([X[:1] + 0.1, X[:1] + 9]))
    array([ 1, -1])
    """

    def __init__(self, estimator, *, fpr=0.01):
        self.estimator = estimator
        self.fpr = fpr

    @all_or_nothing
    def fit(self, X, y=None):
        """Fit the Gaussian on all normal images, and keep them.

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
            If `fpr` is not in (0, 1) or cannot be reached with so few normal images; `estimator` is, or has in it, what
            full conformal prediction cannot serve; or the names of the columns tell that they were learnt from these
            images (``level7__npca0``). The estimator is what it was before.
        """
        share = read_fpr(self.fpr)
        _check_can_be_served(self.estimator)
        refuse_learnt_columns(X)
        normals = read_normals(X, y)
        rank = self._find_rank(share, len(normals))
        with normals.errors_for_caller():
            self.estimator_ = clone(self.estimator).fit(normals.X, None)
            rows = self._transform(normals.X)
            self._measure = _gaussian(self.estimator_).leave_out_together(rows)
            self._rows = keep_rows(self.estimator_, rows)
            left_out = -_gaussian(self.estimator_).leave_one_out_scores(rows)
        self.n_samples_ = len(normals)
        self._left_out = np.sort(left_out)[::-1]
        self._set_rank(rank)
        take_names(self, self.estimator_)
        return self

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
            If it is not in (0, 1), or cannot be reached with so few normal images. The rate is what it was before.
        """
        check_is_fitted(self)
        share = read_fpr(fpr)
        self._set_rank(self._find_rank(share, self.n_samples_, fpr))
        self.fpr = fpr
        return self

    def p_values(self, X):
        """Return the conformal p-value of each image: the share of the n + 1 images that deviate as much as it does.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
            Multiples of 1/(n+1). ``predict`` is -1 just where it is at most `fpr`.
        """
        counts = [(rows >= own[:, np.newaxis]).sum(axis=1) for rows, own in self._measure_together(X)]
        return (1 + np.concatenate(counts)) / (self.n_samples_ + 1)

    def score_samples(self, X):
        """Return minus the distance of each image, corrected for what the image does to the others': higher is normal.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
            ``-a_x · t / t(x)``, with t and t(x) the k-th largest left-out distance of a training image, among the n and
            among the n + 1.
        """
        ratios = [self._divide_by_threshold(rows, own) for rows, own in self._measure_together(X)]
        return self.offset_ * np.concatenate(ratios)

    def summary(self):
        """Return in plain language what is guaranteed.

        Returns
        -------
        str
        """
        check_is_fitted(self)
        return (
            f"An image is called anomalous if at most {self._rank - 1} of the {self.n_samples_} normal images deviate "
            "as much from all of them and it.\n"
            f"The probability that this calls a normal image anomalous is at most {self.fpr_bound_:.4g}, whatever the "
            "law of the images, over the draw of these and of the new one.\n"
            "It holds for images like these, not for parts, batches or cameras that are not among them."
        )

    def _measure_together(self, X):
        """Yield, for some images at a time, the left-out distances of all training images and their own, less a tie."""
        check_is_fitted(self)
        seen = 0
        for rows, own in self._measure(self._transform(X)):
            if np.isnan(own).any():
                raise ValueError(f"The distance of image {seen + np.argmax(np.isnan(own))} is NaN: leave it out.")
            yield rows, own * (1 - _TIE)
            seen += len(own)

    def _divide_by_threshold(self, rows, own):
        """Return each image's own distance over the k-th largest of the others': above 1 just where it is larger."""
        thresholds = -np.partition(-rows, self._rank - 1, axis=1)[:, self._rank - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(own == thresholds, 1.0, own / thresholds)  # also where both are zero, or infinite
        return np.where(own > thresholds, np.maximum(ratios, np.nextafter(1.0, 2.0)), np.minimum(ratios, 1.0))

    def _transform(self, X):
        has_front = isinstance(self.estimator_, Pipeline) and len(self.estimator_) > 1
        return self.estimator_[:-1].transform(X) if has_front else X

    def _set_rank(self, rank):
        self._rank = rank
        self.fpr_bound_ = rank / (self.n_samples_ + 1)
        threshold = float(self._left_out[rank - 1])
        self.offset_ = -threshold if 0 < threshold < np.inf else -1.0

    def _find_rank(self, share, n_samples, fpr=None):
        rank = conformal_rank(share, n_samples)
        if rank < 1:
            raise ValueError(
                f"fpr={self.fpr if fpr is None else fpr} cannot be reached with n_samples = {n_samples} normal images: "
                f"the smallest rate is 1/{n_samples + 1} = {1 / (n_samples + 1):.3g}. Raise fpr, or give at least "
                f"{groups_needed(share)} images."
            )
        return rank

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_measure", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "_rows"):
            self._measure = _gaussian(self.estimator_).leave_out_together(self._rows.get(self.estimator_))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _check_can_be_served(estimator):
    """Raise ValueError unless an estimator is a Gaussian, or a pipeline that ends in one behind what learns nothing."""
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    *front, last = steps
    if is_frozen(last) or not hasattr(last, "leave_out_together"):
        raise ValueError(
            f"{last!r} cannot be fitted on each new image together with the others: full conformal prediction serves "
            "MahalanobisDetector, unfitted, alone or at the end of a pipeline. FPRThresholdCV takes any detector."
        )
    learning = [step for step in front if step not in (None, "passthrough") and not learns_nothing(step)]
    if learning:
        raise ValueError(
            f"{learning[0]!r} learns from the images, and would have to learn anew from each new one; behind a "
            "reduction that finds hardly any anomaly. Leave it out: MahalanobisDetector(levels='joint') needs no "
            "reduction. FPRThresholdCV takes any pipeline."
        )


def _gaussian(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator
