import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.covariance import OAS, LedoitWolf, MinCovDet
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skgad import NPCA, MahalanobisDetector

COVARIANCES = ["ledoit_wolf", "oas", "empirical", "diagonal", "identity"]


def draw(n_samples=200, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_features)) @ rng.normal(size=(n_features, n_features)) + 5


def by_level(X, n_levels=2):
    columns = [f"level{1 + index * n_levels // X.shape[1]}__{index:04d}" for index in range(X.shape[1])]
    return pd.DataFrame(X, columns=columns)


@pytest.mark.parametrize(("covariance", "reference"), [("ledoit_wolf", LedoitWolf()), ("oas", OAS())])
def test_distances_are_the_roots_of_scikit_learns(covariance, reference):
    X, new = draw(), draw(seed=1)
    expected = np.sqrt(reference.fit(X).mahalanobis(new))
    distances = MahalanobisDetector(covariance).fit(X).transform(new)
    np.testing.assert_allclose(distances["chi6"], expected, rtol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_score_is_minus_the_sum_over_levels(covariance):
    X, new = by_level(draw()), by_level(draw(seed=1))
    detector = MahalanobisDetector(covariance).fit(X)
    alone = [
        MahalanobisDetector(covariance)
        .fit(X.filter(like=level).to_numpy())
        .score_samples(new.filter(like=level).to_numpy())
        for level in ("level1__", "level2__")
    ]
    np.testing.assert_allclose(detector.score_samples(new), sum(alone), rtol=1e-10)
    np.testing.assert_allclose(-detector.transform(new).sum(axis=1), detector.score_samples(new), rtol=1e-12)


def test_empirical_distance_is_affine_invariant():
    X, new, A = draw(), draw(seed=1), np.random.default_rng(2).normal(size=(6, 6))
    plain = MahalanobisDetector("empirical").fit(X).score_samples(new)
    np.testing.assert_allclose(
        MahalanobisDetector("empirical").fit(X @ A - 3).score_samples(new @ A - 3), plain, rtol=1e-7
    )


def test_identity_is_the_distance_to_the_mean():
    X, new = draw(), draw(seed=1)
    expected = np.linalg.norm(new - X.mean(axis=0), axis=1)
    np.testing.assert_allclose(-MahalanobisDetector("identity").fit(X).score_samples(new), expected, rtol=1e-12)


def test_diagonal_is_identity_behind_a_standard_scaler():
    X, new = draw(), draw(seed=1)
    X[:, 2] = 3.0  # a constant feature counts in its own unit, there as here
    scaler = StandardScaler().fit(X)
    expected = MahalanobisDetector("identity").fit(scaler.transform(X)).score_samples(scaler.transform(new))
    np.testing.assert_allclose(MahalanobisDetector("diagonal").fit(X).score_samples(new), expected, rtol=1e-10)


def test_an_estimator_gives_location_and_covariance():
    X, new = draw(), draw(seed=1)
    robust = MinCovDet(random_state=0)
    detector = MahalanobisDetector(robust).fit(X)
    np.testing.assert_allclose(-detector.score_samples(new), np.sqrt(robust.fit(X).mahalanobis(new)), rtol=1e-9)


@pytest.mark.parametrize(
    ("covariance", "suffix"),
    [("ledoit_wolf", "chi3"), ("empirical", "chi3"), ("diagonal", "dist3"), ("identity", "dist3")],
)
def test_columns_say_what_the_distances_follow(covariance, suffix):
    X = by_level(draw())
    detector = MahalanobisDetector(covariance).fit(X)
    assert detector.transform(X).columns.tolist() == [f"level1__{suffix}", f"level2__{suffix}"]
    assert detector.get_feature_names_out().tolist() == [f"level1__{suffix}", f"level2__{suffix}"]


def test_columns_say_that_npca_stood_in_front():
    X = by_level(draw())
    reduced = NPCA(2).fit_transform(X)
    assert MahalanobisDetector().fit_transform(reduced).columns.tolist() == ["level1__npca_chi2", "level2__npca_chi2"]
    plain = NPCA(2).set_output(transform="pandas").fit_transform(draw())
    assert MahalanobisDetector().fit_transform(plain).columns.tolist() == ["npca_chi2"]


def test_transform_gives_a_frame_whatever_comes_in():
    X = draw()
    assert isinstance(MahalanobisDetector().fit_transform(X), pd.DataFrame)
    named = by_level(X)
    assert MahalanobisDetector().fit_transform(named.set_axis(named.index + 3)).index[0] == 3
    assert isinstance(MahalanobisDetector().fit_transform(polars.from_dict(named.to_dict("list"))), polars.DataFrame)
    for_polars = MahalanobisDetector().set_output(transform="polars").fit(X).transform(X)
    assert isinstance(for_polars, polars.DataFrame)
    assert for_polars.columns == ["chi6"]


def test_offset_is_the_chi_square_threshold():
    X = draw()
    assert MahalanobisDetector(fpr=0.02).fit(X).offset_ == pytest.approx(-np.sqrt(chi2.ppf(0.98, 6)))
    assert MahalanobisDetector(fpr=0.02).fit(by_level(X)).offset_ == pytest.approx(-2 * np.sqrt(chi2.ppf(0.98, 3)))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_predict_reaches_its_rate_where_its_gaussian_is_true(covariance):
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3))
    if covariance in ("empirical", "diagonal"):  # shrinkage and identity take all features for alike
        X, new = X * [1, 5, 0.1], new * [1, 5, 0.1]
    alarms = MahalanobisDetector(covariance, fpr=0.1).fit(X).predict(new) == -1
    assert 0.08 < alarms.mean() < 0.12


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_anomalous_rows_are_left_out(covariance):
    X, y = np.vstack([draw(), 100 + draw(20)]), np.repeat([1, -1], [200, 20])
    expected = MahalanobisDetector(covariance).fit(draw()).score_samples(X)
    np.testing.assert_array_equal(MahalanobisDetector(covariance).fit(X, y).score_samples(X), expected)
    assert (MahalanobisDetector(covariance).fit_predict(X, y)[200:] == -1).all()


