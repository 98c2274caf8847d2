from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from scipy.stats import beta, betabinom, false_discovery_control, kstest
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, StratifiedKFold
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skgad import NPCA, FPRThresholdCV, LevelwiseDetector, MahalanobisDetector
from skgad.exceptions import WorkingPointWarning


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


def test_a_p_value_is_the_share_of_calibration_images_that_are_as_anomalous():
    X, new = draw(), 1.5 * draw(400, seed=1)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X)
    lower = detector.out_of_fold_scores_ <= detector.score_samples(new)[:, np.newaxis]
    np.testing.assert_array_equal(detector.p_values(new), (1 + lower.sum(axis=1)) / (len(X) + 1))


def test_with_groups_a_p_value_counts_each_group_once():
    X, new, groups = draw(), 1.5 * draw(400, seed=1), np.random.default_rng(0).integers(15, size=120)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X, groups=groups)
    lower = detector.out_of_fold_scores_ <= detector.score_samples(new)[:, np.newaxis]
    shares = [lower[:, groups == group].mean(axis=1) for group in range(15)]
    np.testing.assert_allclose(detector.p_values(new), (1 + np.sum(shares, axis=0)) / 16)
    assert detector.n_groups_ == 15
    assert detector.fpr_interval_ == pytest.approx(beta(1, 15).ppf([0.025, 0.975]))


@pytest.mark.parametrize("fpr", [0.05, 0.1, 0.29, 1 / 3, 12 / 121, 13 / 121, 0.97])
@pytest.mark.parametrize("groups", [None, np.random.default_rng(0).integers(20, size=120)], ids=["images", "groups"])
@pytest.mark.parametrize("ties", [False, True])
def test_prediction_is_by_the_p_value(fpr, groups, ties):
    X, new = draw(), np.vstack([draw(), 1.5 * draw(400, seed=1)])
    detector = FPRThresholdCV(Rounded() if ties else MahalanobisDetector(), fpr=fpr, cv=5).fit(X, groups=groups)
    p_values = detector.p_values(new)
    np.testing.assert_array_equal(detector.predict(new), np.where(p_values > fpr, 1, -1))
    np.testing.assert_array_equal(detector.predict(new), np.where(detector.decision_function(new) >= 0, 1, -1))
    assert p_values.min() > 0
    assert p_values.max() <= 1


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
    "estimator",
    [
        LocalOutlierFactor(novelty=True),
        OneClassSVM(),
        IsolationForest(n_estimators=20, random_state=0),
        EllipticEnvelope(random_state=0),
        LevelwiseDetector(OneClassSVM()),
    ],
)
def test_the_rate_holds_for_any_detector(estimator):
    n_normals, n_new, fpr = 300, 4000, 0.1
    detector = FPRThresholdCV(estimator, fpr=fpr).fit(draw(n_normals))
    alarms = (detector.predict(draw(n_new, seed=1)) == -1).sum()
    low, high = betabinom(n_new, 30, n_normals + 1 - 30).ppf([0.0005, 0.9995])
    assert low <= alarms <= high


@pytest.fixture(scope="module")
def halves(mono):
    features, y = mono
    normals = features[y == 1].sample(frac=1, random_state=0)  # cells of a module are neighbours
    return normals.iloc[::2], normals.iloc[1::2]


def band(n_normals, n_new, fpr):
    rank = int((n_normals + 1) * fpr)
    return betabinom(n_new, rank, n_normals + 1 - rank).ppf([0.0005, 0.9995])


def test_the_rate_holds_on_real_cells_where_the_chi_square_law_fails(halves):
    (train, held_out), fpr = (half.filter(like="level7__") for half in halves), 0.05
    detector = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=fpr).fit(train)
    alarms = (detector.predict(held_out) == -1).sum()
    low, high = band(len(train), len(held_out), fpr)
    assert low <= alarms <= high
    chi_square = make_pipeline(NPCA(0.01), MahalanobisDetector(fpr=fpr)).fit(train)
    with pytest.warns(WorkingPointWarning, match="NPCA chose its directions"):
        assert (chi_square.predict(held_out) == -1).sum() > high


