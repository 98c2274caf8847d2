"""Several detectors as one: their scores, each made comparable on images that it has not seen, and averaged."""

import numpy as np
from sklearn.base import MetaEstimatorMixin
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import all_or_nothing, check_has_scores, count_samples, read_scores, take_names
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._labels import normal_rows
from .._conventions._parameters import read_fpr
from ._out_of_fold import find_splitter, fit_and_score, is_frozen, read_positions


class CombinedDetector(ScoredOutlierMixin, MetaEstimatorMixin, StampedEstimator, _BaseComposition):
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
    def fit(self, X, y=None):
        """Fit all detectors, and standardise their scores.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Whatever all detectors take.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, a detector is frozen, there are fewer normal images than folds, or a
            detector gives all of them the same score, or one that is not finite.
        TypeError
            If a detector has neither ``score_samples`` nor ``decision_function``.
        """
        X = indexable(X)[0]
        n_samples = count_samples(X)
        if n_samples == 0:
            raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
        rows = normal_rows(y, n_samples)
        if rows is not None and len(rows) < n_samples:
            X, n_samples = _safe_indexing(X, rows), len(rows)
        splitter = find_splitter(self.cv, n_samples, grouped=False)
        folds = None
        if splitter is not None:
            parts = splitter.split(X, np.ones(n_samples, dtype=int))
            folds = [(read_positions(train), read_positions(test)) for train, test in parts]
        self._fit(X, n_samples, folds)
        return self

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold):
        """Fit on all images, and score each by detectors that have not seen its fold: what `FPRThresholdCV` asks for.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Normal images.
        fold : array-like of int of shape (n_samples,)
            Images with the same number are left out together.

        Returns
        -------
        out_of_fold, in_sample : ndarray of shape (n_samples,)
            Scores. The standardisation, two numbers a detector, is that of all images.
        """
        fold = np.asarray(fold)
        numbers = np.unique(fold)
        parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in numbers]
        return self._fit(X, len(fold), None if len(numbers) == len(fold) else parts)

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

    def _fit(self, X, n_samples, folds):
        """Set all that a fit sets; return the combined scores, out of fold and in sample."""
        names, detectors = self._check_parameters()
        how = {"n_jobs": self.n_jobs, "verbose": self.verbose, "check_drift": False}
        fits = [fit_and_score(one, X, n_samples, folds, None, **how)[:3] for one in detectors]
        fitted, out_of_fold, in_sample = zip(*fits, strict=True)
        scale = np.std(out_of_fold, axis=1)
        if not scale.min() > 0:
            raise ValueError(f"Detector {names[scale.argmin()]!r} gives all normal images the same score out of fold.")
        self.detectors_ = list(fitted)
        self.named_detectors_ = dict(zip(names, fitted, strict=True))
        self.mean_, self.scale_ = np.mean(out_of_fold, axis=1), scale
        combined = self._combine(out_of_fold)
        self.offset_ = float(np.quantile(combined, float(self.fpr), method="lower"))
        take_names(self, fitted[0])
        return combined, self._combine(in_sample)

    def _combine(self, scores):
        pairs = zip(scores, self.mean_, self.scale_, strict=True)
        return np.mean([(one - mean) / scale for one, mean, scale in pairs], axis=0)

    def _check_parameters(self):
        read_fpr(self.fpr)
        try:
            pairs = [(name, one) for name, one in self.detectors if not (isinstance(one, str) and one == "drop")]
        except (TypeError, ValueError):
            raise ValueError(f"detectors must be a list of (name, detector); got {self.detectors!r}.") from None
        if not pairs:
            raise ValueError("detectors is empty, or all of it is dropped; give at least one (name, detector).")
        names, detectors = zip(*pairs, strict=True)
        self._validate_names(names)
        for name, one in pairs:
            check_has_scores(f"detector {name!r}", one)
            if is_frozen(one):
                raise ValueError(
                    f"Detector {name!r} is frozen: its scores of these images would pass for those of new ones. Pass "
                    "it without FrozenEstimator; it is fitted here."
                )
        return names, detectors

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        first = [one for _, one in self.detectors if one != "drop"][:1]
        if first:
            tags.input_tags = get_tags(first[0]).input_tags
        return tags