def test_float32_is_computed_in_float64():
    X = draw().astype(np.float32)
    np.testing.assert_array_equal(
        MahalanobisDetector().fit(X).score_samples(X), MahalanobisDetector().fit(X.astype(float)).score_samples(X)
    )


def test_more_features_than_rows():
    X, new = draw(20, 50), draw(20, 50, seed=1)
    expected = np.sqrt(LedoitWolf().fit(X).mahalanobis(new))
    np.testing.assert_allclose(-MahalanobisDetector().fit(X).score_samples(new), expected, rtol=1e-8)


def test_pickle_gives_the_same_scores():
    X = by_level(draw())
    detector = MahalanobisDetector().fit(X)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))
    assert loaded.shrinkage_ == detector.shrinkage_


def test_fitted_attributes_are_one_a_level():
    detector = MahalanobisDetector().fit(by_level(draw()))
    assert detector.levels_ == ["level1", "level2"]
    assert [location.shape for location in detector.location_] == [(3,), (3,)]
    assert [covariance.shape for covariance in detector.covariance_] == [(3, 3), (3, 3)]
    assert not hasattr(MahalanobisDetector(), "covariance_")


def test_empirical_covariance_of_too_few_rows_is_refused_with_the_remedies():
    with pytest.raises(ValueError, match=r"level1 is singular.*ledoit_wolf.*NPCA"):
        MahalanobisDetector("empirical").fit(by_level(draw(5, 12)))


def test_constant_level_is_refused_by_name():
    X = by_level(draw())
    X.loc[:, X.columns.str.startswith("level2")] = 1.0
    for covariance in COVARIANCES:
        with pytest.raises(ValueError, match="All features of level2 are constant"):
            MahalanobisDetector(covariance).fit(X)


@pytest.mark.parametrize("covariance", ["ledoit-wolf", None, 3])
def test_unknown_covariance_is_refused(covariance):
    with pytest.raises(ValueError, match="covariance must be one of"):
        MahalanobisDetector(covariance).fit(draw())


def test_fewer_than_two_normal_rows_are_refused():
    with pytest.raises(ValueError, match="at least 2 normal rows"):
        MahalanobisDetector().fit(draw(3), [1, -1, -1])


def test_other_columns_at_predict_are_refused():
    X = by_level(draw())
    with pytest.raises(ValueError, match="feature names should match"):
        MahalanobisDetector().fit(X).predict(X.rename(columns={"level1__0000": "level1__9999"}))