@pytest.mark.parametrize("cv", [20, "loo"])
def test_the_rate_holds_on_real_cells_for_the_sum_of_all_levels(halves, cv):
    train, held_out = halves
    estimator = MahalanobisDetector() if cv == "loo" else make_pipeline(NPCA(0.01), MahalanobisDetector())
    detector = FPRThresholdCV(estimator, fpr=0.1, cv=cv).fit(train)
    low, high = band(len(train), len(held_out), 0.1)
    assert low <= (detector.predict(held_out) == -1).sum() <= high


def test_split_calibration_follows_the_beta_binomial_law_on_real_cells(halves):
    (train, held_out), n_draws, fpr = (half.filter(like="level7__") for half in halves), 200, 0.1
    frozen = FrozenEstimator(make_pipeline(NPCA(0.01), MahalanobisDetector()).fit(train))
    rng, levels = np.random.default_rng(0), []
    for _ in range(n_draws):
        order = rng.permutation(len(held_out))
        detector = FPRThresholdCV(frozen, fpr=fpr).fit(held_out.iloc[order[:100]])
        alarms = (detector.predict(held_out.iloc[order[100:]]) == -1).sum()
        law = betabinom(len(order) - 100, 10, 91)
        levels.append(rng.uniform(law.cdf(alarms - 1), law.cdf(alarms)))
    assert kstest(levels, "uniform").pvalue > 0.001  # drawn from the same few cells, so the draws are not independent


def test_the_rate_holds_for_groups_whose_images_are_alike():
    """Images of a part share most of what they are: counted one by one, they would claim more than they know."""
    n_parts, n_images, fpr, shares = 60, 8, 0.1, []

    def photograph(n_parts, rng):
        return np.repeat(rng.normal(size=(n_parts, 3)), n_images, axis=0) + 0.1 * rng.normal(
            size=(n_parts * n_images, 3)
        )

    for seed in range(30):
        rng = np.random.default_rng(seed)
        detector = FPRThresholdCV(MahalanobisDetector(), fpr=fpr, cv=10)
        detector.fit(photograph(n_parts, rng), groups=np.repeat(np.arange(n_parts), n_images))
        shares.append((detector.predict(photograph(200, rng)) == -1).mean())
    assert np.mean(shares) <= fpr + 3 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) >= 0.6 * fpr


def test_false_discoveries_are_controlled_by_split_calibration():
    n_normals, n_batch, q = 300, 50, 0.2
    fitted, rng, shares = FrozenEstimator(MahalanobisDetector().fit(draw(300, seed=7))), np.random.default_rng(0), []
    for _ in range(200):
        detector = FPRThresholdCV(fitted, fpr=0.1).fit(rng.normal(size=(n_normals, 4)))
        batch = np.vstack([rng.normal(size=(n_batch - 10, 4)), 4 * rng.normal(size=(10, 4))])
        calls = false_discovery_control(detector.p_values(batch)) <= q
        shares.append(calls[:-10].sum() / max(calls.sum(), 1))
        assert calls.sum() == 0 or calls.sum() >= n_batch / (q * (n_normals + 1))
    assert np.mean(shares) <= q + 3 * np.std(shares) / np.sqrt(len(shares))


def test_few_anomalies_in_a_large_batch_cannot_be_called():
    detector = FPRThresholdCV(FrozenEstimator(MahalanobisDetector().fit(draw())), fpr=0.1).fit(draw(99, seed=1))
    for n_anomalies, called in ((19, False), (20, True)):  # m / (q (n + 1)) = 200 / (0.1 * 100) = 20
        batch = np.vstack([np.zeros((200 - n_anomalies, 4)), np.full((n_anomalies, 4), 50.0)])
        assert (false_discovery_control(detector.p_values(batch)) <= 0.1).any() == called


def test_a_rate_below_reach_is_refused_with_the_number_of_images():
    with pytest.raises(ValueError, match=r"1/99 = 0\.0101.*at least 99"):
        FPRThresholdCV(MahalanobisDetector()).fit(draw(98))
    FPRThresholdCV(MahalanobisDetector()).fit(draw(99))


