from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from skgad import NPCA, FPRThresholdCV, MahalanobisDetector


def draw(n_samples=120, n_features=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n_samples, n_features))


def naive_scores(estimator, X, folds):
    scores = np.empty(len(X))
    for train, test in folds.split(X):
        scores[test] = clone(estimator).fit(X[train]).score_samples(X[test])
    return scores


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.29, 0.5, 0.99])
def test_offset_is_the_conformal_quantile_of_out_of_fold_scores(fpr):
    X = draw()
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=fpr, cv=5).fit(X)
    scores = naive_scores(MahalanobisDetector(), X, KFold(5))
    np.testing.assert_allclose(detector.out_of_fold_scores_, scores)
    rank = int(121 * Fraction(str(fpr)))
    assert detector.offset_ == np.sort(detector.out_of_fold_scores_)[rank - 1]


def test_prediction_equals_the_conformal_p_value():
    X, new, fpr = draw(), 1.5 * draw(400, seed=1), 0.1
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=fpr, cv=5).fit(X)
    lower = detector.out_of_fold_scores_ <= detector.score_samples(new)[:, np.newaxis]
    p_values = (1 + lower.sum(axis=1)) / (len(X) + 1)
    np.testing.assert_array_equal(detector.predict(new) == -1, p_values <= fpr)


def test_a_score_that_ties_with_the_threshold_is_normal():
    X = draw(200)
    detector = FPRThresholdCV(Rounded(), fpr=0.1, cv=KFold(4)).fit(X)
    at_threshold = detector.score_samples(X) == detector.offset_
    assert at_threshold.any()
    assert (detector.predict(X)[at_threshold] == 1).all()
    assert (detector.predict(X)[detector.score_samples(X) < detector.offset_] == -1).all()


def test_the_kept_detector_is_fitted_on_all_normal_rows():
    X, new = draw(), draw(seed=1)
    detector = FPRThresholdCV(make_pipeline(NPCA(2), MahalanobisDetector()), fpr=0.1, cv=5).fit(X)
    expected = make_pipeline(NPCA(2), MahalanobisDetector()).fit(X).score_samples(new)
    np.testing.assert_array_equal(detector.score_samples(new), expected)


def test_anomalous_rows_are_left_out():
    X, y = np.vstack([100 + draw(20), draw()]), np.repeat([-1, 1], [20, 120])
    with_labels = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X, y)
    without = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(draw())
    assert with_labels.offset_ == without.offset_
    np.testing.assert_array_equal(with_labels.score_samples(X), without.score_samples(X))


@pytest.mark.parametrize(
    "estimator", [LocalOutlierFactor(novelty=True), OneClassSVM(), IsolationForest(random_state=0)]
)
def test_the_rate_holds_for_any_detector(estimator):
    n_normals, n_new, fpr = 300, 4000, 0.1
    detector = FPRThresholdCV(estimator, fpr=fpr).fit(draw(n_normals))
    alarms = (detector.predict(draw(n_new, seed=1)) == -1).sum()
    low, high = betabinom(n_new, 30, n_normals + 1 - 30).ppf([0.0005, 0.9995])
    assert low <= alarms <= high


def test_the_rate_holds_on_real_cells_where_the_chi_square_law_fails(mono):
    features, y = mono
    normals = (
        features[y == 1].filter(like="level7__").sample(frac=1, random_state=0)
    )  # cells of a module are neighbours
    train, held_out = normals.iloc[::2], normals.iloc[1::2]
    fpr, rank = 0.05, int((len(train) + 1) * 0.05)
    detector = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=fpr).fit(train)
    alarms = (detector.predict(held_out) == -1).sum()
    low, high = betabinom(len(held_out), rank, len(train) + 1 - rank).ppf([0.0005, 0.9995])
    assert low <= alarms <= high
    chi_square = make_pipeline(NPCA(0.01), MahalanobisDetector(fpr=fpr)).fit(train)
    assert (chi_square.predict(held_out) == -1).sum() > high


def test_a_rate_below_reach_is_refused_with_the_number_of_images():
    with pytest.raises(ValueError, match=r"1/99 = 0\.0101.*at least 99"):
        FPRThresholdCV(MahalanobisDetector()).fit(draw(98))
    FPRThresholdCV(MahalanobisDetector()).fit(draw(99))


def test_more_folds_than_normals_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"cv=20 .*n_samples = 15"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2).fit(draw(15))


def test_folds_that_do_not_test_each_image_once_are_refused():
    with pytest.raises(ValueError, match="test each normal image once"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=ShuffleSplit(3, random_state=0)).fit(draw())


def test_a_frozen_detector_is_calibrated_on_held_out_images():
    frozen = MahalanobisDetector().fit(draw(seed=5))
    detector = FPRThresholdCV(FrozenEstimator(frozen), fpr=0.1, cv=5).fit(draw())
    np.testing.assert_allclose(detector.out_of_fold_scores_, frozen.score_samples(draw()))
    np.testing.assert_array_equal(detector.score_samples(draw(seed=1)), frozen.score_samples(draw(seed=1)))


def test_bad_folds_are_refused():
    X = draw(60)
    overlapping = [(np.arange(60), test) for _, test in KFold(5).split(X)]
    with pytest.raises(ValueError, match="overlap"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=overlapping).fit(X)
    beyond = list(KFold(5).split(X))
    with pytest.raises(ValueError, match="beyond the 50 normal images"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=beyond).fit(X, np.repeat([1, -1], [50, 10]))


def test_an_iterable_of_folds_will_do():
    X = draw()
    folds = list(KFold(5).split(X))
    given = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=folds).fit(X)
    assert given.offset_ == FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X).offset_


class Scoreless(OutlierMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self


class Rounded(Scoreless):
    def score_samples(self, X):
        return -np.round(np.abs(X[:, 0]))


class Blind(Scoreless):
    def score_samples(self, X):
        return np.full(len(X), np.nan)


def test_an_estimator_without_scores_is_refused():
    with pytest.raises(TypeError, match="score_samples or decision_function"):
        FPRThresholdCV(Scoreless(), fpr=0.1).fit(draw())


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="scores must be finite"):
        FPRThresholdCV(Blind(), fpr=0.1).fit(draw())


def test_a_refit_on_an_array_forgets_the_names():
    frame = pd.DataFrame(draw(), columns=list("abcd"))
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(frame)
    assert detector.feature_names_in_.tolist() == list("abcd")
    assert not hasattr(detector.fit(frame.to_numpy()), "feature_names_in_")


def test_inner_parameters_are_reached():
    detector = FPRThresholdCV(make_pipeline(NPCA(), MahalanobisDetector()))
    assert detector.set_params(estimator__npca__n_components=0.5).estimator[0].n_components == 0.5