def batches(X, n_parts=4):
    return [X.iloc[rows] for rows in np.array_split(np.arange(len(X)), n_parts)]


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("n_features", [6, 500])
def test_partial_fit_equals_fit_on_all_rows(covariance, offset, n_features):
    if covariance == "empirical" and n_features > 200:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    X, new = (by_level(draw(200, n_features, seed) + offset) for seed in (0, 1))
    whole, streamed = MahalanobisDetector(covariance).fit(X), MahalanobisDetector(covariance)
    for batch in batches(X):
        streamed.partial_fit(batch)
    assert streamed.n_samples_seen_ == 200
    np.testing.assert_allclose(streamed.score_samples(new), whole.score_samples(new), rtol=1e-8)
    assert streamed.offset_ == pytest.approx(whole.offset_, rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_empirical_distance_does_not_depend_on_the_basis(n_features, seed):
    rng = np.random.default_rng(seed)
    X, new = rng.normal(size=(40, n_features)), rng.normal(size=(10, n_features))
    A = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0] * rng.uniform(0.01, 100, n_features)
    shift = rng.normal(size=n_features) * 100
    plain = MahalanobisDetector("empirical").fit(X).score_samples(new)
    turned = MahalanobisDetector("empirical").fit(X @ A + shift).score_samples(new @ A + shift)
    np.testing.assert_allclose(turned, plain, rtol=1e-6)


def test_duplicate_and_constant_features_are_borne():
    X = draw()
    redundant = np.column_stack([X, X[:, :2], np.full(len(X), 0.1)])
    for covariance in ("ledoit_wolf", "oas", "diagonal", "identity"):
        assert np.isfinite(MahalanobisDetector(covariance).fit(redundant).score_samples(redundant)).all()
    with pytest.raises(ValueError, match="1 are constant"):
        MahalanobisDetector("empirical").fit(redundant)


def test_a_stream_may_begin_with_one_row_and_go_on_from_a_fit():
    X = draw()
    streamed = MahalanobisDetector().partial_fit(X[:1])
    with pytest.raises(ValueError, match="at least two are needed"):
        streamed.score_samples(X)
    expected = MahalanobisDetector().fit(X).score_samples(X)
    np.testing.assert_allclose(streamed.partial_fit(X[1:]).score_samples(X), expected, rtol=1e-10)
    np.testing.assert_allclose(
        MahalanobisDetector().fit(X[:50]).partial_fit(X[50:]).score_samples(X), expected, rtol=1e-10
    )


@pytest.mark.parametrize("n_features", [6, 300])
def test_forget_equals_a_fit_without_the_rows(n_features):
    X = draw(120, n_features)
    expected = MahalanobisDetector().fit(X[30:]).score_samples(X)
    forgetful = MahalanobisDetector().fit(X).forget(X[:30])
    assert forgetful.n_samples_seen_ == 90
    np.testing.assert_allclose(forgetful.score_samples(X), expected, rtol=1e-8)


def test_rows_at_minus_one_are_neither_learnt_nor_forgotten():
    X, y = np.vstack([draw(), 100 + draw(20)]), np.repeat([1, -1], [200, 20])
    detector = MahalanobisDetector().partial_fit(X, y)
    assert detector.n_samples_seen_ == 200
    assert detector.forget(X[150:], y[150:]).n_samples_seen_ == 150


def test_merge_equals_a_fit_on_the_union():
    X = by_level(draw())
    one, other = (MahalanobisDetector().fit(part) for part in batches(X, 2))
    scores = other.score_samples(X)
    np.testing.assert_allclose(
        one.merge(other).score_samples(X), MahalanobisDetector().fit(X).score_samples(X), rtol=1e-10
    )
    np.testing.assert_array_equal(other.score_samples(X), scores)


def test_forgetting_too_much_or_what_never_was_learnt_changes_nothing():
    X = draw(20)
    detector = MahalanobisDetector().fit(X)
    before = detector.score_samples(X)
    for rows in (X[1:], 100 + 50 * draw(10, seed=3)):
        with pytest.raises(ValueError, match=r"at least two must be left|never learnt"):
            detector.forget(rows)
    np.testing.assert_array_equal(detector.score_samples(X), before)
    assert detector.n_samples_seen_ == 20


def test_detectors_that_do_not_fit_together_are_not_merged():
    X = by_level(draw())
    one = MahalanobisDetector().fit(X)
    for other in (MahalanobisDetector().fit(X.iloc[:, :3]), MahalanobisDetector().fit(X.to_numpy())):
        with pytest.raises(ValueError, match="different columns"):
            one.merge(other)


