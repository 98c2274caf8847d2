import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from scipy.stats import chi2
from sklearn.covariance import OAS, LedoitWolf, MinCovDet
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
    with pytest.raises(ValueError, match="at least two normal rows"):
        MahalanobisDetector().fit(draw(3), [1, -1, -1])


def test_other_columns_at_predict_are_refused():
    X = by_level(draw())
    with pytest.raises(ValueError, match="feature names should match"):
        MahalanobisDetector().fit(X).predict(X.rename(columns={"level1__0000": "level1__9999"}))