def test_a_rate_below_reach_is_refused_with_the_number_of_groups():
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.05, cv=5)
    with pytest.raises(ValueError, match=r"n_groups = 18 .* 1/19 = 0\.0526.*at least 19 groups"):
        detector.fit(draw(), groups=np.arange(120) % 18)
    detector.fit(draw(), groups=np.arange(120) % 19)


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 1.5, 5, "0.1", None, True, np.nan])
def test_a_rate_outside_of_0_and_1_is_refused(fpr):
    with pytest.raises(ValueError, match=r"fpr must lie in \(0, 1\)"):
        FPRThresholdCV(MahalanobisDetector(), fpr=fpr).fit(draw())


def test_the_interval_is_the_beta_law_of_the_rank():
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(draw())
    assert detector.fpr_interval_ == pytest.approx(beta(12, 121 - 12).ppf([0.025, 0.975]))
    assert detector.n_groups_ == 120


def test_inflation_compares_squared_distances_out_of_fold_and_in_sample():
    X = draw(60, 30)
    detector = FPRThresholdCV(MahalanobisDetector("empirical"), fpr=0.1, cv=20).fit(X)
    outside = naive_scores(MahalanobisDetector("empirical"), X, KFold(20))
    inside = MahalanobisDetector("empirical").fit(X).score_samples(X)
    assert detector.inflation_ == pytest.approx((outside**2).mean() / (inside**2).mean())
    assert detector.inflation_ > 2
    refitted = FPRThresholdCV(make_pipeline(MahalanobisDetector("empirical")), fpr=0.1, cv=20).fit(X)
    assert refitted.inflation_ == pytest.approx(detector.inflation_)


def test_inflation_is_unknown_for_scores_that_are_no_distances_and_for_frozen_detectors():
    assert np.isnan(FPRThresholdCV(OneClassSVM(), fpr=0.1).fit(draw()).inflation_)
    assert np.isnan(FPRThresholdCV(FrozenEstimator(MahalanobisDetector().fit(draw())), fpr=0.1).fit(draw()).inflation_)


def test_the_summary_says_what_is_exact_and_what_is_nominal():
    nominal = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(draw(), groups=np.arange(120) % 30)
    summary = nominal.summary()
    for part in ("120 normal images in 30 groups", "smallest rate with 30 groups is 0.03226", "nominal"):
        assert part in summary
    assert f"{nominal.inflation_:.3g} times as large" in summary
    exact = FPRThresholdCV(FrozenEstimator(MahalanobisDetector().fit(draw())), fpr=0.1).fit(draw()).summary()
    assert "This is exact" in exact
    assert "nan" not in exact


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


class DecisionOnly(Scoreless):
    """A detector in another manner: no score_samples, and single precision."""

    def decision_function(self, X):
        return (1 - np.abs(X[:, 0])).astype(np.float32)


class Moody(Scoreless):
    """Blind to images far out."""

    def score_samples(self, X):
        return np.where(np.abs(X[:, 0]) > 50, np.nan, X[:, 0])


class TwoColumns(Scoreless):
    def score_samples(self, X):
        return X[:, :2]


def test_a_decision_function_will_do():
    X, new = draw(), 2 * draw(400, seed=1)
    detector = FPRThresholdCV(DecisionOnly(), fpr=0.1).fit(X)
    np.testing.assert_array_equal(detector.score_samples(new), DecisionOnly().decision_function(new).astype(float))
    np.testing.assert_array_equal(detector.predict(new) == 1, detector.p_values(new) > 0.1)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"scores of shape \(6, 2\) for 6 images"):
        FPRThresholdCV(TwoColumns(), fpr=0.1).fit(draw())


def test_a_new_image_without_a_score_is_refused():
    detector = FPRThresholdCV(Moody(), fpr=0.1).fit(draw())
    with pytest.raises(ValueError, match="score NaN to image 2"):
        detector.predict([[0.0], [1.0], [99.0]] * np.ones((3, 4)))


