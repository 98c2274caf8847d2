"""Detectors to compare with: the paper's one-class SVM, nearest neighbours, and any other by its name."""

import importlib

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM
from sklearn.utils import all_estimators

from .._conventions._levels import group_columns, level_number
from .._detectors._levelwise import LevelwiseDetector
from .._detectors._mahalanobis import MahalanobisDetector
from .._detectors._npca import NPCA
from ..model_selection import LevelSelector

SVM, NEIGHBOURS, LINE, NPCA_LINE, JOINT = (
    "one-class SVM",
    "neighbours",
    "Mahalanobis, all features",
    "Mahalanobis, NPCA 1 %",
    "Mahalanobis, joint over all levels",
)
STANDARD = (LINE, NPCA_LINE, JOINT, SVM, NEIGHBOURS)


class Neighbours(OutlierMixin, BaseEstimator):
    """Mean squared distance to the nearest training images: SPADE's image score (Cohen and Hoshen, 2020).

    Parameters
    ----------
    n_neighbors : int, default=50
        As many as there are training images, where those are fewer.
    """

    def __init__(self, n_neighbors=50):
        self.n_neighbors = n_neighbors

    def fit(self, X, y=None):
        """Keep the training images. Returns the detector."""
        X = np.asarray(X, dtype=np.float64)
        self.index_ = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(X))).fit(X)
        return self

    def score_samples(self, X):
        """Return minus the mean squared distance to the neighbours, of shape (n_samples,)."""
        distances, _ = self.index_.kneighbors(np.asarray(X, dtype=np.float64))
        return -np.square(distances).mean(axis=1)


class FromPyOD(OutlierMixin, BaseEstimator):
    """A detector of PyOD, whose scores have the other sign.

    Parameters
    ----------
    detector : PyOD detector
    """

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None):
        """Fit a clone. Returns the detector."""
        self.detector_ = clone(self.detector).fit(np.asarray(X, dtype=np.float64))
        return self

    def score_samples(self, X):
        """Return scores of shape (n_samples,), higher = more normal."""
        return -self.detector_.decision_function(np.asarray(X, dtype=np.float64))


def make_detector(name, columns, random_state=0):
    """Return the detector of a name, for frames with these columns.

    Parameters
    ----------
    name : str
        One of `STANDARD`; the name of an outlier detector of scikit-learn, such as "IsolationForest"; or the path of a
        class, such as "pyod.models.knn.KNN". The last two are cloned for each level, and their scores are added; they
        have their own defaults, but ``novelty=True`` and ``random_state`` where there are such parameters.
    columns : Index
        Names of the features.
    random_state : int, default=0

    Returns
    -------
    estimator
        With ``fit`` and ``score_samples`` or ``decision_function``, higher = more normal.

    Raises
    ------
    ValueError
        If there is no such detector.

    Examples
    --------
    >>> from skgad.benchmark import make_detector
    >>> make_detector("IsolationForest", ["level1__0", "level2__0"])
    LevelwiseDetector(detector=IsolationForest(random_state=0))
    """
    if name == LINE:
        return MahalanobisDetector()
    if name == NPCA_LINE:
        return make_pipeline(NPCA(0.01, rule="published"), MahalanobisDetector())
    if name == JOINT:
        return MahalanobisDetector(levels="joint")
    if name == SVM:
        return LevelwiseDetector(OneClassSVM(gamma="scale", nu=0.5))
    if name == NEIGHBOURS:
        last = max(level_number(level) for level in group_columns(columns, len(columns)))
        return make_pipeline(LevelSelector([last]), Neighbours())
    detector = _find_class(name)()
    parameters = detector.get_params()
    given = {"novelty": True, "random_state": random_state}
    detector.set_params(**{key: value for key, value in given.items() if key in parameters})
    is_pyod = any(base.__module__.startswith("pyod.") for base in type(detector).__mro__)
    return LevelwiseDetector(FromPyOD(detector) if is_pyod else detector)


def check_detectors(names):
    """Raise ValueError unless each name is that of a detector."""
    for name in names:
        if name not in STANDARD:
            _find_class(name)


def _find_class(name):
    module, _, attribute = name.rpartition(".")
    if not module:
        known = {key: found for key, found in all_estimators() if issubclass(found, OutlierMixin)}
        if name not in known:
            raise ValueError(
                f"Unknown detector {name!r}. scikit-learn has {', '.join(sorted(known))}; give any other by its path, "
                "such as pyod.models.knn.KNN."
            )
        return known[name]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"Unknown detector {name!r}: {error}. Is its package installed?") from error
    if not isinstance(found, type) or not hasattr(found, "fit") or not hasattr(found, "get_params"):
        raise ValueError(f"Detector {name!r} is no class of estimators: it has no fit and get_params.")
    return found
