"""Several detectors as one: their scores, each made comparable on images that it has not seen, and averaged."""

from dataclasses import fields

import numpy as np
from sklearn.base import MetaEstimatorMixin
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import take_names
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._metadata import route_fit
from .._conventions._normals import Normals, read_normals
from .._conventions._parameters import read_fpr
from .._conventions._scores import check_has_scores, read_scores
from .._conventions._sklearn import BaseComposition, slice_metadata
from .._conventions._transaction import all_or_nothing
from ._learnt_columns import find_learnt_column
from ._out_of_fold import find_consumer, find_splitter, fit_and_score, is_frozen, list_folds

_DEMANDS = ("positive_only", "pairwise")  # tags of what a detector insists on; all others say what it bears


class CombinedDetector(ScoredOutlierMixin, MetaEstimatorMixin, StampedEstimator, BaseComposition):
    """The mean of several detectors' scores, each standardised on normal images that it has not seen.

    Detectors that look at different things miss different defects: pooled features see an image as a whole, feature
    maps see its places. Their scores have units of their own; counted in standard deviations of the scores of new
    normal images, they compare. No anomalous image is needed.

    Parameters
    ----------
    detectors : list of (str, estimator)
        Named outlier detectors, each with ``score_samples`` or ``decision_function`` (higher = more normal), that take
        the same input. Parameters of one are set as ``name__parameter``; "drop" in its place leaves it out.
    cv : int, "loo", splitter or iterable, default=5
        The folds in which new normal images are mimicked, as in `FPRThresholdCV`.
    fpr : float in (0, 1), default=0.01
        For ``offset_``, see there.
    n_jobs : int, default=None
        Folds that are fitted in parallel, for detectors that are refitted.
    verbose : int, default=0
        How much joblib reports while the folds are fitted.

    Attributes
    ----------
    detectors_ : list of estimator
        Fitted on all normal images.
    named_detectors_ : dict
        The same by their names.
    mean_, scale_ : ndarray of shape (n_detectors,)
        Mean and standard deviation of each detector's scores of normal images out of fold.
    offset_ : float
        ``decision_function = score_samples - offset_``. The score that a share `fpr` of the normal images lies below,
        out of fold: no guarantee, and coarse for few images. `FPRThresholdCV` around this detector sets a threshold
        that holds, and costs nothing more: the same folds serve.

    See Also
    --------
    FPRThresholdCV : A threshold that holds.
    LevelwiseDetector : One detector on several levels.

    Notes
    -----
    On images, every detector runs the network for itself. A pipeline that begins with `DeepFeatureTransformer` runs it
    in every fold, unless its ``cache`` is set.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> from skgad import CombinedDetector, MahalanobisDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> parts = [("gaussian", MahalanobisDetector()), ("lof", LocalOutlierFactor(novelty=True))]
    >>> detector = CombinedDetector(parts).fit(X)
    >>> detector.predict([[0.0, 0.0, 0.0, 0.0], [5.0, -5.0, 5.0, 5.0]])
    array([ 1, -1])
    """

    def __init__(self, detectors, *, cv=5, fpr=0.01, n_jobs=None, verbose=0):
        self.detectors = detectors
        self.cv = cv
        self.fpr = fpr
        self.n_jobs = n_jobs
        self.verbose = verbose

    def get_params(self, deep=True):
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of the detectors too.

        Returns
        -------
        dict
        """
        return self._get_params("detectors", deep=deep)

    def set_params(self, **params):
        """Set parameters, detectors by their names, or parameters of theirs.

        Parameters
        ----------
        **params : dict
            ``cv=10``, ``name=detector`` or ``name__parameter=value``.

        Returns
        -------
        self
        """
        self._set_params("detectors", **params)
        return self

    @all_or_nothing
    def fit(self, X, y=None, **fit_params):
        """Fit all detectors, and standardise their scores.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Whatever all detectors take.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.
        **fit_params : dict
            Metadata that detectors or `cv` request, such as ``sample_weight``, where scikit-learn's metadata routing is
            enabled.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, a detector is frozen, there are fewer normal images than folds, a detector
            gives all of them the same score, or one that is not finite, or metadata come without routing.
        TypeError
            If a detector has neither ``score_samples`` nor ``decision_function``, or PyOD's sign.
        """
        routed = route_fit(self, **fit_params)
        normals = read_normals(X, y)
        metadata = {name: slice_metadata(X, routed[name].fit, normals.rows) for name, _ in self._list_parts()}
        splitter = find_splitter(self.cv, len(normals), grouped=False)
        to_splitter = slice_metadata(X, routed["cv"].split, normals.rows) if find_consumer(self.cv) is not None else {}
        folds = None if splitter is None else list_folds(splitter, normals, to_splitter)
        with normals.errors_for_caller():
            self._fit(normals, folds, metadata)
        return self

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold, **fit_params):
        """Fit on all images, and score each by detectors that have not seen its fold: what `FPRThresholdCV` asks for.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Normal images.
        fold : array-like of int of shape (n_samples,)
            Images with the same number are left out together.
        **fit_params : dict
            As in `fit`.

        Returns
        -------
        out_of_fold, in_sample : ndarray of shape (n_samples,)
            Scores. The standardisation, two numbers a detector, is that of all images.
        """
        routed = route_fit(self, **fit_params)
        fold = np.asarray(fold)
        numbers = np.unique(fold)
        folds = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in numbers]
        metadata = {name: routed[name].fit for name, _ in self._list_parts()}
        normals = Normals(X, np.arange(len(fold)))
        return self._fit(normals, None if len(numbers) == len(fold) else folds, metadata)

    def get_metadata_routing(self):
        """Return where metadata go: to the detectors and the splitter that request them.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        router = MetadataRouter(owner=self)
        for name, one in self._list_parts():
            router.add(**{name: one}, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        if find_consumer(self.cv) is not None:
            router.add(cv=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        return router

    def score_samples(self, X):
        """Return the mean of the standardised scores: higher is more normal.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self._combine([read_scores(one, X) for one in self.detectors_])

    def _fit(self, normals, folds, metadata):
        """Set all that a fit sets; return the combined scores, out of fold and in sample."""
        share = read_fpr(self.fpr)
        names, detectors = zip(*self._check_parts(), strict=True)
        how = {"n_jobs": self.n_jobs, "verbose": self.verbose, "check_drift": False}
        fits = [
            fit_and_score(one, normals, folds, None, metadata=metadata[name], **how)[:3]
            for name, one in zip(names, detectors, strict=True)
        ]
        fitted, out_of_fold, in_sample = zip(*fits, strict=True)
        scale = np.std(out_of_fold, axis=1)
        if not scale.min() > 0:
            raise ValueError(f"Detector {names[scale.argmin()]!r} gives all normal images the same score out of fold.")
        self.detectors_ = list(fitted)
        self.named_detectors_ = dict(zip(names, fitted, strict=True))
        self.mean_, self.scale_ = np.mean(out_of_fold, axis=1), scale
        combined = self._combine(out_of_fold)
        self.offset_ = float(np.quantile(combined, float(share), method="lower"))
        self._doubt = _find_doubt(normals.X, self.fpr)
        take_names(self, next((one for one in fitted if hasattr(one, "n_features_in_")), fitted[0]))
        return combined, self._combine(in_sample)

    def _combine(self, scores):
        pairs = zip(scores, self.mean_, self.scale_, strict=True)
        return np.mean([(one - mean) / scale for one, mean, scale in pairs], axis=0)

    def _list_parts(self):
        """Return the named detectors that are not dropped."""
        try:
            return [(name, one) for name, one in self.detectors if not (isinstance(one, str) and one == "drop")]
        except (TypeError, ValueError):
            raise ValueError(f"detectors must be a list of (name, detector); got {self.detectors!r}.") from None

    def _check_parts(self):
        parts = self._list_parts()
        if not parts:
            raise ValueError("detectors is empty, or all of it is dropped; give at least one (name, detector).")
        self._validate_names([name for name, _ in parts])
        for name, one in parts:
            check_has_scores(f"detector {name!r}", one)
            if is_frozen(one):
                raise ValueError(
                    f"Detector {name!r} is frozen: its scores of these images would pass for those of new ones. Pass "
                    "it without FrozenEstimator; it is fitted here."
                )
        return parts

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inputs = [get_tags(one).input_tags for _, one in self._list_parts()]
        for field in fields(tags.input_tags) if inputs else ():
            combine = any if field.name in _DEMANDS else all
            setattr(tags.input_tags, field.name, combine(getattr(one, field.name) for one in inputs))
        return tags


def _find_doubt(X, fpr):
    """Return why ``offset_`` will not hold, where it stands on columns that were learnt in front of the folds."""
    found = find_learnt_column(X)
    if found is None:
        return ""
    return (
        f"CombinedDetector's own threshold will not hold fpr={fpr}: {found[1]} in front of it learnt from the images "
        "that it leaves out of its folds. FPRThresholdCV around both sets one that does."
    )