@pytest.mark.parametrize("other", [*COVARIANCES, MinCovDet(random_state=0)])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_only_detectors_with_the_same_covariance_are_merged(covariance, other):
    X = by_level(draw())
    one, two = MahalanobisDetector(covariance).fit(X), MahalanobisDetector(other).fit(X)
    expected = one.score_samples(X)
    if covariance == other:
        union = MahalanobisDetector(covariance).fit(pd.concat([X, X]))
        np.testing.assert_allclose(one.merge(two).score_samples(X), union.score_samples(X), rtol=1e-10)
        return
    two.set_params(covariance=covariance)  # what counts is what the other was fitted with
    with pytest.raises(ValueError, match=f"does not join covariance='{covariance}'"):
        one.merge(two)
    np.testing.assert_array_equal(one.score_samples(X), expected)
    assert one.n_samples_seen_ == 200


@pytest.mark.parametrize("other", [*COVARIANCES, MinCovDet(random_state=0)])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_stream_goes_on_only_with_the_covariance_that_it_began_with(covariance, other):
    X = draw()
    detector = MahalanobisDetector(covariance).fit(X).set_params(covariance=other)
    for update in (lambda: detector.partial_fit(X), lambda: detector.forget(X[:9]), lambda: detector.merge(detector)):
        if covariance == other:
            update()
            continue
        with pytest.raises(ValueError, match=r"may need other moments|keeps no moments"):
            update()


@pytest.mark.parametrize(("covariance", "far"), [("diagonal", 1e9), ("empirical", 1e8), ("empirical", 1e10)])
def test_rows_far_out_in_one_feature_drown_it_beside_a_larger_one(covariance, far):
    rng = np.random.default_rng(0)
    X, outliers = rng.normal(size=(200, 3)) * [1e9, 1, 1], rng.normal(size=(3, 3)) * [1e9, far, 1]
    detector = MahalanobisDetector(covariance).fit(np.vstack([outliers, X]))
    before = detector.score_samples(X)
    with pytest.raises(ValueError, match="fit anew on the rows to be kept"):
        detector.forget(outliers)
    np.testing.assert_array_equal(detector.score_samples(X), before)
    assert detector.n_samples_seen_ == 203


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("hidden", [False, True])
def test_what_is_forgotten_leaves_right_distances_or_is_refused(covariance, hidden):
    rng, n_refused = np.random.default_rng(0), 0
    for exponent in range(13):
        X, outliers = rng.normal(size=(100, 3)) * [1e9, 1, 1], rng.normal(size=(3, 3)) * [1e9, 10.0**exponent, 1]
        if hidden:  # what drowns is the difference of two features, sooner than they do
            X[:, 2], outliers[:, 2] = X[:, 1] + 1e-3 * X[:, 2], outliers[:, 1] + 1e-3 * outliers[:, 2]
        try:
            left = MahalanobisDetector(covariance).fit(np.vstack([outliers, X])).forget(outliers)
            scores = left.score_samples(X)
        except ValueError:
            n_refused += 1
            continue
        expected = MahalanobisDetector(covariance).fit(X).score_samples(X)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert n_refused < 11


def test_a_feature_that_only_forgotten_rows_moved_is_not_taken_for_one_of_next_to_no_variance():
    X = np.column_stack([draw(50, 3), 7.0 * np.eye(50)[0]])
    with pytest.raises(ValueError, match="fit anew on the rows to be kept"):
        MahalanobisDetector("diagonal").fit(X).forget(X[:1])
    expected = MahalanobisDetector().fit(X[1:]).score_samples(X)  # what is shrunk does not hang on it
    np.testing.assert_allclose(MahalanobisDetector().fit(X).forget(X[:1]).score_samples(X), expected, rtol=1e-8)


