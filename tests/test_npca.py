from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from joblib import Memory
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skgad import NPCA, MahalanobisDetector
from skgad._gaussian import _principal_axes
from skgad._gaussian._spectrum import kept_components


def draw(n_samples, n_features, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_features)) * np.geomspace(10, 1e-3, n_features)


@pytest.mark.parametrize("shape", [(200, 30), (20, 30), (30, 30)])
@pytest.mark.parametrize("share", [0.3, 0.05, 0.001])
def test_keeps_what_pca_drops(shape, share):
    X = draw(*shape)
    pca = PCA(svd_solver="full").fit(X)
    rank = min(shape[0] - 1, shape[1])
    n_kept_by_pca = PCA(n_components=1 - share, svd_solver="full").fit(X).n_components_
    npca = NPCA(share).fit(X)
    expected = pca.components_[min(n_kept_by_pca, rank - 1) : rank]
    assert npca.n_components_ == [len(expected)]
    np.testing.assert_allclose(np.abs(np.sum(npca.components_[0] * expected, axis=1)), 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        npca.explained_variance_[0], pca.explained_variance_[rank - len(expected) : rank], rtol=1e-6
    )


def test_published_rule_keeps_two_components_more():
    X = draw(200, 30)
    for share in (0.3, 0.05, 0.001):
        complement, published = (NPCA(share, rule=rule).fit(X).n_components_[0] for rule in ("complement", "published"))
        assert published == complement + 2


@pytest.mark.parametrize("shape", [(200, 30), (20, 30), (31, 30)])
@pytest.mark.parametrize("share", [0.9999, 0.3, 0.05, 0.001])
def test_published_rule_is_that_of_the_tables(shape, share):
    X = draw(*shape)
    _, singular, axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    ratios = np.cumsum(singular**2) / np.sum(singular**2)
    k = next(index for index, ratio in enumerate(ratios) if ratio > 1 - share)
    expected = axes[max(k - 1, 0) :]
    npca = NPCA(share, rule="published").fit(X)
    assert npca.n_components_ == [len(expected)]
    solid = singular[-len(expected) :] > 1e-9
    np.testing.assert_allclose(np.abs(np.sum(npca.components_[0] * expected, axis=1))[solid], 1.0, rtol=1e-6)


@pytest.mark.parametrize("n_samples", [30, 31, 200])
def test_published_rule_is_exact_where_there_is_next_to_no_variance(n_samples):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, 30)) * np.geomspace(10, 1e-9, 30) @ np.linalg.qr(rng.normal(size=(30, 30)))[0]
    expected = PCA(svd_solver="full").fit(X).explained_variance_[: min(n_samples - 1, 30)]
    variances = NPCA(1.0, rule="published").fit(X).explained_variance_[0]
    np.testing.assert_allclose(variances[: len(expected)], expected, rtol=1e-4)


def test_published_rule_keeps_directions_without_variance():
    X = draw(10, 30)
    assert NPCA(1.0, rule="published").fit(X).n_components_ == [10]
    assert NPCA(1.0).fit(X).n_components_ == [9]


@pytest.mark.parametrize("shape", [(200, 30), (20, 30)])
def test_training_scores_are_uncorrelated_with_the_stated_variances(shape):
    X = draw(*shape)
    npca = NPCA(0.1).fit(X)
    scores = npca.transform(X)
    covariance = np.cov(scores.T, ddof=1)
    np.testing.assert_allclose(np.diag(covariance), npca.explained_variance_[0], rtol=1e-8)
    np.testing.assert_allclose(covariance, np.diag(npca.explained_variance_[0]), atol=1e-9 * covariance.max())


def test_one_and_all():
    X = draw(200, 5)
    with pytest.warns(UserWarning, match=r"one of each level is kept.*write 1\.0"):
        assert NPCA(1).fit(X).n_components_ == [1]
    assert NPCA(1.0).fit(X).n_components_ == [5]
    assert NPCA(1e-12).fit(X).n_components_ == [1]


