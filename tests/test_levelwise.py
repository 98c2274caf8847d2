import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from skgad import LevelwiseDetector, LevelwiseTransformer, MahalanobisDetector


def by_level(n_samples=100, seed=0):
    X = np.random.default_rng(seed).normal(size=(n_samples, 7)) @ np.random.default_rng(9).normal(size=(7, 7))
    return pd.DataFrame(X, columns=[f"level{1 + index // 3}__{index:04d}" for index in range(7)])


def test_each_level_is_transformed_by_itself():
    X = by_level()
    out = LevelwiseTransformer(PCA(2)).fit_transform(X.iloc[:, :6])
    assert out.columns.tolist() == ["level1__pca0", "level1__pca1", "level2__pca0", "level2__pca1"]
    for level, columns in (("level1", slice(0, 3)), ("level2", slice(3, 6))):
        np.testing.assert_allclose(out.filter(like=level), PCA(2).fit_transform(X.iloc[:, columns].to_numpy()))


def test_names_of_a_transformer_that_keeps_features_are_kept():
    X = by_level()
    assert LevelwiseTransformer(StandardScaler()).fit_transform(X).columns.tolist() == X.columns.tolist()


def test_the_papers_pca_rows_chain_with_the_gaussian():
    X = by_level()
    pipe = make_pipeline(LevelwiseTransformer(PCA(0.95)), MahalanobisDetector()).fit(X)
    assert pipe[-1].levels_ == ["level1", "level2", "level3"]


def test_without_levels_it_is_the_estimator_itself():
    X = by_level().to_numpy()
    np.testing.assert_allclose(LevelwiseTransformer(PCA(2)).fit_transform(X), PCA(2).fit_transform(X))
    expected = OneClassSVM().fit(X)
    detector = LevelwiseDetector(OneClassSVM()).fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), expected.score_samples(X))
    np.testing.assert_allclose(detector.decision_function(X), expected.decision_function(X))
    np.testing.assert_array_equal(detector.predict(X), expected.predict(X))


@pytest.mark.parametrize("detector", [OneClassSVM(), IsolationForest(random_state=0), LocalOutlierFactor(novelty=True)])
def test_scores_are_added(detector):
    X, new = by_level(), by_level(seed=1)
    levelwise = LevelwiseDetector(detector).fit(X)
    alone = [
        detector.fit(X.filter(like=level).to_numpy()).score_samples(new.filter(like=level).to_numpy())
        for level in ("level1", "level2", "level3")
    ]
    np.testing.assert_allclose(levelwise.score_samples(new), sum(alone))
    np.testing.assert_array_equal(levelwise.decision_function(new), levelwise.score_samples(new) - levelwise.offset_)


def test_a_pipeline_inside_keeps_its_offset():
    X = by_level().to_numpy()
    pipe = make_pipeline(StandardScaler(), OneClassSVM()).fit(X)
    detector = LevelwiseDetector(make_pipeline(StandardScaler(), OneClassSVM())).fit(X)
    np.testing.assert_array_equal(detector.predict(X), pipe.predict(X))
    assert set(detector.predict(X)) == {-1, 1}


def test_a_transformer_without_names_will_do_for_arrays_and_a_sparse_one_is_refused():
    X = by_level().to_numpy()
    np.testing.assert_array_equal(LevelwiseTransformer(FunctionTransformer(np.abs)).fit_transform(X), np.abs(X))
    with pytest.raises(ValueError, match="sparse_output=False"):
        LevelwiseTransformer(OneHotEncoder()).fit_transform(X)


def test_around_the_gaussian_it_equals_the_level_aware_one():
    X, new = by_level(), by_level(seed=1)
    expected = MahalanobisDetector().fit(X)
    levelwise = LevelwiseDetector(MahalanobisDetector()).fit(X)
    np.testing.assert_allclose(levelwise.score_samples(new), expected.score_samples(new), rtol=1e-12)
    assert levelwise.offset_ == pytest.approx(expected.offset_)


def test_anomalous_rows_are_left_out():
    X = by_level()
    dirty, y = pd.concat([X, 50 + by_level(10)]), np.repeat([1, -1], [100, 10])
    expected = LevelwiseDetector(OneClassSVM()).fit(X).score_samples(X)
    np.testing.assert_array_equal(LevelwiseDetector(OneClassSVM()).fit(dirty, y).score_samples(X), expected)
    np.testing.assert_allclose(
        LevelwiseTransformer(PCA(2)).fit(dirty[dirty.columns[:6]], y).transform(X.iloc[:, :6]),
        LevelwiseTransformer(PCA(2)).fit_transform(X.iloc[:, :6]),
    )


def test_a_detector_without_scores_is_refused():
    with pytest.raises(TypeError, match="score_samples or decision_function"):
        LevelwiseDetector(BaseEstimator()).fit(by_level())
