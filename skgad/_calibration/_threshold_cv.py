"""The working point that holds: a threshold from scores of normal images by detectors that have not seen them."""

from typing import ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.model_selection import GroupKFold
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import all_or_nothing, check_has_scores, count_samples, read_scores, take_names
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._labels import normal_rows
from .._conventions._warnings import warn
from ..exceptions import WorkingPointWarning
from ._conformal import (
    aimed_rate,
    conformal_rank,
    groups_needed,
    p_value_steps,
    rate_interval,
    read_p_values,
    threshold,
)
from ._out_of_fold import (
    check_scores,
    counts_folds,
    find_splitter,
    fit_and_score,
    is_frozen,
    number_groups,
    read_positions,
)


def _has(method):
    return lambda self: hasattr(getattr(self, "estimator_", self.estimator), method)


class FPRThresholdCV(ScoredOutlierMixin, MetaEstimatorMixin, StampedEstimator):
    r"""Set the threshold of any outlier detector at a false-positive rate, by cross-validation on the normal images.

    Every normal image is scored by a clone of `estimator` that was fitted without it. The threshold is the conformal
    quantile of these scores; the detector that is kept is fitted on all of them.

    Parameters
    ----------
    estimator : estimator
        An outlier detector, or a pipeline that ends in one, with ``score_samples`` or ``decision_function`` (higher =
        more normal; PyOD's have the other sign, and need a wrapper). Whatever learns from the images belongs inside:
        `NPCA` picks its directions on the same images, so it must be refitted with each fold. The feature extractor
        learns nothing and belongs in front. A detector that is fitted already is fitted anew, unless it comes as
        ``FrozenEstimator(detector)``: then it is kept, and calibrated on the images given here, which it must not have
        seen (*split calibration*).
    fpr : float in (0, 1), default=0.01
        The false-positive rate: the share of normal images that may be called anomalous.
    cv : int, "loo", splitter or iterable, default=20
        The folds, as in scikit-learn; an iterable counts positions among the normal images. An int makes that many
        contiguous folds without shuffling, or as many of whole groups where ``groups`` are given; for images in an
        order that matters (kinds one after the other), pass ``KFold(20, shuffle=True, random_state=0)``. Each fold
        model sees fewer images than the final one: five folds are often off, see the notes. "loo" leaves out one image
        at a time: in closed form for a `MahalanobisDetector`, by refits for others. Unused for a frozen detector.
    n_jobs : int, default=None
        Folds that are fitted in parallel, as in scikit-learn.
    verbose : int, default=0
        How much joblib reports while the folds are fitted.

    Attributes
    ----------
    estimator_ : estimator
        The detector fitted on all normal images.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    out_of_fold_scores_ : ndarray of shape (n_normals,)
        The score of each normal image by the model that did not see it, in the order of ``X``.
    n_groups_ : int
        How many things the calibration counts: groups where they were given, normal images otherwise.
    fpr_interval_ : tuple of two floats
        Where 95 of 100 calibrations put the rate, by the law Beta(k, n + 1 - k). Exact for split calibration without
        groups, on i.i.d. continuous scores; nominal elsewhere.
    inflation_ : float
        Mean squared distance out of fold over that in sample, a distance being minus a score: how much farther out new
        images lie than those that were learnt. NaN where scores are not minus a distance (some are positive), and for a
        frozen detector, whose training images are not here. Negative scores of another kind, such as log-densities, get
        a number that does not mean this.
    drifted_fpr_ : float
        The rate to be expected if the scores of new images change from the models of the folds to the final one as they
        do when a further fold is added: a rough check of the fit's stability, by one more fit. NaN where nothing is
        refitted (a frozen detector, one that leaves folds out by itself as a lone `MahalanobisDetector`, a
        `CombinedDetector` and the detectors of `skgad.spatial` do), for
        "loo", for fewer than five folds, and where a fit without two folds fails (which is warned of).
    n_features_in_ : int
        Number of columns seen in ``fit``, where `estimator` says so.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where `estimator` keeps them.

    Warns
    -----
    WorkingPointWarning
        In `fit`, if ``drifted_fpr_`` lies outside of ``fpr_interval_``, or the fit that tells it fails.

    See Also
    --------
    FPRThreshold : The paper's threshold from the chi-square law.
    sklearn.model_selection.TunedThresholdClassifierCV : The same idea for classifiers, with anomalies at hand.

    Notes
    -----
    With n normal images, ``k = floor((n + 1) * fpr)`` in exact arithmetic, the threshold is the k-th lowest score; an
    image below it is called anomalous. One that ties with it is not: calibration images count as no less anomalous than
    the images that they tie with. Fewer than ``1/fpr - 1`` normal images give k = 0: refused.

    *What is guaranteed.* Split calibration on exchangeable normals: P(false alarm) <= k/(n+1), k = floor((n+1)*fpr),
    over the draw of the calibration set; the realised rate follows Beta(k, n+1-k) for i.i.d. continuous scores. Out of
    fold plus refit, leave-one-out included: no finite-sample guarantee (asymptotic, if the fit is stable); usually a
    little conservative, since fold models see fewer images; its p-values and interval are approximate. The closed form
    holds the shrinkage and its target fixed: a further approximation. With groups (several photographs of one part),
    each group counts once, and P(false alarm) <= fpr for a group that is exchangeable with these, by the p-value

    .. math:: p(s) = \frac{1}{G + 1} \Bigl(1 + \sum_g \frac{\#\{i \in g : s_i \le s\}}{|g|}\Bigr)

    *Where folds are off.* Behind `NPCA` or PCA, and for the empirical covariance, with about as many images as
    features, the scale of the distances depends steeply on the number of images, so that fold models say little about
    the final one: twenty folds reached up to four times a target of 10 %, five folds up to ten times or a tenth of it.
    The warning tells of most such misses with five folds, of fewer than half with twenty; "loo" mends them.
    `docs/conventions.md` has the measurements.

    All of it is about new images that are exchangeable with these. Nothing is known about images from a part, a batch
    or a camera that is not among them.

    *False discoveries.* ``scipy.stats.false_discovery_control(detector.p_values(X)) <= q`` calls images anomalous such
    that at most a share q of the calls, on average, is false. That is proved for split-conformal p-values on
    independent images (Bates et al., 2023), not for cross-fitted ones. And the smallest p-value is 1/(n+1): among m
    images at level q, there are m/(q*(n+1)) calls or more, or none.

    *Cost*: one fit a fold, one for all, one for the check, and two scores an image; a detector with a method
    ``fit_score_out_of_fold`` takes its own way (`docs/conventions.md`). Leave-one-out of a `MahalanobisDetector` costs
    O(n D²) like a plain fit.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapters 2 and 4 (conformal and
    cross-conformal prediction). Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023
    (groups). Bates, Candès, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics
    51, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import false_discovery_control
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgad import FPRThresholdCV, MahalanobisDetector, NPCA
    >>> rng = np.random.default_rng(0)
    >>> X, new = rng.normal(size=(1000, 20)), rng.normal(size=(10_000, 20))
    >>> detector = FPRThresholdCV(make_pipeline(NPCA(0.5), MahalanobisDetector()), fpr=0.05).fit(X)
    >>> round(float((detector.predict(new) == -1).mean()), 2)  # over such draws of X: 0.05, give or take 0.01
    0.06

    Among a batch of 100 images, 20 of them anomalous, at most about one call in ten is to be false. Split calibration
    makes it a theorem:

    >>> from sklearn.frozen import FrozenEstimator
    >>> fitted = MahalanobisDetector().fit(X[:500])
    >>> detector = FPRThresholdCV(FrozenEstimator(fitted)).fit(X[500:])
    >>> batch = np.vstack([new[:80], 3 * new[80:100]])
    >>> calls = false_discovery_control(detector.p_values(batch)) <= 0.1
    >>> int(calls[:80].sum()), int(calls[80:].sum())
    (1, 20)
    """

    # As for scikit-learn's splitters: groups have one meaning, and to ignore them breaks the premise.
    __metadata_request__fit: ClassVar = {"groups": True}

    def __init__(self, estimator, *, fpr=0.01, cv=20, n_jobs=None, verbose=0):
        self.estimator = estimator
        self.fpr = fpr
        self.cv = cv
        self.n_jobs = n_jobs
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None, *, groups=None):
        """Score the normal images out of fold, set the threshold, and refit on all of them.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Whatever `estimator` takes.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.
        groups : array-like of shape (n_samples,), default=None
            Which images belong together: photographs of one part, cells of one module. They stay on one side of each
            fold, and each group counts once. Goes to `cv` too, if that is a splitter of groups.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `fpr` is not in (0, 1) or cannot be reached with so few normal images or groups; there are fewer of them
            than folds; a fold is without normal images, leaves some image without a score or scores it twice, or tears
            a group apart; ``cv="loo"`` comes with groups; a score is not finite; a frozen detector is unfitted or
            stands behind a step that is not frozen. The estimator is what it was before.
        TypeError
            If `estimator` has neither ``score_samples`` nor ``decision_function``.
        """
        check_has_scores("estimator", self.estimator)
        X, groups, numbers = self._read_normals(X, y, groups)
        n_samples = count_samples(X)
        n_groups = n_samples if groups is None else int(numbers.max()) + 1
        rank = self._find_rank(n_groups, grouped=groups is not None)
        frozen = is_frozen(self.estimator)
        if frozen:
            estimator = clone(self.estimator).fit(X, None)
            scores = check_scores(estimator, read_scores(estimator, X), n_samples)
            inflation = drift = np.nan
        else:
            folds = self._make_folds(X, n_samples, groups, n_groups)
            estimator, scores, in_sample, drift = fit_and_score(
                self.estimator, X, n_samples, folds, numbers, n_jobs=self.n_jobs, verbose=self.verbose
            )
            inflation = _inflation(scores, in_sample)
        self._edges, self._p_values = p_value_steps(scores, numbers)
        self._rank = rank
        self._aim, self._exact = aimed_rate(self.fpr, self._p_values), frozen and groups is None
        self.n_groups_ = n_groups
        self.out_of_fold_scores_ = scores
        self.offset_ = threshold(self.fpr, self._edges, self._p_values)
        self.fpr_interval_ = rate_interval(rank, n_groups)
        self.inflation_ = inflation
        self.drifted_fpr_ = self._predict_rate(drift)
        self.estimator_ = estimator
        take_names(self, estimator)
        if self._drifts():
            warn(
                f"fpr={self.fpr} may not hold: the scores change from the models of the folds, which learn from fewer "
                f"images, to the final one, and point to a rate of about {self.drifted_fpr_:.2g}; how large the miss "
                "is, and even its direction, is uncertain. Take more folds, or cv='loo'; give a detector that draws at "
                "random a random_state.",
                WorkingPointWarning,
            )
        return self

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
        scores = np.asarray(read_scores(self.estimator_, X), dtype=np.float64)
        if np.isnan(scores).any():
            raise ValueError(f"{self.estimator_!r} gives the score NaN to image {np.argmax(np.isnan(scores))}.")
        return scores

    def p_values(self, X):
        """Return the conformal p-value of each image: the share of calibration images that are as anomalous.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
            In (0, 1], a multiple of 1/(n+1) without groups. ``predict`` is -1 just where it is at most `fpr`.
        """
        return read_p_values(self.score_samples(X), self._edges, self._p_values)

    @available_if(_has("score_maps"))
    def score_maps(self, X):
        """Return the anomaly maps of the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, image_size, image_size)
        """
        check_is_fitted(self)
        return self.estimator_.score_maps(X)

    @available_if(_has("predict_masks"))
    def predict_masks(self, X):
        """Return which pixels are anomalous by the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of bool of shape (n_samples, image_size, image_size)
        """
        check_is_fitted(self)
        return self.estimator_.predict_masks(X)

    def summary(self):
        """Return in plain language what was calibrated, on what, and what can be said about the rate.

        Returns
        -------
        str
        """
        check_is_fitted(self)
        n_images, n_groups = len(self.out_of_fold_scores_), self.n_groups_
        basis = f"{n_images} normal images"
        if n_groups < n_images:
            basis += f" in {n_groups} groups, each of which counts once"
        low, high = self.fpr_interval_
        exact = "This is exact for independent images whose scores do not tie."
        nominal = "This is nominal: the law is exact only for split calibration, one image a group."
        lines = [
            f"An image is called anomalous if its score is below {self.offset_:.6g}.",
            f"Asked for: {float(self.fpr):.4g} of the normal images. Aimed at: {self._aim:.4g}. The smallest rate with "
            f"{n_groups} {'groups' if n_groups < n_images else 'images'} is {1 / (n_groups + 1):.4g}.",
            f"The threshold rests on {basis}, none of which was seen by the model that scored it.",
            f"In 95 of 100 such calibrations the rate lies between {low:.3g} and {high:.3g}. "
            + (exact if self._exact else nominal),
        ]
        if not np.isnan(self.inflation_):
            lines.append(
                f"Where images were not learnt, their mean squared distance is {self.inflation_:.3g} times as large."
            )
        if self._drifts():
            lines.append(
                f"It may not hold: the models of the folds point to a rate of about {self.drifted_fpr_:.2g}, with "
                "little certainty. Take more folds, or cv='loo'."
            )
        lines.append(
            "All of it holds for images like these, not for parts, batches or cameras that are not among them."
        )
        return "\n".join(lines)

    def get_metadata_routing(self):
        """Return where metadata go: ``groups`` to this estimator and to the splitter.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        router, splitter = MetadataRouter(owner=self).add_self_request(self), self._routed_splitter()
        if splitter is not None:
            router.add(splitter=splitter, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        return router

    def _read_normals(self, X, y, groups):
        """Return the normal images, their groups as given, and the number of each one's group."""
        X = indexable(X)[0]
        n_samples = count_samples(X)
        if n_samples == 0:
            raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
        rows = normal_rows(y, n_samples)
        rows = np.arange(n_samples) if rows is None else rows
        X = X if len(rows) == n_samples else _safe_indexing(X, rows)
        if groups is None:
            return X, None, None
        numbers = number_groups(groups, n_samples, rows)
        return X, np.asarray(groups)[rows], numbers

    def _find_rank(self, n_groups, grouped):
        rank = conformal_rank(self.fpr, n_groups)
        if rank < 1:
            what, count = ("groups of normal images", "n_groups") if grouped else ("normal images", "n_samples")
            raise ValueError(
                f"fpr={self.fpr} cannot be reached with {count} = {n_groups} {what}: the smallest rate is "
                f"1/{n_groups + 1} = {1 / (n_groups + 1):.3g}. Raise fpr, or give at least "
                f"{self._count_needed()} {'groups' if grouped else 'images'}."
            )
        return rank

    def _count_needed(self):
        """Return how many images or groups the rate and the folds need."""
        folds = self.cv if counts_folds(self.cv) and not is_frozen(self.estimator) else 1
        return max(groups_needed(self.fpr), int(folds))

    def _make_folds(self, X, n_samples, groups, n_groups):
        """Return the folds as a list of positions, or None to leave out one image at a time."""
        splitter = find_splitter(self.cv, n_groups, grouped=groups is not None)
        if splitter is None:
            return None
        folds = splitter.split(X, np.ones(n_samples, dtype=int), **self._split_params(groups))
        return [(read_positions(train), read_positions(test)) for train, test in folds]

    def _split_params(self, groups):
        if groups is None or self._routed_splitter() is None:
            return {}
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", groups=groups).splitter.split
        return {"groups": groups}

    def _routed_splitter(self):
        """Return the splitter that groups go to; None for leave-one-out and folds that are listed."""
        if counts_folds(self.cv):
            return GroupKFold(self.cv)
        return self.cv if hasattr(self.cv, "split") and not isinstance(self.cv, str) else None

    def _predict_rate(self, drift):
        """Return the rate aimed at, and what is added to it when the scores of new images rise by `drift`."""
        if np.isnan(drift):
            return np.nan
        edges = np.nextafter([self.offset_, self.offset_ - drift], -np.inf)
        before, after = read_p_values(edges, self._edges, self._p_values)
        return float(min(max(self._aim + after - before, 0), 1))

    def _drifts(self):
        low, high = self.fpr_interval_
        rate = self._rank / (self.n_groups_ + 1) + self.drifted_fpr_ - self._aim  # ties and groups shift the aim
        return rate < low or rate > high

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _inflation(out_of_fold, in_sample):
    """Return the ratio of mean squared distances, NaN where the scores are not minus a distance."""
    inside = np.mean(np.square(in_sample))
    if max(out_of_fold.max(), in_sample.max()) > 0 or inside == 0:
        return np.nan
    return float(np.mean(np.square(out_of_fold)) / inside)