def test_constant_features_are_borne_by_forgetting():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(rng.integers(6, 200), 3))
        X[:, 1] = rng.normal() * 10.0 ** rng.integers(-8, 8)  # whose sum of squares is rounding, maybe below zero
        detector = MahalanobisDetector("diagonal")
        for part in np.array_split(X, 3):
            detector.partial_fit(part)
        expected = MahalanobisDetector("diagonal").fit(X[-5:]).score_samples(X)
        np.testing.assert_allclose(detector.forget(X[:-5]).score_samples(X), expected, rtol=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("scale", [1e-85, 1e80])
@pytest.mark.parametrize("n_samples", [200, 3])
def test_scores_do_not_depend_on_units(covariance, scale, n_samples):
    X = by_level(draw(n_samples, 6 if n_samples == 200 else 24))
    if covariance == "empirical" and n_samples == 3:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    plain, scaled = (MahalanobisDetector(covariance).fit(unit * X) for unit in (1.0, scale))
    unit = scale if covariance == "identity" else 1.0
    np.testing.assert_allclose(scaled.score_samples(scale * X), unit * plain.score_samples(X), rtol=1e-9)
    np.testing.assert_allclose(scaled.leave_one_out_scores(scale * X), unit * plain.leave_one_out_scores(X), rtol=1e-9)
    assert scaled.offset_ == pytest.approx(unit * plain.offset_, rel=1e-12)
    if plain.shrinkage_[0] is not None:
        assert scaled.shrinkage_ == pytest.approx(plain.shrinkage_, rel=1e-9)


def test_errors_name_the_level():
    X = by_level(draw())
    far = X[:3].assign(level2__0004=1e6)
    detector = MahalanobisDetector("diagonal").fit(pd.concat([far, X]))
    with pytest.raises(ValueError, match=r"level2: .*far out"):
        detector.forget(far)
    for estimator in (detector, NPCA()):
        with pytest.raises(ValueError, match=r"level2: .*does not hold the squares"):
            estimator.fit(X.assign(level2__0004=X["level2__0004"] * 1e200))


def test_an_estimator_does_not_stream():
    X = draw()
    detector = MahalanobisDetector(MinCovDet(random_state=0))
    for update in (detector.partial_fit, detector.fit(X).forget, detector.leave_one_out_scores):
        with pytest.raises(ValueError, match="keeps no moments"):
            update(X)


def test_a_stream_goes_on_after_a_pickle():
    X = draw()
    streamed = pickle.loads(pickle.dumps(MahalanobisDetector().partial_fit(X[:100]))).partial_fit(X[100:])
    np.testing.assert_allclose(streamed.score_samples(X), MahalanobisDetector().fit(X).score_samples(X), rtol=1e-10)


def test_a_failed_fit_leaves_the_detector_as_it_was():
    X = by_level(draw())
    detector = MahalanobisDetector()
    for fit in (detector.fit, detector.partial_fit):
        with pytest.raises(ValueError, match="labelled"):
            fit(X, np.full(len(X), -1))
        with pytest.raises(NotFittedError):
            detector.predict(X)
    expected = detector.fit(X).score_samples(X)
    for bad in (X[X.columns[::-1]].assign(level1__0000=np.nan), X.iloc[:1], X.assign(level1__0000=1, other=2)):
        with pytest.raises(ValueError):  # noqa: PT011
            detector.fit(bad)
        np.testing.assert_array_equal(detector.score_samples(X), expected)


def test_an_estimator_is_fitted_in_float64_and_must_give_a_covariance():
    X = draw().astype(np.float32)
    assert MahalanobisDetector(LedoitWolf()).fit(X).covariance_[0].dtype == np.float64
    with pytest.raises(ValueError, match="has no covariance_ after fit"):
        MahalanobisDetector(StandardScaler()).fit(X)


def test_a_pickle_holds_one_symmetric_matrix_a_level():
    X = draw(600, 300)
    assert len(pickle.dumps(MahalanobisDetector().fit(X))) < 300 * 301 / 2 * 8 + 6 * 300 * 8 + 3000


def test_leave_one_out_scores_are_the_sum_over_levels_and_lower_than_the_training_scores():
    X = by_level(draw(50))
    detector = MahalanobisDetector().fit(X)
    scores = detector.leave_one_out_scores(X)
    assert (scores < detector.score_samples(X)).all()
    alone = [
        MahalanobisDetector().fit(part).leave_one_out_scores(part)
        for part in (X.filter(like="level1").to_numpy(), X.filter(like="level2").to_numpy())
    ]
    np.testing.assert_allclose(scores, sum(alone), rtol=1e-10)


def test_leave_one_out_scores_leave_anomalous_rows_as_they_are():
    X, y = np.vstack([draw(), 100 + draw(20)]), np.repeat([1, -1], [200, 20])
    detector = MahalanobisDetector().fit(X, y)
    scores = detector.leave_one_out_scores(X, y)
    np.testing.assert_allclose(scores[:200], detector.leave_one_out_scores(X[:200]))
    np.testing.assert_array_equal(scores[200:], detector.score_samples(X)[200:])
    with pytest.raises(ValueError, match=r"got 220.*give y"):
        detector.leave_one_out_scores(X)


def test_parameters_set_after_the_fit_do_not_change_it():
    X = draw()
    detector = MahalanobisDetector("empirical").fit(X)
    expected, left_out = detector.score_samples(X), detector.leave_one_out_scores(X)
    detector.set_params(covariance="identity", fpr=2.0)
    assert detector.get_feature_names_out().tolist() == ["chi6"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(X), expected)
    np.testing.assert_array_equal(detector.leave_one_out_scores(X), left_out)


def test_streaming_checks_the_parameters():
    X = draw()
    for params in ({"fpr": 5}, {"covariance": "bogus"}):
        with pytest.raises(ValueError, match=f"{next(iter(params))} must"):
            MahalanobisDetector().fit(X).set_params(**params).forget(X[:10])
    with pytest.raises(ValueError, match="takes another MahalanobisDetector; got NPCA"):
        MahalanobisDetector().fit(X).merge(NPCA().fit(X))


def test_a_stream_that_has_only_begun_can_be_shown():
    X = draw()
    for detector in (MahalanobisDetector().partial_fit(X[:1]), MahalanobisDetector("empirical").partial_fit(X[:4])):
        assert "MahalanobisDetector" in detector._repr_html_()
        assert not hasattr(detector, "covariance_")
        assert detector.location_[0].shape == (6,)


def test_leave_one_out_scores_want_all_rows():
    X = draw()
    with pytest.raises(ValueError, match="the 200 rows that were learnt; got 10"):
        MahalanobisDetector().fit(X).leave_one_out_scores(X[:10])


def test_leave_one_out_scores_find_defective_cells_in_the_training_set(mono):
    features, y = mono
    level7 = features.filter(like="level7__")
    defective = np.flatnonzero(y == -1)[::20]
    rows = np.concatenate([np.flatnonzero(y == 1), defective])  # 588 normal and 16 defective: 2.6 %
    scores = MahalanobisDetector().fit(level7.iloc[rows]).leave_one_out_scores(level7.iloc[rows])
    assert roc_auc_score(y[rows], scores) > 0.9


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_are_not_finite_are_named_by_row_and_column(value, what):
    X = by_level(draw())
    detector = MahalanobisDetector().fit(X)
    X.iloc[3, 4] = value
    for method in (detector.fit, detector.partial_fit, detector.predict):
        with pytest.raises(ValueError, match=f"{what} in row 3, column 'level2__0004'"):
            method(X)


def test_large_finite_values_are_not_taken_for_infinite():
    X = np.full((4, 1), 1e38, dtype=np.float32)  # their sum is infinite in float32
    assert np.isfinite(MahalanobisDetector("identity").fit(draw(n_features=1)).score_samples(X)).all()


def test_frames_take_the_short_cut_only_if_names_agree():
    X = by_level(draw())
    detector = MahalanobisDetector().fit(X)
    expected = detector.score_samples(X)
    np.testing.assert_array_equal(detector.score_samples(X.astype(object)), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        detector.score_samples(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        detector.score_samples(X.iloc[:0])


def test_memory_maps_may_be_read_only(tmp_path):
    np.save(tmp_path / "X.npy", draw().astype(np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = MahalanobisDetector().fit(np.array(X)).score_samples(np.array(X))
    np.testing.assert_array_equal(MahalanobisDetector().fit(X).score_samples(X), expected)
    np.testing.assert_array_equal(NPCA(2).fit_transform(X), NPCA(2).fit_transform(np.array(X)))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_feature(covariance):
    X = draw(50, 1)
    scores = MahalanobisDetector(covariance).fit(X).score_samples(X)
    deviation = 1.0 if covariance == "identity" else X.std()
    np.testing.assert_allclose(-scores, np.abs(X[:, 0] - X.mean()) / deviation, rtol=1e-10)


def test_two_rows():
    X = draw(2, 4)
    for covariance in ("diagonal", "identity", "oas"):
        assert np.isfinite(MahalanobisDetector(covariance).fit(X).score_samples(X)).all()
    for n_features in (2, 4, 40):
        for seed in range(50):  # two rows show no noise: Ledoit and Wolf shrink by nothing, or by a rounding
            with pytest.raises(ValueError, match=r"singular.*2 normal rows.*'oas'"):
                MahalanobisDetector().fit(draw(2, n_features, seed))
