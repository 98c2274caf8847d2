"""scikit-learn's own checks on every estimator, and that they really run."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

from skgad import (
    NPCA,
    CellwiseDetector,
    CombinedDetector,
    DeepFeatureTransformer,
    FPRThreshold,
    FPRThresholdCV,
    FullConformalThreshold,
    LevelwiseDetector,
    LevelwiseTransformer,
    MahalanobisDetector,
    MahalanobisMixture,
    NormalRowsOnly,
    TrainingSetCleaner,
)
from skgad._conventions._decisions import ScoredOutlierMixin
from skgad.model_selection import LevelSelector
from skgad.monitoring import FeatureDrift

from .conftest import LITE0

BLOBS_HAVE_NEGATIVES = "the check feeds Gaussian blobs around zero, and a distance below zero is refused"

STREAM_AFTER_FIT = {
    "check_fit_score_takes_y": "the check calls partial_fit after fit; fit keeps no moments, and to start over without "
    "a word would forget its rows, so that is refused"
}

# Thresholds at 20 %: at 1 % three checks cannot find an outlier among their rows, and fewer than 99 rows are refused.
ESTIMATORS = [
    (NPCA(), STREAM_AFTER_FIT),
    (NPCA(2, rule="published"), STREAM_AFTER_FIT),
    (MahalanobisDetector(fpr=0.2), {}),
    (MahalanobisDetector("diagonal", fpr=0.2), {}),
    (
        FPRThreshold(fpr=0.2, dof=1),
        {"check_outliers_train": BLOBS_HAVE_NEGATIVES, "check_outliers_fit_predict": BLOBS_HAVE_NEGATIVES},
    ),
    (FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=3), {}),
    (FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv="loo"), {}),
    (FPRThresholdCV(LocalOutlierFactor(5, novelty=True), fpr=0.2, cv=3), {}),
    (MahalanobisDetector(levels="joint", fpr=0.2), {}),
    (MahalanobisMixture(1, fpr=0.2), {}),
    (FullConformalThreshold(MahalanobisDetector(), fpr=0.2), {}),
    (LevelwiseTransformer(PCA(1)), {}),
    (LevelwiseDetector(MahalanobisDetector(fpr=0.2)), {}),
    (CombinedDetector([("a", MahalanobisDetector()), ("b", LocalOutlierFactor(5, novelty=True))], fpr=0.2, cv=3), {}),
    (LevelwiseDetector(OneClassSVM()), {}),
    (LevelSelector(), {}),
    (FeatureDrift(), {}),
    (TrainingSetCleaner(MahalanobisDetector()), {}),
    (NormalRowsOnly(StandardScaler()), {}),
    (NormalRowsOnly(OneClassSVM()), {}),
]


class ImagesFromRows(TransformerMixin, BaseEstimator):
    """The image extractor behind a 2-D interface, for scikit-learn's checks: a row becomes a grey image."""

    def fit(self, X, y=None):
        self.extractor_ = DeepFeatureTransformer(LITE0, levels=[1], image_size=16).fit(self._images(X, reset=True), y)
        return self

    def transform(self, X):
        check_is_fitted(self)
        return self.extractor_.transform(self._images(X, reset=False)).to_numpy()

    def _images(self, X, reset):
        values = np.arctan(validate_data(self, X, dtype=np.float64, reset=reset)) / np.pi + 0.5
        return np.repeat(values[:, np.newaxis, :], 4, axis=1)[..., np.newaxis]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class CellsFromRows(ScoredOutlierMixin, BaseEstimator):
    """The cell-wise detector for plain arrays, for scikit-learn's checks: each column is in two cells of a grid."""

    def fit(self, X, y=None):
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.detector_ = CellwiseDetector().fit(self._name(X), y)
        self.offset_ = np.sort(self.detector_.score_samples(self._name(X)))[len(X) // 10]
        return self

    def score_samples(self, X):
        check_is_fitted(self)
        return self.detector_.score_samples(self._name(validate_data(self, X, dtype=np.float64, reset=False)))

    def _name(self, X):
        names = [f"level1__g2r0c{column}__{index:04d}" for column in (0, 1) for index in range(X.shape[1])]
        return pd.DataFrame(np.hstack([X, X[:, ::-1] ** 2]), columns=names)


ESTIMATORS += [(ImagesFromRows(), {}), (CellsFromRows(), {})]


@pytest.mark.parametrize(("estimator", "expected"), ESTIMATORS, ids=lambda value: type(value).__name__)
def test_scikit_learns_checks(estimator, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke warnings of their own; their verdict is what counts here
        results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert failed == {}
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(expected)
    assert sum(result["status"] == "passed" for result in results) > 30