def test_a_failed_fit_leaves_the_detector_as_it_was():
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(draw())
    before = detector.predict(draw(seed=1)), dict(vars(detector))
    for bad, error in ((draw(8), ValueError), (np.full((120, 4), np.nan), ValueError)):
        with pytest.raises(error):
            detector.fit(bad)
    np.testing.assert_array_equal(detector.predict(draw(seed=1)), before[0])
    assert vars(detector).keys() == before[1].keys()


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


def test_a_grid_reaches_inner_parameters():
    X = np.vstack([draw(), 4 * draw(20, seed=1)])
    detector = FPRThresholdCV(make_pipeline(NPCA(), MahalanobisDetector()), fpr=0.1)
    search = GridSearchCV(
        detector,
        {"estimator__npca__n_components": [2, 4], "fpr": [0.05, 0.1]},
        scoring="roc_auc",
        cv=StratifiedKFold(4, shuffle=True, random_state=0),
    ).fit(X, np.repeat([1, -1], [120, 20]))
    assert search.best_params_["estimator__npca__n_components"] == 4
    assert search.best_estimator_.estimator_[0].n_components == 4
    assert len(search.best_estimator_.out_of_fold_scores_) == 120


@pytest.mark.parametrize("route", [False, True])
def test_groups_reach_it_inside_a_pipeline(route):
    X, groups = draw(), np.random.default_rng(0).integers(15, size=120)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=GroupKFold(5))
    expected = clone(detector).fit(StandardScaler().fit_transform(X), groups=groups)
    pipe = make_pipeline(StandardScaler(), detector)
    with config_context(enable_metadata_routing=route):
        pipe.fit(X, **{"groups" if route else "fprthresholdcv__groups": groups})
    np.testing.assert_allclose(pipe[-1].out_of_fold_scores_, expected.out_of_fold_scores_)
    assert pipe[-1].n_groups_ == 15


def test_groups_are_routed_to_the_splitter_of_a_search_and_to_the_detector_in_it():
    X, y, groups = draw(), np.repeat([1, -1], [100, 20]), np.arange(120) % 40
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5), {"fpr": [0.1]}, scoring="roc_auc", cv=GroupKFold(3)
        ).fit(X, y, groups=groups)
    assert search.best_estimator_.n_groups_ == 40


def test_groups_can_be_declined():
    with config_context(enable_metadata_routing=True):
        detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=KFold(5)).set_fit_request(groups=False)
        with pytest.raises(TypeError, match="groups"):
            make_pipeline(StandardScaler(), detector).fit(draw(), groups=np.arange(120))


def test_groups_of_anomalous_images_do_not_count():
    X, y, groups = np.vstack([draw(), 9 + draw(20)]), np.repeat([1, -1], [120, 20]), np.arange(140) % 35
    groups[120:] = 1000 + np.arange(20)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X, y, groups=groups)
    expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(draw(), groups=groups[:120])
    assert detector.offset_ == expected.offset_
    assert detector.n_groups_ == 35


@pytest.mark.parametrize("store", ["joblib", "skops"])
def test_a_stored_detector_is_the_same(store, tmp_path):
    detector = FPRThresholdCV(make_pipeline(NPCA(2), MahalanobisDetector()), fpr=0.1).fit(draw(), groups=np.arange(120))
    if store == "joblib":
        joblib.dump(detector, tmp_path / "detector")
        loaded = joblib.load(tmp_path / "detector")
    else:
        skops.io.dump(detector, tmp_path / "detector")
        loaded = skops.io.load(tmp_path / "detector", skops.io.get_untrusted_types(file=tmp_path / "detector"))
    np.testing.assert_array_equal(loaded.p_values(draw(seed=1)), detector.p_values(draw(seed=1)))
    assert loaded.summary() == detector.summary()


def test_the_number_of_images_that_is_advised_suffices():
    X = np.random.default_rng(0).normal(size=(20, 2))
    for cv, enough in ((None, 19), (20, 20)):
        with pytest.raises(ValueError, match=f"give at least {enough} images"):
            FPRThresholdCV(MahalanobisDetector(), fpr=0.05, cv=cv).fit(X[:15])
        FPRThresholdCV(MahalanobisDetector(), fpr=0.05, cv=cv).fit(X[:enough])
