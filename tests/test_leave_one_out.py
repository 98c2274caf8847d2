import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skgad import NPCA, MahalanobisDetector
from skgad._gaussian._leave_one_out import leave_one_out_distances
from skgad._gaussian._leave_one_out_projected import projected_leave_one_out_distances
from skgad._gaussian._secular import downdate, separate

# one component, as the int 1, is meant here
pytestmark = pytest.mark.filterwarnings("ignore:n_components=1 is an int:UserWarning")
KINDS = ("ledoit_wolf", "oas", "empirical", "diagonal", "identity")
SHAPES = [(300, 8), (60, 20), (22, 20), (20, 20), (21, 20), (15, 40), (30, 300), (4, 3)]


def draw(shape, law="normal", seed=0):
    rng = np.random.default_rng(seed)
    white = rng.normal(size=shape) if law == "normal" else rng.standard_t(2, size=shape)
    spread = np.arange(1, shape[1] + 1) ** -0.9
    return (white * spread) @ np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0] + rng.normal(size=shape[1])


def refits(X, make, rows=None):
    """Return the distance of each row to a pipeline that has learnt the others."""
    rows = range(len(X)) if rows is None else rows
    return np.array([-make().fit(np.delete(X, i, axis=0)).score_samples(X[i : i + 1])[0] for i in rows])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("law", ["normal", "t"])