def test_duplicate_and_constant_features_give_no_direction():
    X = draw(200, 5)
    redundant = np.column_stack([X, X[:, 0], np.full(200, 7.0)])
    npca = NPCA(1.0).fit(redundant)
    assert npca.n_components_ == [5]
    assert npca.explained_variance_[0].min() > 1e-8


def test_levels_are_fitted_apart():
    X = draw(100, 12)
    columns = [f"level{1 + index % 2}__{index:04d}" for index in range(12)]
    frame = pd.DataFrame(X, columns=columns, index=np.arange(100) + 7)
    npca = NPCA(2).fit(frame)
    out = npca.transform(frame)
    assert npca.levels_ == ["level1", "level2"]
    assert out.columns.tolist() == ["level1__npca0", "level1__npca1", "level2__npca0", "level2__npca1"]
    assert out.index.equals(frame.index)
    for level, columns in (("level1", slice(0, None, 2)), ("level2", slice(1, None, 2))):
        alone = NPCA(2).fit_transform(X[:, columns])
        np.testing.assert_allclose(out.filter(like=level), alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_container_are_kept(dtype):
    X = draw(50, 4).astype(dtype)
    assert NPCA(2).fit_transform(X).dtype == dtype
    frame = NPCA(2).fit_transform(pd.DataFrame(X, columns=list("abcd")))
    assert frame.columns.tolist() == ["npca0", "npca1"]
    assert set(frame.dtypes) == {np.dtype(dtype)}


def test_anomalous_rows_are_left_out():
    X, outliers = draw(100, 5), draw(10, 5)[:, ::-1]
    both, y = np.vstack([outliers, X]), np.repeat([-1, 1], [10, 100])
    np.testing.assert_array_equal(NPCA(2).fit(both, y).components_[0], NPCA(2).fit(X).components_[0])


@pytest.mark.parametrize("n_components", [0, -1, 0.0, 1.5, -0.1, True, "all", None, float("nan")])
def test_bad_n_components_is_refused(n_components):
    with pytest.raises(ValueError, match="n_components must be"):
        NPCA(n_components).fit(draw(10, 3))


def test_more_components_than_there_are_is_refused():
    with pytest.raises(ValueError, match="level3 has only 2 components"):
        NPCA(3).fit(pd.DataFrame(draw(10, 2), columns=["level3__0", "level3__1"]))


def test_bad_rule_is_refused():
    with pytest.raises(ValueError, match="rule must be"):
        NPCA(rule="other").fit(draw(10, 3))


def test_level_without_variance_is_refused_by_name():
    frame = pd.DataFrame(draw(10, 2), columns=["level1__0", "level2__0"])
    with pytest.raises(ValueError, match="no variance in level2"):
        NPCA().fit(frame.assign(level2__0=0.1))


def test_fewer_than_two_normal_rows_are_refused():
    with pytest.raises(ValueError, match="at least 2 normal rows"):
        NPCA().fit(draw(3, 2), [1, -1, -1])


@pytest.mark.parametrize("shape", [(200, 30), (40, 90)])
def test_partial_fit_equals_fit_on_all_rows(shape):
    X = draw(*shape)
    whole, streamed = NPCA(0.1).fit(X), NPCA(0.1)
    for batch in np.array_split(X, 5):
        streamed.partial_fit(batch)
    assert streamed.n_components_ == whole.n_components_
    assert streamed.n_samples_seen_ == shape[0]
    np.testing.assert_allclose(streamed.explained_variance_[0], whole.explained_variance_[0], rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(streamed.components_[0] * whole.components_[0], axis=1)), 1.0, rtol=1e-6)


def test_two_passes_over_a_stream_equal_the_pipeline_on_all_rows():
    X, new = draw(200, 30), draw(50, 30, seed=1)
    parts = np.array_split(X, 4)
    npca, detector = NPCA(0.1), MahalanobisDetector()
    for batch in parts:
        npca.partial_fit(batch)
    for batch in parts:
        detector.partial_fit(npca.transform(batch))
    expected = make_pipeline(NPCA(0.1), MahalanobisDetector()).fit(X).score_samples(new)
    np.testing.assert_allclose(detector.score_samples(npca.transform(new)), expected, rtol=1e-5)


def test_a_stream_does_not_go_on_from_a_fit():
    with pytest.raises(ValueError, match="start the stream with partial_fit"):
        NPCA(2).fit(draw(20, 5)).partial_fit(draw(20, 5))


def test_all_ratios_of_a_level_cost_one_decomposition(tmp_path, monkeypatch):
    X = draw(50, 8)
    calls = []
    decompose = _principal_axes.decompose
    monkeypatch.setattr(_principal_axes, "decompose", lambda sample: calls.append(1) or decompose(sample))
    memory = Memory(tmp_path, verbose=0)
    for ratio in (0.5, 0.1, 0.01, 0.001):
        expected = NPCA(ratio).fit_transform(X)
        calls.clear()
        np.testing.assert_array_equal(NPCA(ratio, memory=memory).fit_transform(X), expected)
        assert len(calls) == (1 if ratio == 0.5 else 0)


@pytest.mark.parametrize("n_components", [0.3, 0.05, 1.0, 3])
@pytest.mark.parametrize("rule", ["complement", "published"])
def test_a_stack_of_spectra_is_cut_as_each_alone(n_components, rule):
    spectra = np.geomspace(1, [1e-2, 1e-9, 1e-15, 1e-20], 8, axis=1)
    firsts, ends = kept_components(spectra, n_components, (100, 8), rule=rule)
    for spectrum, first, end in zip(spectra, firsts, ends, strict=True):
        rank = 8 if rule == "published" else sum(spectrum > 100 * np.finfo(float).eps * spectrum[0])
        ratios = np.cumsum(spectrum[:rank]) / spectrum[:rank].sum()
        crossing = next((index for index, ratio in enumerate(ratios) if ratio > 1 - n_components), rank)
        by_share = 0 if n_components == 1.0 else min(crossing + 1, rank - 1)
        if rule == "published" and n_components < 1:
            by_share = max(crossing - 1, 0)
        assert (first, end) == (rank - 3 if n_components == 3 else by_share, rank)


def test_variances_below_the_rounding_of_larger_sums_are_none():
    spectrum = np.array([1.0, 1e-3, 1e-6])
    assert kept_components(spectrum, 1.0, (100, 3)) == (0, 3)
    assert kept_components(spectrum, 1.0, (100, 3), noise=1e9) == (0, 2)


SHARED = [(0o700, 0o755, False), (0o777, 0o755, True), (0o1777, 0o755, False), (0o1777, 0o777, True)]


@pytest.mark.parametrize(("outer", "inner", "warns"), SHARED)
def test_a_memory_that_others_can_write_warns(tmp_path, outer, inner, warns):
    (tmp_path / "joblib").mkdir()
    (tmp_path / "joblib").chmod(inner)
    tmp_path.chmod(outer)
    npca = NPCA(2, memory=str(tmp_path))
    with pytest.warns(UserWarning, match="chmod 700") if warns else nullcontext():
        npca.fit(draw(20, 5))


def test_there_are_no_more_directions_than_rows():
    assert kept_components(np.geomspace(1, 1e-3, 8), 1.0, (5, 8), rule="published") == (0, 5)


def test_directions_from_the_moments_of_rows_that_are_far_apart_are_those_of_a_fit():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        rng.normal(size=(300, 9)) * np.logspace(0, 2, 9), columns=[f"level{1 + n // 5}__{n:04d}" for n in range(9)]
    )
    learnt = MahalanobisDetector().fit(X[:100]).merge(MahalanobisDetector().fit(X[100:]))
    one, other = NPCA(0.2).fit(X), NPCA(0.2).fit_moments(learnt)
    assert one.n_components_ == other.n_components_
    np.testing.assert_allclose(other.transform(X), one.transform(X), rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="only the rows tell"):
        NPCA(0.2, rule="published").fit_moments(learnt)
