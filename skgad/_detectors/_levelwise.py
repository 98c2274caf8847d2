"""Any scikit-learn transformer or outlier detector, cloned for each level.

The papers' per-level PCA (Table III) and one-class SVM rows are these: ``LevelwiseTransformer(PCA(0.99))`` in front of
the Gaussian, ``LevelwiseDetector(OneClassSVM())``.
"""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import MetaEstimatorMixin, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._levels import frame_like, join
from .._conventions._scores import check_has_scores, read_scores
from .._conventions._transaction import all_or_nothing
from ._pull_back import pull_back


class LevelwiseTransformer(TransformerMixin, MetaEstimatorMixin, StampedEstimator):
    """A clone of a transformer for each level.

    Parameters
    ----------
    transformer : estimator
        Any scikit-learn transformer of two-dimensional arrays, such as ``PCA(0.99)``.

    Attributes
    ----------
    levels_ : list of str
        The levels found in the column names, ``[""]`` for columns without one.
    transformers_ : list of estimator
        For each level the fitted clone.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where all are strings.

    See Also
    --------
    sklearn.compose.ColumnTransformer : Different transformers for columns that are listed by hand.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, Table III.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.decomposition import PCA
    >>> from skgad import LevelwiseTransformer
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> frame = pd.DataFrame(X, columns=["level1__0", "level1__1", "level2__0", "level2__1"])
    >>> LevelwiseTransformer(PCA(1)).fit_transform(frame).columns.tolist()
    ['level1__pca0', 'level2__pca0']
    """

    def __init__(self, transformer):
        self.transformer = transformer

    @all_or_nothing
    def fit(self, X, y=None):
        """Fit a clone on each level.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Columns named ``level7__…`` are treated level by level, others as one group.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self
        """
        X, groups = read_normal_rows(self, X, y, reset=True)
        fitted = [_strip_output(clone(self.transformer)).fit(X[:, columns]) for columns in groups.values()]
        self._groups = groups
        self.levels_ = list(groups)
        self.transformers_ = fitted
        return self

    def transform(self, X):
        """Return each level transformed by its clone, side by side.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        array or frame of shape (n_samples, n_outputs)
            In the container of `X`.

        Raises
        ------
        ValueError
            If a clone gives sparse matrices.
        """
        check_is_fitted(self)
        values, groups = read_columns(self, X, reset=False)
        parts = [
            one.transform(values[:, columns]) for one, columns in zip(self.transformers_, groups.values(), strict=True)
        ]
        if any(issparse(part) for part in parts):
            raise ValueError(f"{self.transformer!r} gives sparse matrices; make it give arrays, sparse_output=False.")
        return frame_like(np.hstack(parts), self.get_feature_names_out, X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns: ``level7__pca3``.

        Parameters
        ----------
        input_features : ignored
            Here for scikit-learn's convention.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        result = []
        for level, columns, one in zip(self.levels_, self._groups.values(), self.transformers_, strict=True):
            inner = None if names is None else [_strip_level(name, level) for name in names[columns]]
            result += [join(level, name) for name in one.get_feature_names_out(inner)]
        return np.asarray(result, dtype=object)

    def pull_back(self, values):
        """Return vectors among the output columns as vectors among the input columns, by the transpose of `transform`.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples, `n_features_in_`)

        Raises
        ------
        ValueError
            If the transformer is no projection: it has no orthonormal ``components_``, as a PCA that does not whiten.
        """
        check_is_fitted(self)
        axes = [getattr(one, "components_", None) for one in self.transformers_]
        if getattr(self.transformer, "whiten", False) or not all(map(_is_orthonormal, axes)):
            raise ValueError(
                f"{self.transformer!r} is no projection, and what it makes has no counterpart in front of it."
            )
        return pull_back(values, self._groups.values(), axes, self.n_features_in_)

    def find_cut(self):
        """Return what a PCA keeps of each level, for a detector behind that leaves rows out in closed form.

        Returns
        -------
        n_components : float or int
        leading : bool
            True: the directions of most variance are kept. None in place of both for any other transformer, and for a
            PCA that whitens, is drawn at random or chooses by another rule.
        """
        pca = self.transformer
        plain = type(pca) is PCA and not pca.whiten and pca.svd_solver in ("auto", "full", "covariance_eigh")
        chosen = plain and isinstance(pca.n_components, (int, np.integer, float)) and pca.n_components > 0
        return (pca.n_components, True) if chosen else None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # as the inner transformer does
        return tags


class LevelwiseDetector(ScoredOutlierMixin, MetaEstimatorMixin, StampedEstimator):
    """A clone of an outlier detector for each level; their scores are added.

    Parameters
    ----------
    detector : estimator
        Any scikit-learn outlier detector with ``score_samples`` or ``decision_function``; higher = more normal.

    Attributes
    ----------
    levels_ : list of str
        The levels found in the column names, ``[""]`` for columns without one.
    detectors_ : list of estimator
        For each level the fitted clone.
    offset_ : float
        The sum of the detectors' offsets, 0 for those without ``decision_function``. No rate is claimed for it: see
        `FPRThresholdCV`.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where all are strings.

    See Also
    --------
    MahalanobisDetector : Does the same by itself; wrapped in this class it gives the same scores.
    FPRThresholdCV : Sets a threshold that holds.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.svm import OneClassSVM
    >>> from skgad import LevelwiseDetector
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> frame = pd.DataFrame(X, columns=["level1__0", "level1__1", "level2__0", "level2__1"])
    >>> LevelwiseDetector(OneClassSVM()).fit(frame).score_samples(frame).shape
    (50,)
    """

    def __init__(self, detector):
        self.detector = detector

    @all_or_nothing
    def fit(self, X, y=None):
        """Fit a clone on each level.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Columns named ``level7__…`` are treated level by level, others as one group.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If `detector` has neither ``score_samples`` nor ``decision_function``.
        """
        check_has_scores("detector", self.detector)
        X, groups = read_normal_rows(self, X, y, reset=True)
        fitted = [clone(self.detector).fit(X[:, columns]) for columns in groups.values()]
        self._groups = groups
        self.levels_ = list(groups)
        self.detectors_ = fitted
        pairs = zip(fitted, groups.values(), strict=True)
        self.offset_ = float(sum(_find_offset(one, X[:1, columns]) for one, columns in pairs))
        return self

    def score_samples(self, X):
        """Return the sum of the detectors' scores: higher is more normal.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        values, groups = read_columns(self, X, reset=False)
        return sum(
            read_scores(one, values[:, columns]) for one, columns in zip(self.detectors_, groups.values(), strict=True)
        )


def _find_offset(detector, X):
    """Return what a detector takes off its scores; read off a row, since a pipeline does not tell it."""
    if hasattr(detector, "score_samples") and hasattr(detector, "decision_function"):
        return np.ravel(detector.score_samples(X) - detector.decision_function(X))[0]
    return 0.0


def _strip_output(transformer):
    """Return the transformer set to give arrays, which are framed here for all levels together."""
    return transformer.set_output(transform="default") if hasattr(transformer, "set_output") else transformer


def _strip_level(name, level):
    return name.removeprefix(f"{level}__") if level else name


def _is_orthonormal(axes):
    if axes is None:
        return False
    axes = np.asarray(axes)
    rounding = 100 * len(axes) * np.finfo(axes.dtype).eps if axes.dtype.kind == "f" else 0.0
    return np.allclose(axes @ axes.T, np.eye(len(axes)), rtol=0, atol=rounding)