def test_leaving_a_row_out_equals_a_refit_intensity_and_target_included(kind, shape, law):
    X = draw(shape, law)
    if kind == "empirical" and shape[0] < shape[1] + 2:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    expected = refits(X, lambda: MahalanobisDetector(kind))
    np.testing.assert_allclose(leave_one_out_distances(X, kind), expected, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize("shape", SHAPES)
def test_some_rows_are_left_out_by_the_moments_of_all_as_all_are_by_the_rows(kind, levels, shape):
    X = draw(shape)
    if kind == "empirical" and shape[0] < shape[1] + 2:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    n_first = shape[1] // 2
    names = [f"level{1 + (number >= n_first)}__{number:04d}" for number in range(shape[1])]
    for unit in (1.0, 1e-85, 1e80):
        frame = pd.DataFrame(unit * X, columns=names)
        detector = MahalanobisDetector(kind, levels=levels).fit(frame)
        measure = pickle.loads(pickle.dumps(detector.measure_left_out()))
        scores = np.concatenate([measure.score_samples(part) for part in (frame[2:], frame[:2])])
        expected = detector.leave_one_out_scores(frame)
        np.testing.assert_allclose(scores, np.concatenate([expected[2:], expected[:2]]), rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_far_from_zero_and_a_row_far_from_the_others_lose_no_digits(kind):
    X = draw((80, 6))
    X[3] *= 1e2 if kind == "empirical" else 1e5  # farther out the refits, from a covariance, lose the digits
    for Z in (X, X + 1e3):
        np.testing.assert_allclose(
            leave_one_out_distances(Z, kind), refits(Z, lambda: MahalanobisDetector(kind)), rtol=1e-8
        )


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("unit", [1e-85, 1e80])
def test_distances_do_not_depend_on_the_unit(kind, unit):
    X = draw((40, 10))
    np.testing.assert_allclose(leave_one_out_distances(unit * X, kind), leave_one_out_distances(X, kind), rtol=1e-10)


def test_units_of_features_may_differ_by_many_orders():
    X, units = draw((50, 4)), np.array([1e-6, 1.0, 1e6, 1e3])
    for kind in ("empirical", "diagonal"):
        np.testing.assert_allclose(
            leave_one_out_distances(X * units, kind), leave_one_out_distances(X, kind), rtol=1e-9
        )


def test_a_feature_that_only_one_row_moves_counts_in_its_own_unit_without_it():
    X = np.column_stack([draw((12, 2)), 0.1 + 1e-3 * np.eye(12)[0], np.full(12, 0.1)])
    for deviation, rows in ((0.0, range(12)), (1e-12, [3])):  # of which the other rows keep five digits
        X[3, -1] = 0.1 + deviation
        expected = refits(X, lambda: MahalanobisDetector("diagonal"), rows)
        np.testing.assert_allclose(leave_one_out_distances(X, "diagonal")[rows], expected, rtol=1e-8)


def test_a_row_that_alone_spans_its_direction_is_infinitely_far():
    distances = leave_one_out_distances(np.column_stack([draw((10, 2)), np.eye(10)[0]]), "empirical")
    assert distances[0] == np.inf
    assert np.isfinite(distances[1:]).all()


def test_constant_features_are_nothing_to_shrinkage_and_singular_without_it():
    X = np.column_stack([draw((30, 5)), np.full(30, 0.1), np.zeros(30)])
    for kind in ("ledoit_wolf", "oas"):
        expected = refits(X, lambda kind=kind: MahalanobisDetector(kind))
        np.testing.assert_allclose(leave_one_out_distances(X, kind), expected, rtol=1e-8)
    with pytest.raises(np.linalg.LinAlgError, match="constant, or a combination"):
        leave_one_out_distances(X, "empirical")


def test_two_rows_are_refused():
    with pytest.raises(ValueError, match=r"three rows at least.*got 2"):
        leave_one_out_distances(draw((2, 3)), "oas")


def chain(n_components, kind="ledoit_wolf", leading=False):
    reduction = PCA(n_components, svd_solver="full") if leading else NPCA(n_components)
    return make_pipeline(reduction, MahalanobisDetector(kind))


def level7(cells):
    frame, y = cells
    return frame.filter(like="level7__").to_numpy(np.float64)[y == 1]


@pytest.mark.parametrize(("n_poles", "first", "last"), [(1, 0, 1), (6, 0, 6), (50, 0, 9), (50, 40, 50), (50, 20, 30)])
def test_a_downdated_spectrum_is_that_of_the_matrix(n_poles, first, last):
    rng = np.random.default_rng(0)
    poles = np.sort(rng.exponential(size=n_poles) ** 4)[::-1]
    vectors = rng.normal(size=(20, n_poles)) * np.sqrt(poles)
    vectors *= np.sqrt(rng.uniform(0.1, 0.99, size=(20, 1)) / (vectors**2 / poles).sum(axis=1, keepdims=True))
    shifts, squares = downdate(poles, vectors**2, first, last)
    for vector, shift, square in zip(vectors, shifts, squares, strict=True):
        values, axes = np.linalg.eigh(np.diag(poles) - np.outer(vector, vector))
        np.testing.assert_allclose(poles[first:last] - shift, values[::-1][first:last], atol=1e-13 * poles[0])
        np.testing.assert_allclose(square, ((vector @ axes) ** 2)[::-1][first:last], rtol=1e-7, atol=1e-12 * poles[0])


def test_ties_vectors_of_zero_and_poles_that_a_vector_misses_have_roots_too():
    poles, weights = separate(np.array([2.0, 1.0, 1.0, 1.0, 0.5])), np.zeros((3, 5))
    weights[1, 2], weights[2] = 0.75, [0.5, 0.1, 0.1, 0.0, 0.0]
    shifts, _ = downdate(poles, weights, 0, 5)
    np.testing.assert_allclose(shifts[0], 0.0, atol=1e-14)
    np.testing.assert_allclose(poles - shifts[1], [2.0, 1.0, 1.0, 0.5, 0.25], atol=1e-14)
    matrix = np.diag(poles) - np.outer(np.sqrt(weights[2]), np.sqrt(weights[2]))
    np.testing.assert_allclose(poles - shifts[2], np.linalg.eigvalsh(matrix)[::-1], atol=1e-14)


def test_a_root_close_to_the_lower_pole_is_not_left_for_the_middle_of_its_bounds():
    poles = np.array([1.0, 0.5, 4e-6, 2.3e-8])
    vectors = np.array([[0.9, 0.2, 4.7e-4, 3.6e-7]]) * np.sqrt(poles)
    vectors *= np.sqrt((1 - 1e-7) / (vectors**2 / poles).sum())
    shifts, _ = downdate(poles, vectors**2, 2, 3)
    below = np.linalg.eigvalsh(np.diag(poles) - vectors.T @ vectors)[1]
    assert poles[2] - shifts[0, 0] == pytest.approx(below, rel=1e-6)


@pytest.mark.parametrize("shape", [(120, 20), (50, 20), (22, 20), (21, 20), (15, 40), (25, 100)])
@pytest.mark.parametrize("law", ["normal", "t"])
@pytest.mark.parametrize("n_components", [0.5, 0.1, 0.001, 1.0, 1, 4, 12])
def test_leaving_a_row_out_of_npca_and_gaussian_equals_a_refit(shape, law, n_components):
    X, kind = draw(shape, law), "oas" if n_components == 4 else "ledoit_wolf"
    rows = np.arange(0, shape[0], 1 + shape[0] // 12)
    distances = projected_leave_one_out_distances(X, n_components, kind)[rows]
    np.testing.assert_allclose(distances, refits(X, lambda: chain(n_components, kind), rows), rtol=1e-7)


@pytest.mark.parametrize("shape", [(120, 20), (21, 20), (15, 40)])
@pytest.mark.parametrize("n_components", [0.5, 0.95, 1, 11])
@pytest.mark.parametrize("kind", ["ledoit_wolf", "empirical"])
def test_leaving_a_row_out_of_pca_and_gaussian_equals_a_refit(shape, n_components, kind):
    X, rows = draw(shape), range(10)
    distances = projected_leave_one_out_distances(X, n_components, kind, leading=True)[rows]
    np.testing.assert_allclose(distances, refits(X, lambda: chain(n_components, kind, True), rows), rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_components", [0.3, 0.02, 1.0])
@pytest.mark.parametrize("shape", [(60, 12), (15, 30)])
def test_each_covariance_behind_npca_is_that_of_a_refit(kind, n_components, shape):
    X, rows = draw(shape), range(10)
    distances = projected_leave_one_out_distances(X, n_components, kind)[rows]
    np.testing.assert_allclose(distances, refits(X, lambda: chain(n_components, kind), rows), rtol=1e-7)


@pytest.mark.parametrize("n_components", [0.1, 3])
def test_directions_that_one_row_spans_alone_or_none_spans_are_dropped_as_by_a_refit(n_components):
    X = np.column_stack([draw((40, 10)), np.eye(40)[2], np.full(40, 0.1)]) + 100.0
    X[5] = X[6]
    rows = [0, 2, 5, 6]
    distances = projected_leave_one_out_distances(X, n_components, "ledoit_wolf")[rows]
    np.testing.assert_allclose(distances, refits(X, lambda: chain(n_components), rows), rtol=1e-7)


@pytest.mark.parametrize("n_components", [0.1, 3])
def test_a_row_that_leaves_no_digits_to_the_others_asks_for_a_refit_and_others_need_none(n_components):
    X = draw((60, 20))
    X[4] *= 300
    distances = projected_leave_one_out_distances(X, n_components, "oas")
    assert np.flatnonzero(np.isnan(distances)).tolist() == [4]
    rows = [0, 1, 30]
    np.testing.assert_allclose(distances[rows], refits(X, lambda: chain(n_components, "oas"), rows), rtol=1e-7)


def test_a_row_without_enough_directions_in_the_others_asks_for_a_refit():
    X = draw((12, 30))  # eleven directions, of which the others hold ten
    assert np.isnan(projected_leave_one_out_distances(X, 11, "oas")).all()
    assert np.isnan(projected_leave_one_out_distances(X, 11, "oas", leading=True)).all()
    assert np.isnan(projected_leave_one_out_distances(np.ones((5, 3)), 0.5, "oas")).all()
    assert np.isfinite(projected_leave_one_out_distances(X, 10, "oas")).all()


def test_a_row_whose_cut_lies_far_from_that_of_all_is_solved_for_as_far():
    X = np.random.default_rng(0).normal(size=(80, 30))
    X[7] *= 60  # holds most of the variance: without it a share of it cuts elsewhere
    distances = projected_leave_one_out_distances(X, 0.2, "oas")
    assert NPCA(0.2).fit(X).n_components_[0] > NPCA(0.2).fit(np.delete(X, 7, axis=0)).n_components_[0] + 15
    expected = refits(X, lambda: chain(0.2, "oas"), range(10))
    np.testing.assert_allclose(distances[:10], expected, rtol=1e-7)


@pytest.mark.parametrize("unit", [1e-85, 1e80])
@pytest.mark.parametrize("kind", ["ledoit_wolf", "identity"])
def test_distances_behind_npca_do_not_depend_on_the_unit(unit, kind):
    X, scale = draw((30, 10)), unit if kind == "identity" else 1.0
    expected = scale * projected_leave_one_out_distances(X, 0.1, kind)
    np.testing.assert_allclose(projected_leave_one_out_distances(unit * X, 0.1, kind), expected, rtol=1e-10)


@pytest.mark.parametrize(("share", "error"), [(0.01, 2e-3), (0.001, 1e-2)])
def test_on_real_features_a_held_kurtosis_errs_little_and_an_exact_one_not_at_all(mono, share, error):
    X, rows = level7(mono), range(0, 350, 29)
    expected = refits(X, lambda: chain(share), rows)
    exact = projected_leave_one_out_distances(X, share, "ledoit_wolf")
    held = projected_leave_one_out_distances(X, share, "ledoit_wolf", exact_up_to=0)
    np.testing.assert_allclose(exact[rows], expected, rtol=1e-7)
    np.testing.assert_allclose(held, exact, rtol=error)
    assert np.abs(held / exact - 1).max() > 1e-8
