"""The theorem of full conformal prediction, and the arithmetic that makes it cheap."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.covariance import OAS, ledoit_wolf, oas
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline

from skgad import NPCA, FPRThresholdCV, FullConformalThreshold, LevelwiseTransformer, MahalanobisDetector
from skgad._gaussian._augmented import left_out_together
from skgad.model_selection import LevelSelector

SHRINKAGES = {
    "ledoit_wolf": lambda rows: ledoit_wolf(rows)[1],
    "oas": lambda rows: oas(rows)[1],
    "empirical": lambda _: 0.0,
}
SHAPES = [(40, 6), (12, 6), (40, 100), (99, 100), (120, 100)]


def sizes_of(n_features, joint):
    return () if not joint else (2, 4) if n_features == 6 else (20, 50, 30)


def draw(shape, joint=False, seed=0):
    rng = np.random.default_rng(seed)
    sizes = sizes_of(shape[1], joint) or (shape[1],)
    return (rng.standard_t(3, size=shape) + 3) * np.repeat(10.0 ** np.arange(-1, len(sizes) - 1), sizes)


def left_out_by_hand(rows, kind, sizes):
    """Return the distance of each row to the Gaussian of the others, the shrinkage and the scales of all held."""
    n_others, n_features = len(rows) - 1, rows.shape[1]
    if sizes and kind != "empirical":
        starts = np.cumsum((0, *sizes[:-1]))
        rows = rows / np.repeat(np.sqrt(np.add.reduceat(rows.var(axis=0), starts)), sizes)
    if kind == "identity":
        rows = rows - rows.mean(axis=0)
        return np.linalg.norm(rows, axis=1)
    rho = SHRINKAGES[kind](rows)
    floor = rho * rows.var(axis=0).mean()
    distances = []
    for row in range(len(rows)):
        others = np.delete(rows, row, axis=0)
        centred = others - others.mean(axis=0)
        covariance = (1 - rho) * (centred.T @ centred) / (n_others + 1) + floor * np.eye(n_features)
        step = (rows[row] - others.mean(axis=0)) * n_others / (n_others + 1)  # from the mean of all
        distances.append(np.sqrt(step @ np.linalg.solve(covariance, step)) * np.sqrt((n_others + 1) / n_others))
    return np.array(distances)


@pytest.mark.parametrize("kind", [*SHRINKAGES, "identity"])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_distances_are_those_of_each_of_all_rows_left_out(kind, joint, shape):
    if kind == "empirical" and shape[0] < shape[1] + 3:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    X, sizes = draw(shape, joint), sizes_of(shape[1], joint)
    new = draw((3, shape[1]), joint, seed=1) * [[1.0], [3.0], [30.0]]
    rows, own = left_out_together(X, kind, sizes).distances(new)
    for at, row in enumerate(new):
        expected = left_out_by_hand(np.vstack([X, row]), kind, sizes)
        expected *= rows[at, 0] / expected[0]  # a factor common to all of them says nothing
        np.testing.assert_allclose(np.append(rows[at], own[at]), expected, rtol=1e-7)


@pytest.mark.parametrize("kind", ["ledoit_wolf", "oas"])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("shape", [(30, 6), (20, 100)])
def test_all_rows_are_treated_alike(kind, joint, shape):
    rows, sizes = draw(shape, joint), sizes_of(shape[1], joint)
    expected = None
    for last in (0, 7, shape[0] - 1):
        order = np.append(np.delete(np.arange(shape[0]), last), last)
        others, own = left_out_together(rows[order[:-1]], kind, sizes).distances(rows[order[-1:]])
        distances = np.empty(shape[0])
        distances[order] = np.append(others[0], own)
        expected = distances if expected is None else expected
        np.testing.assert_allclose(distances, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", SHRINKAGES)
@pytest.mark.parametrize("shape", [(40, 6), (40, 100)])
def test_distances_keep_their_digits_beside_a_row_far_out(kind, shape):
    if kind == "empirical" and shape[0] < shape[1]:
        pytest.skip("singular")
    X, step = draw(shape), draw((1, shape[1]), seed=1)
    far, farther = (left_out_together(X, kind).distances(scale * step)[0] for scale in (1e7, 1e10))
    np.testing.assert_allclose(far, farther, rtol=1e-5)  # in the limit the row takes its direction, and no more


def frame(n_samples, sizes=(10, 20), law="t", seed=0):
    rng = np.random.default_rng(seed)
    shape = (n_samples, sum(sizes))
    values = rng.standard_t(3, size=shape) if law == "t" else rng.normal(size=shape)
    names = [f"level{level}__{i:04d}" for level, size in enumerate(sizes, 1) for i in range(size)]
    return pd.DataFrame(values, columns=names)


@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize(("n", "sizes"), [(60, (10, 20)), (60, (60, 90)), (25, (3,))])
def test_false_alarms_stay_below_the_bound_of_the_theorem(levels, n, sizes):
    alarms, trials = 0, 400
    for seed in range(trials):
        X = frame(n + 1, sizes, seed=seed)
        detector = FullConformalThreshold(MahalanobisDetector(levels=levels), fpr=0.1).fit(X[:n])
        alarms += (detector.predict(X[n:]) == -1).sum()
    bound = detector.fpr_bound_
    assert bound == (n + 1) // 10 / (n + 1)
    low, high = stats.binom.ppf([0.001, 0.999], trials, bound)
    assert low <= alarms <= high  # the bound is reached where distances do not tie


@pytest.mark.parametrize("levels", ["each", "joint"])
def test_p_values_predictions_and_scores_agree(levels):
    X, new = frame(80), pd.concat([frame(40, seed=1), 3 * frame(10, seed=2), frame(80)[:5]])
    detector = FullConformalThreshold(MahalanobisDetector(levels=levels), fpr=0.1).fit(X)
    p, decision = detector.p_values(new), detector.decision_function(new)
    np.testing.assert_array_equal(detector.predict(new) == -1, p <= 0.1)
    np.testing.assert_array_equal(decision < 0, p <= 0.1)
    np.testing.assert_array_equal(np.round(p * 81), p * 81)
    np.testing.assert_allclose(decision, detector.score_samples(new) - detector.offset_)
    assert 0 < (p <= 0.1).sum() < len(new)
    plain = MahalanobisDetector(levels=levels).fit(X).score_samples(new)
    assert stats.spearmanr(detector.score_samples(new), plain).statistic > 0.99


def test_an_image_that_was_learnt_ties_with_itself_and_is_as_anomalous_as_it_is():
    X = frame(50)
    detector = FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X)
    assert detector.p_values(X).min() >= 2 / 51


@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize("sizes", [(10, 20), (60, 90)])
def test_farther_out_along_a_ray_is_never_more_normal(levels, sizes):
    X = frame(60, sizes)
    detector = FullConformalThreshold(MahalanobisDetector(levels=levels), fpr=0.1).fit(X)
    rng = np.random.default_rng(0)
    for _ in range(8):
        ray = X.iloc[:1].to_numpy() * rng.normal(size=X.shape[1])
        far = X.to_numpy().mean(axis=0) + np.geomspace(0.1, 1e12, 27)[:, np.newaxis] * ray
        p = detector.p_values(pd.DataFrame(far, columns=X.columns))
        assert (np.diff(p) <= 0).all()
        assert p[-1] == 1 / 61


def test_the_empirical_covariance_knows_no_units():
    X, new, units = frame(60, (5,)), frame(200, (5,), seed=1), [1.0, 1e-9, 1e9, 1.0, 1e-4]
    detector = FullConformalThreshold(MahalanobisDetector("empirical"), fpr=0.1)
    expected = clone(detector).fit(X).p_values(new)
    np.testing.assert_array_equal(clone(detector).fit(X * units).p_values(new * units), expected)


@pytest.mark.parametrize("fpr", [0.02, 0.2])
def test_where_a_training_row_left_out_is_infinitely_far_decisions_follow_the_p_values(fpr):
    X, new = frame(60, (5,)), frame(40, (5,), seed=1)
    X.iloc[:, 4] = 0.0
    X.iloc[3, 4] = 1.0  # without this row the covariance is singular
    detector = FullConformalThreshold(MahalanobisDetector("empirical"), fpr=fpr).fit(X)
    np.testing.assert_array_equal(detector.predict(new) == -1, detector.p_values(new) <= fpr)
    np.testing.assert_array_equal(detector.decision_function(new) < 0, detector.p_values(new) <= fpr)


def test_many_new_images_are_taken_some_at_a_time():
    X, new = frame(70), frame(200, seed=1)
    detector = FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X)
    one_by_one = [detector.score_samples(new[row : row + 1])[0] for row in range(len(new))]
    np.testing.assert_allclose(detector.score_samples(new), one_by_one, rtol=1e-12)
    many = frame(4000, seed=1)
    tracemalloc.start()
    detector.p_values(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 70 * 8  # bytes: the distances of all training images beside each new one are not kept


def test_another_rate_takes_no_refit_and_equals_one():
    X, new = frame(120), frame(200, seed=1)
    detector = FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X)
    moved = clone(detector).fit(X).set_fpr(0.05)
    anew = FullConformalThreshold(MahalanobisDetector(), fpr=0.05).fit(X)
    assert moved.get_params()["fpr"] == 0.05
    np.testing.assert_array_equal(moved.decision_function(new), anew.decision_function(new))
    with pytest.raises(ValueError, match=r"fpr=0.001 cannot be reached with n_samples = 120.*at least 999 images"):
        detector.set_fpr(0.001)
    assert (detector.fpr, detector.fpr_bound_) == (0.1, 12 / 121)


def test_rows_at_minus_one_are_left_out_and_steps_that_learn_nothing_are_gone_through():
    X, new = frame(70), frame(20, seed=1)
    y = np.where(np.arange(70) < 60, 1, -1)
    pipe = make_pipeline(LevelSelector([2]), MahalanobisDetector())
    detector = FullConformalThreshold(pipe, fpr=0.1).fit(X, y)
    level2 = FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X[:60].filter(like="level2"))
    np.testing.assert_array_equal(detector.p_values(new), level2.p_values(new.filter(like="level2")))
    assert detector.n_samples_ == 60


def test_a_pickle_gives_the_same_and_keeps_the_callers_rows_from_changing_it():
    X, new = frame(50), frame(9, seed=1)
    detector = FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X)
    expected = detector.score_samples(new)
    X.iloc[:] = 0.0
    np.testing.assert_allclose(pickle.loads(pickle.dumps(detector)).score_samples(new), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (make_pipeline(NPCA(0.5), MahalanobisDetector()), r"NPCA\(n_components=0.5\) learns from the images"),
        (make_pipeline(LevelwiseTransformer(PCA(2)), MahalanobisDetector()), "learns from the images"),
        (LocalOutlierFactor(novelty=True), "serves MahalanobisDetector, unfitted.*FPRThresholdCV takes any detector"),
        (FrozenEstimator(MahalanobisDetector().fit(frame(20))), "serves MahalanobisDetector, unfitted"),
        (FPRThresholdCV(MahalanobisDetector()), "serves MahalanobisDetector, unfitted"),
        (MahalanobisDetector(OAS()), "keeps no moments that a row could join and leave"),
        (MahalanobisDetector("diagonal"), "covariance must be one of 'ledoit_wolf', 'oas', 'empirical', 'identity'"),
    ],
)
def test_what_it_cannot_serve_is_refused_with_what_it_can(estimator, message):
    with pytest.raises(ValueError, match=message):
        FullConformalThreshold(estimator, fpr=0.1).fit(frame(60))


def test_too_few_images_missing_values_and_learnt_columns_are_refused():
    with pytest.raises(ValueError, match=r"fpr=0.01 cannot be reached with n_samples = 60.*at least 99 images"):
        FullConformalThreshold(MahalanobisDetector()).fit(frame(60))
    X = frame(60)
    X.iloc[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN in row 3, column 'level1__0002'"):
        FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X)
    with pytest.raises(ValueError, match=r"NaN in row 3, column 'level1__0002'"):
        FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(frame(60)).predict(X)
    with pytest.raises(ValueError, match="NPCA learnt it"):
        FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(X.rename(columns={"level1__0000": "level1__npca0"}))


def test_the_summary_words_the_guarantee_as_it_is():
    text = FullConformalThreshold(MahalanobisDetector(), fpr=0.1).fit(frame(60)).summary()
    assert "is at most 0.09836, whatever the law of the images, over the draw of these and of the new one" in text
    assert "at most 5 of the 60 normal images" in text
