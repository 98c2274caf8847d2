"""The combined score against its parts, fitted by hand in each fold."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skgad import CombinedDetector, FPRThresholdCV, MahalanobisDetector


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 4))


def make_parts():
    return [("gaussian", MahalanobisDetector()), ("lof", LocalOutlierFactor(novelty=True)), ("svm", OneClassSVM())]


def by_hand(X, folds):
    """Return each part's scores out of fold."""
    scores = np.empty((3, len(X)))
    for train, test in folds:
        for row, (_, part) in zip(scores, make_parts(), strict=True):
            row[test] = clone(part).fit(X[train]).score_samples(X[test])
    return scores


def test_each_part_counts_in_standard_deviations_of_its_scores_out_of_fold(X):
    detector = CombinedDetector(make_parts(), cv=6, fpr=0.1).fit(X)
    scores = by_hand(X, KFold(6).split(X))
    np.testing.assert_allclose(detector.mean_, scores.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(detector.scale_, scores.std(axis=1), rtol=1e-6)
    new = np.random.default_rng(1).normal(size=(5, 4))
    raw = np.stack([part.fit(X).score_samples(new) for _, part in make_parts()])
    expected = ((raw.T - scores.mean(axis=1)) / scores.std(axis=1)).mean(axis=1)
    np.testing.assert_allclose(detector.score_samples(new), expected, rtol=1e-6)
    combined = ((scores.T - detector.mean_) / detector.scale_).mean(axis=1)
    assert np.mean(combined < detector.offset_ - 1e-9) < 0.1 <= np.mean(combined <= detector.offset_ + 1e-9)


def test_calibration_asks_every_part_out_of_fold(X):
    line = FPRThresholdCV(CombinedDetector(make_parts()), fpr=0.1, cv=6).fit(X)
    scores = by_hand(X, KFold(6).split(X))
    standardised = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    np.testing.assert_allclose(line.out_of_fold_scores_, standardised.mean(axis=0), rtol=1e-6)


def test_units_of_a_part_do_not_matter(X):
    class Scaled(BaseEstimator):
        def fit(self, X, y=None):
            self.inner_ = MahalanobisDetector().fit(X)
            return self

        def score_samples(self, X):
            return 1000 * self.inner_.score_samples(X) - 7

    pairs = [("svm", OneClassSVM()), ("gaussian", MahalanobisDetector())]
    plain = CombinedDetector(pairs).fit(X).score_samples(X)
    scaled = CombinedDetector([pairs[0], ("gaussian", Scaled())]).fit(X).score_samples(X)
    np.testing.assert_allclose(plain, scaled, rtol=1e-5)


def test_anomalous_rows_are_left_out(X):
    y = np.where(np.arange(60) < 6, -1, 1)
    labelled = CombinedDetector(make_parts()).fit(np.where(y[:, None] == -1, 50 * X, X), y)
    np.testing.assert_allclose(
        labelled.score_samples(X), CombinedDetector(make_parts()).fit(X[y == 1]).score_samples(X), rtol=1e-9
    )


def test_parts_are_searched_and_dropped_by_name(X):
    y = np.where(np.arange(60) < 6, -1, 1)
    search = GridSearchCV(
        CombinedDetector(make_parts()),
        {"svm": [OneClassSVM(), "drop"], "gaussian__covariance": ["ledoit_wolf", "diagonal"]},
        scoring="roc_auc",
        cv=KFold(3, shuffle=True, random_state=0),
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    without = CombinedDetector(make_parts()).set_params(svm="drop").fit(X)
    assert list(without.named_detectors_) == ["gaussian", "lof"]


@pytest.mark.parametrize(
    ("detectors", "error", "message"),
    [
        ([], ValueError, "detectors is empty"),
        ([("a", "drop")], ValueError, "detectors is empty"),
        ([MahalanobisDetector()], ValueError, "must be a list of"),
        ([("a", KFold())], TypeError, "detector 'a' must have score_samples"),
        ([("a", OneClassSVM()), ("a", OneClassSVM())], ValueError, "not unique"),
    ],
)
def test_bad_parts_are_refused(X, detectors, error, message):
    with pytest.raises(error, match=message):
        CombinedDetector(detectors).fit(X)


def test_a_frozen_part_is_refused_and_left_alone(X):
    fitted = MahalanobisDetector().fit(X)
    scores = fitted.score_samples(X)
    with pytest.raises(ValueError, match="'a' is frozen"):
        CombinedDetector([("a", FrozenEstimator(fitted)), ("b", OneClassSVM())]).fit(X[:20])
    np.testing.assert_array_equal(fitted.score_samples(X), scores)


def test_a_part_that_tells_nothing_is_refused(X):
    class Constant(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def score_samples(self, X):
            return np.zeros(len(X))

    with pytest.raises(ValueError, match="'flat' gives all normal images the same score"):
        CombinedDetector([("gaussian", MahalanobisDetector()), ("flat", Constant())]).fit(X)
