"""The working point that holds: a threshold from scores of normal images by detectors that have not seen them."""

from typing import ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.model_selection import GroupKFold
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from .._conventions._base import StampedEstimator
from .._conventions._columns import take_names
from .._conventions._metadata import route_fit
from .._conventions._normals import read_normals
from .._conventions._parameters import read_fpr
from .._conventions._scores import check_has_scores, check_scores, read_scores
from .._conventions._sklearn import slice_metadata
from .._conventions._transaction import all_or_nothing
from .._conventions._warnings import warn
from ..exceptions import WorkingPointWarning
from ._calibrated import CalibratedMixin
from ._closed_form import find_learnt_rows
from ._closed_form import is_offered as leaves_out_in_closed_form
from ._inner_maps import InnerMapsMixin
from ._kept_rows import KeptRows, keep_rows
from ._learnt_columns import refuse_learnt_columns
from ._out_of_fold import (
    choose_cv,
    counts_folds,
    find_consumer,
    find_splitter,
    fit_and_score,
    is_frozen,
    list_folds,
)
from ._updates import UpdatesMixin
from ._working_point import Labels, WorkingPoint, check_reachable, count_groups, read_small_categories


class FPRThresholdCV(UpdatesMixin, InnerMapsMixin, CalibratedMixin, MetaEstimatorMixin, StampedEstimator):
    r"""Set the threshold of any outlier detector at a false-positive rate, by cross-validation on the normal images.

    Every normal image is scored by an `estimator` that has not seen it; the threshold is the conformal quantile of
    these scores, and the detector that is kept is fitted on all images.

    Parameters
    ----------
    estimator : estimator
        An outlier detector, or a pipeline that ends in one, with ``score_samples`` or ``decision_function`` (higher =
        more normal; PyOD's have the other sign, and need a wrapper). Whatever learns from the images belongs inside:
        `NPCA` picks its directions on the same images, and where the names of the columns tell that it stood in front,
        that is refused. The feature extractor learns nothing and belongs in front.
        A detector that is fitted already is fitted anew, unless it comes as ``FrozenEstimator(detector)``: then it is
        kept, and calibrated on the images given here, which it must not have seen (*split calibration*).
    fpr : float in (0, 1), default=0.01
        The false-positive rate: the share of normal images that may be called anomalous.
    cv : None, int, "loo", splitter or iterable, default=None
        None leaves out one image at a time where that takes no refits: for a `MahalanobisDetector`, alone or at the end
        of a pipeline behind `NPCA` or ``LevelwiseTransformer(PCA(...))`` and steps that learn nothing, and for a
        `MahalanobisMixture` with its modes held. Elsewhere, and where ``groups`` are given, it means twenty folds. An
        int makes that many contiguous folds without shuffling, or as many of whole groups; for images in an order that
        matters (kinds one after the other), pass ``KFold(20, shuffle=True, random_state=0)``. "loo" leaves out one
        image at a time, by refits where need be. A splitter or an iterable is taken as in scikit-learn, with positions
        among the normal images. Unused for a frozen detector.
    small_categories : {"raise", "pool"}, default="raise"
        Where ``categories`` are given to `fit`: what becomes of one with too few images for `fpr`. "pool" judges it,
        and those that are not known, by all images together, which keeps no rate for it.
    n_jobs : int, default=None
        Folds that are fitted in parallel.
    verbose : int, default=0
        How much joblib reports meanwhile.

    Attributes
    ----------
    estimator_ : estimator
        The detector fitted on all normal images.
    offset_ : float
        ``decision_function = score_samples - offset_``; with categories, see ``offsets_``, that of the mixture.
    offsets_ : dict of float
        The threshold of each category, by its name; only where ``categories`` were given.
    out_of_fold_scores_ : ndarray of shape (n_normals,)
        The score of each normal image by the model that did not see it, in the order of ``X``.
    n_groups_ : int
        How many things the calibration counts: groups where they were given, normal images otherwise.
    fpr_interval_ : tuple of two floats
        Where 95 of 100 calibrations put the rate, by the law Beta(k, n + 1 - k). Exact for split calibration without
        groups, on i.i.d. continuous scores; nominal elsewhere.
    inflation_ : float
        Mean squared distance out of fold over that in sample, a distance being minus a score: how much farther out new
        images lie than those that were learnt. NaN where some scores are positive, and for a frozen detector.
    drifted_fpr_ : float
        The rate to be expected if the scores of new images change from the models of the folds to the final one as they
        do when a further fold is added: a rough check of the fit's stability, by one more fit. NaN where no folds are
        refitted, for fewer than five of them, and where a fit without two folds fails (which is warned of).
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number and names of the columns seen in ``fit``, where `estimator` keeps them.

    Warns
    -----
    WorkingPointWarning
        In `fit`, if ``drifted_fpr_`` lies outside of ``fpr_interval_``, or cannot be told.

    See Also
    --------
    FPRThreshold : The paper's threshold from the chi-square law.

    Notes
    -----
    With n normal images, ``k = floor((n + 1) * fpr)`` in exact arithmetic, the threshold is the k-th lowest score; an
    image below it is called anomalous. One that ties with it is not: calibration images count as no less anomalous than
    the images that they tie with. Fewer than ``1/fpr - 1`` normal images give k = 0: refused.

    *What is guaranteed.* Split calibration on exchangeable normals: P(false alarm) <= k/(n+1), k = floor((n+1)*fpr),
    over the draw of the calibration set; the realised rate follows Beta(k, n+1-k) for i.i.d. continuous scores. Out of
    fold plus refit, leave-one-out included: no finite-sample guarantee (asymptotic, if the fit is stable); usually a
    little conservative, since fold models see fewer images; its p-values and interval are approximate. Leave-one-out in
    closed form equals refits within rounding; behind `NPCA` and from a thousand images on, within a thousandth. With
    groups (several photographs of one part), each group counts once, and P(false alarm) <= fpr for a group that is
    exchangeable with these, by the p-value

    .. math:: p(s) = \frac{1}{G + 1} \Bigl(1 + \sum_g \frac{\#\{i \in g : s_i \le s\}}{|g|}\Bigr)

    *Where folds are off.* Behind a reduction, with about as many images as features, twenty folds reached up to four
    times a target of 10 %. The warning tells of fewer than half of such misses; leave-one-out mends them.

    All of it is about new images that are exchangeable with these, not of parts, batches or cameras not among them.

    *False discoveries.* ``scipy.stats.false_discovery_control(detector.p_values(X)) <= q`` calls images anomalous such
    that at most a share q of the calls, on average, is false. That is proved for split-conformal p-values on
    independent images (Bates et al., 2023), not for cross-fitted ones.

    *Cost*: leave-one-out in closed form, a few fits up to a dozen, or, up to a thousand images, a few dozen; folds one
    fit each, and one for the check.

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

    Split calibration makes it a theorem that of such calls in a batch at most one in ten is false, on average:

    >>> from sklearn.frozen import FrozenEstimator
    >>> fitted = MahalanobisDetector().fit(X[:500])
    >>> detector = FPRThresholdCV(FrozenEstimator(fitted)).fit(X[500:])
    >>> batch = np.vstack([new[:80], 3 * new[80:100]])
    >>> calls = false_discovery_control(detector.p_values(batch)) <= 0.1
    >>> int(calls[:80].sum()), int(calls[80:].sum())
    (1, 20)
    """

    # As for scikit-learn's splitters: groups have one meaning, and to ignore them breaks the premise.
    __metadata_request__fit: ClassVar = {"groups": True, "categories": True}
    __metadata_request__predict: ClassVar = {"categories": True}
    __metadata_request__decision_function: ClassVar = {"categories": True}

    def __init__(self, estimator, *, fpr=0.01, cv=None, small_categories="raise", n_jobs=None, verbose=0):
        self.estimator = estimator
        self.fpr = fpr
        self.cv = cv
        self.small_categories = small_categories
        self.n_jobs = n_jobs
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None, *, groups=None, categories=None, **fit_params):
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
        categories : array-like of str or int of shape (n_samples,), default=None
            What each image shows: the kind of part, the camera. Each category gets a threshold of its own, so that
            each keeps the rate, however they differ; `predict` then wants them too.
        **fit_params : dict
            Metadata that `estimator` or `cv` request, such as ``sample_weight``, where scikit-learn's metadata routing
            is enabled. What holds a value for each image is cut down with the images, to the normal ones and to each
            fold.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `fpr` is not in (0, 1) or cannot be reached with so few normal images or groups; there are fewer of them
            than folds; a fold is without normal images, leaves some image without a score or scores it twice, or tears
            a group apart; ``cv="loo"`` comes with groups; a score is not finite; a frozen detector is unfitted or
            stands behind a step that is not frozen; the names of the columns tell that they were learnt from these
            images in front of the folds (``level7__npca0``, ``pca0``, ``level7__chi112``); metadata come without
            routing. The estimator is what it was before.
        TypeError
            If `estimator` has neither ``score_samples`` nor ``decision_function``, or PyOD's sign.
        """
        check_has_scores("estimator", self.estimator)
        share = read_fpr(self.fpr)
        frozen = is_frozen(self.estimator)
        if not frozen:
            refuse_learnt_columns(X)
        cv = choose_cv(self.cv, self.estimator, grouped=groups is not None)
        to_estimator, to_splitter = self._route(cv, groups, fit_params)
        normals = read_normals(X, y)
        to_estimator, to_splitter = (slice_metadata(X, one, normals.rows) for one in (to_estimator, to_splitter))
        labels = Labels.read(groups, categories, X, normals.rows)
        n_groups = count_groups(len(normals), labels.numbers)
        check_reachable(self.fpr, share, n_groups, grouped=groups is not None, at_least=self._count_folds(cv))
        pooled = read_small_categories(self.small_categories)
        WorkingPoint(
            np.zeros(len(normals)), share, labels, pooled=pooled
        )  # a category that is too small is refused now
        with normals.errors_for_caller():
            if frozen:
                drift = self._score_as_it_is(normals)
            else:
                drift = self._score_out_of_fold(normals, cv, labels.numbers, n_groups, to_estimator, to_splitter)
        self._frozen, self._labels = frozen, labels
        self._settle(WorkingPoint(self.out_of_fold_scores_, share, labels, pooled=pooled, drift=drift))
        take_names(self, self.estimator_)
        if self._point.drifts():
            warn(
                f"fpr={self.fpr} may not hold: the scores change from the models of the folds, which learn from fewer "
                f"images, to the final one, and point to a rate of about {self.drifted_fpr_:.2g}; how large the miss "
                "is, and even its direction, is uncertain. Take more folds, or cv='loo'; give a detector that draws at "
                "random a random_state.",
                WorkingPointWarning,
            )
        return self

    @all_or_nothing
    def take_scores(self, estimator, scores, *, inflation=np.nan, n_images=None):
        """Set the threshold from scores that were made elsewhere, on many machines for instance.

        Parameters
        ----------
        estimator : estimator
            The detector, fitted on all normal images.
        scores : array-like of shape (n_scores,)
            Of the normal images, by detectors that have not seen them; or fewer that stand for them.
        inflation : float, default=NaN
            For ``inflation_``.
        n_images : int, default=None
            How many images were learnt; None for as many as scores.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `fpr` is not in (0, 1) or cannot be reached, or a score is not finite.
        """
        share = read_fpr(self.fpr)
        scores = check_scores(estimator, scores, np.arange(len(scores)))
        check_reachable(self.fpr, share, len(scores), grouped=False)
        self.estimator_, self.out_of_fold_scores_, self.inflation_ = estimator, scores, inflation
        self._n_learnt = len(scores) if n_images is None else n_images
        is_offered = leaves_out_in_closed_form(estimator) and self._n_learnt == len(scores)
        self._rows = KeptRows(None) if is_offered and find_learnt_rows(estimator) is not None else None
        self._frozen, self._labels = False, Labels(None, None, None)
        self._settle(WorkingPoint(scores, share, self._labels))
        take_names(self, estimator)
        return self

    def get_metadata_routing(self):
        """Return where metadata go: ``groups`` to this estimator, and what they request to the detector and splitter.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        splitter = self._find_consumer(choose_cv(self.cv, self.estimator, grouped=True))
        if splitter is not None:
            router.add(splitter=splitter, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        return router

    def _route(self, cv, groups, fit_params):
        """Return the metadata of the detector's fit and those of the splitter's split."""
        splitter = self._find_consumer(cv)
        if not get_config()["enable_metadata_routing"]:
            routed = route_fit(self, **fit_params)
            return routed.estimator.fit, {} if groups is None or splitter is None else {"groups": groups}
        routed = route_fit(self, groups=groups, **fit_params)
        return routed.estimator.fit, {} if splitter is None else routed.splitter.split

    def _score_as_it_is(self, normals):
        """Set the scores of images that a frozen detector has not seen; return how far they drift."""
        self.estimator_ = clone(self.estimator).fit(normals.X, None)
        self.out_of_fold_scores_ = check_scores(self.estimator_, read_scores(self.estimator_, normals.X), normals.rows)
        self.inflation_, self._rows = np.nan, None
        return np.nan

    def _score_out_of_fold(self, normals, cv, numbers, n_groups, to_estimator, to_splitter):
        """Set the detector fitted on all normal images, and their scores by others; return how far they drift."""
        splitter = find_splitter(cv, n_groups, grouped=numbers is not None)
        found = fit_and_score(
            self.estimator,
            normals,
            None if splitter is None else list_folds(splitter, normals, to_splitter),
            numbers,
            metadata=to_estimator,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        self._keep(found.estimator, found.out_of_fold, found.in_sample)
        self._rows = None if found.rows is None else keep_rows(found.estimator, found.rows)
        return found.drift

    def _count_folds(self, cv):
        return int(cv) if counts_folds(cv) and not is_frozen(self.estimator) else 1

    def _find_consumer(self, cv):
        return GroupKFold(cv) if counts_folds(cv) else find_consumer(cv)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags
