"""One Gaussian over the features of all levels, each level brought to one scale."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import OAS, ledoit_wolf, oas
from sklearn.pipeline import make_pipeline

from skgad import NPCA, FPRThreshold, FPRThresholdCV, MahalanobisDetector
from skgad._gaussian._estimate import KINDS
from skgad._gaussian._leave_one_out_joint import joint_leave_one_out_distances

SIZES = (2, 5, 3)
SHAPES = [(200, 1), (40, 1), (12, 1), (25, 10), (31, 10), (60, 10), (70, 10)]  # rows, and times SIZES


def draw(n_samples=60, times=1, law="normal", seed=0):
    """Return a frame of three levels of very different scales that correlate with each other."""
    rng = np.random.default_rng(seed)
    sizes = [times * size for size in SIZES]
    shape = (n_samples, sum(sizes))
    white = rng.normal(size=shape) if law == "normal" else rng.standard_t(2, size=shape)
    mixing = np.random.default_rng(9).normal(size=(shape[1], shape[1])) * np.arange(1, shape[1] + 1) ** -0.9
    values = (white @ mixing + 3) * np.repeat([1e-3, 1.0, 1e2], sizes)
    names = [f"level{level}__{i:04d}" for level, size in enumerate(sizes, 1) for i in range(size)]
    return pd.DataFrame(values, columns=names)


def scales_of(X):
    levels = [name.split("__")[0] for name in X.columns]
    return np.sqrt(X.var(ddof=0).groupby(levels).sum()[levels].to_numpy())


def distances_by_hand(X, new, kind):
    """Return the distances by scikit-learn's covariances of the features over the scale of their level."""
    scales = 1.0 if kind in ("empirical", "diagonal") else scales_of(X)
    rows, new = X.to_numpy() / scales, new.to_numpy() / scales
    estimate = {
        "ledoit_wolf": lambda: ledoit_wolf(rows)[0],
        "oas": lambda: oas(rows)[0],
        "empirical": lambda: np.cov(rows.T, bias=True),
        "diagonal": lambda: np.diag(rows.var(axis=0)),
        "identity": lambda: np.eye(rows.shape[1]),
    }
    centred = new - rows.mean(axis=0)
    return np.sqrt(np.einsum("ij,ji->i", centred, np.linalg.solve(estimate[kind](), centred.T)))


def joint(kind="ledoit_wolf", **parameters):
    return MahalanobisDetector(kind, levels="joint", **parameters)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_distance_is_that_of_one_shrunk_covariance_of_levels_on_one_scale(kind, shape):
    if kind == "empirical" and shape[0] < 10 * shape[1] + 2:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    X, new = draw(*shape), draw(7, shape[1], seed=1)
    np.testing.assert_allclose(-joint(kind).fit(X).score_samples(new), distances_by_hand(X, new, kind), rtol=1e-9)


def test_the_unit_of_a_level_does_not_matter():
    X, new = draw(), draw(9, seed=1)
    units = np.where(X.columns.str.startswith("level2"), 1e5, 1.0)
    expected = joint().fit(X).score_samples(new)
    np.testing.assert_allclose(joint().fit(X * units).score_samples(new * units), expected, rtol=1e-9)


def test_one_level_is_its_own_joint_gaussian():
    X = draw().filter(like="level2")
    for rows in (X, X.to_numpy()):
        each, both = MahalanobisDetector().fit(rows), joint().fit(rows)
        np.testing.assert_allclose(both.score_samples(rows), each.score_samples(rows), rtol=1e-10)
        np.testing.assert_allclose(both.leave_one_out_scores(rows), each.leave_one_out_scores(rows), rtol=1e-10)


def test_a_level_may_lie_in_columns_that_are_apart():
    X = draw()
    mixed = X.iloc[:, np.random.default_rng(0).permutation(X.shape[1])]
    np.testing.assert_allclose(joint().fit(mixed).score_samples(mixed), joint().fit(X).score_samples(X), rtol=1e-9)


def test_an_estimator_of_the_covariance_sees_levels_on_one_scale():
    X, new = draw(), draw(7, seed=1)
    detector = joint(OAS()).fit(X)
    np.testing.assert_allclose(-detector.score_samples(new), distances_by_hand(X, new, "oas"), rtol=1e-9)
    assert detector.shrinkage_ == pytest.approx(joint("oas").fit(X).shrinkage_)


def test_location_and_covariance_are_in_the_units_of_the_features():
    X = draw(400)
    detector = joint("empirical").fit(X)
    np.testing.assert_allclose(detector.location_[0], X.mean(), rtol=1e-12)
    np.testing.assert_allclose(detector.covariance_[0], np.cov(X.T, bias=True), rtol=1e-8)
    shrunk, rho = joint().fit(X), joint().fit(X).shrinkage_[0]
    expected = (1 - rho) * np.cov(X.T, bias=True) + rho * 3 / 10 * np.diag(scales_of(X) ** 2)
    np.testing.assert_allclose(shrunk.covariance_[0], expected, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(90, 1), (30, 10), (45, 10)])
def test_updates_equal_a_fit_on_the_rows_that_are_in(kind, shape):
    if kind == "empirical" and shape[1] > 1:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    X, new = draw(*shape), draw(7, shape[1], seed=1)
    expected = joint(kind).fit(X).score_samples(new)
    half = shape[0] // 2
    streamed = joint(kind)
    for part in np.array_split(np.arange(shape[0]), 7):
        streamed.partial_fit(X.iloc[part])
    np.testing.assert_allclose(streamed.score_samples(new), expected, rtol=1e-8)
    merged = joint(kind).fit(X[:half]) if kind != "empirical" else joint(kind).partial_fit(X[:half])
    np.testing.assert_allclose(merged.merge(streamed.forget(X[:half])).score_samples(new), expected, rtol=1e-7)
    assert merged.n_samples_seen_ == shape[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("law", ["normal", "t"])
def test_leaving_a_row_out_equals_a_refit_scales_included(kind, shape, law):
    if kind == "empirical" and shape[0] < 10 * shape[1] + 3:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    X = draw(*shape, law)
    expected = [joint(kind).fit(X.drop(index=i)).score_samples(X.loc[[i]])[0] for i in X.index]
    np.testing.assert_allclose(joint(kind).fit(X).leave_one_out_scores(X), expected, rtol=1e-8)


@pytest.mark.parametrize("shape", [(40, 1), (25, 10)])
@pytest.mark.parametrize("size", [1e2, 1e5])
def test_a_row_far_from_the_others_costs_no_digits(shape, size):
    X = draw(*shape)
    X.iloc[3] *= size
    X.iloc[5, :2] *= size  # of one level alone
    expected = [joint().fit(X.drop(index=i)).score_samples(X.loc[[i]])[0] for i in X.index]
    np.testing.assert_allclose(joint().fit(X).leave_one_out_scores(X), expected, rtol=1e-7)


def test_a_row_that_alone_moves_a_level_is_infinitely_far():
    X = draw()
    X.loc[:, X.columns.str.startswith("level2")] = 4.0
    X.iloc[8, 2:7] = 5.0
    for kind in ("ledoit_wolf", "identity"):
        distances = joint_leave_one_out_distances(X.to_numpy(), SIZES, kind)
        assert distances[8] == np.inf
        assert np.isfinite(np.delete(distances, 8)).all()


def test_its_working_point_takes_no_refit(monkeypatch):
    fits = []
    learn = MahalanobisDetector._learn
    monkeypatch.setattr(MahalanobisDetector, "_learn", lambda self, *args: fits.append(1) or learn(self, *args))
    X = draw(150)
    detector = FPRThresholdCV(joint(), fpr=0.05).fit(X)
    assert len(fits) == 1
    np.testing.assert_allclose(detector.out_of_fold_scores_, joint().fit(X).leave_one_out_scores(X))


def test_its_distance_says_what_law_it_claims():
    X = draw(2000)
    distances = joint().fit(X).transform(X)
    assert list(distances.columns) == ["joint__chi10"]
    assert list(joint("diagonal").fit(X).transform(X).columns) == ["joint__dist10"]
    detector = joint("empirical", fpr=0.05).fit(X)
    assert (detector.predict(X) == -1).mean() == pytest.approx(0.05, abs=0.02)
    pipe = make_pipeline(joint("empirical"), FPRThreshold(0.05)).fit(X)
    np.testing.assert_array_equal(pipe.predict(X), detector.predict(X))
    assert detector.levels_ == ["joint"]


@pytest.mark.filterwarnings("ignore:n_components=:UserWarning")
def test_npca_in_front_is_warned_of():
    with pytest.warns(UserWarning, match="NPCA stands in front of levels='joint'"):
        make_pipeline(NPCA(0.5), joint()).fit(draw())
    make_pipeline(NPCA(0.5), MahalanobisDetector()).fit(draw())


def test_levels_must_be_known_and_stay_what_they_were():
    X = draw()
    for levels in ("all", [1, 2], None):
        with pytest.raises(ValueError, match=r"levels must be 'each'.*'joint'"):
            MahalanobisDetector(levels=levels).fit(X)
    detector = joint().fit(X)
    with pytest.raises(ValueError, match="levels='each' does not join levels='joint'"):
        detector.merge(MahalanobisDetector().fit(X))
    with pytest.raises(ValueError, match="levels='each' was set after a fit with levels='joint'"):
        detector.set_params(levels="each").partial_fit(X)


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "diagonal", OAS()])
def test_a_level_that_does_not_vary_is_named(covariance):
    X = draw()
    X.loc[:, X.columns.str.startswith("level2")] = 4.0
    with pytest.raises(ValueError, match="All features of level2 are constant"):
        joint(covariance).fit(X)


@pytest.mark.parametrize("shape", [(90, 1), (30, 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pickle_gives_the_same_distances_and_goes_on(shape, dtype):
    X, new = draw(*shape).astype(dtype), draw(7, shape[1], seed=1)
    detector = joint().fit(X)
    expected = detector.score_samples(new)
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(again.score_samples(new), expected, rtol=1e-12)
    more = draw(9, shape[1], seed=2).astype(dtype)
    expected = detector.partial_fit(more).score_samples(new)
    np.testing.assert_allclose(again.partial_fit(more).score_samples(new), expected, rtol=1e-12)


def test_a_pickle_of_few_rows_holds_them_as_precisely_as_they_came():
    X = draw(40, 30)
    sizes = {dtype: len(pickle.dumps(joint().fit(X.astype(dtype)))) for dtype in (np.float32, np.float64)}
    assert sizes[np.float64] - sizes[np.float32] == pytest.approx(40 * 300 * 4, abs=100)
