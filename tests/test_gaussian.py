import pickle
from contextlib import nullcontext

import numpy as np
import pytest
from scipy import linalg, stats
from sklearn.covariance import LedoitWolf, oas

from skgad._conventions._parameters import read_fpr
from skgad._gaussian._estimate import Gaussian, estimate
from skgad._gaussian._factors import Cholesky
from skgad._gaussian._laws import chi_quantile, predictive_fpr
from skgad._gaussian._leave_one_out import leave_one_out_distances
from skgad._gaussian._moments import moments

SHAPES = [(500, 8), (30, 80), (60, 80)]


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) + rng.normal(size=shape[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_is_the_square_root_of_scikit_learns(shape):
    X, new = draw(shape), draw(shape, seed=1)
    reference = LedoitWolf().fit(X)
    gaussian = estimate(moments(X), "ledoit_wolf")
    np.testing.assert_allclose(gaussian.distances(new), np.sqrt(reference.mahalanobis(new)), rtol=1e-8)
    np.testing.assert_allclose(gaussian.distances(X), np.sqrt(reference.mahalanobis(X)), rtol=1e-8)
    np.testing.assert_allclose(
        gaussian.covariance, reference.covariance_, atol=1e-10 * np.abs(gaussian.covariance).max()
    )


@pytest.mark.parametrize(("noise", "enough"), [(2e-6, False), (1e-5, True)])
def test_few_rows_that_show_next_to_no_noise_are_refused(noise, enough):
    rng = np.random.default_rng(0)
    X = np.resize([[1.0], [-1.0]], (10, 1)) * rng.normal(size=40) + noise * rng.normal(size=(10, 40))
    with nullcontext() if enough else pytest.raises(np.linalg.LinAlgError):
        estimate(moments(X), "ledoit_wolf")


def test_few_rows_of_many_features_need_no_square_matrix():
    X, new = draw((30, 80)), draw((30, 80), seed=1)
    shrunk, _ = oas(X)
    expected = Gaussian(X.mean(axis=0), Cholesky(shrunk)).distances(new)
    gaussian = estimate(moments(X), "oas")
    assert not isinstance(gaussian.factor, Cholesky)
    np.testing.assert_allclose(gaussian.distances(new), expected, rtol=1e-9)


def test_a_row_that_alone_spans_its_direction_is_infinitely_far():
    X = np.column_stack([draw((10, 2)), np.eye(10)[0]])
    distances = leave_one_out_distances(X, "empirical")
    assert distances[0] == np.inf
    assert np.isfinite(distances[1:]).all()


def test_a_feature_that_only_one_row_moves_counts_in_its_own_unit_without_it():
    X = np.column_stack([draw((10, 2)), 1e-3 * np.eye(10)[0]])
    others = estimate(moments(np.delete(X, 0, axis=0), diagonal=True), "diagonal")
    distances = leave_one_out_distances(X, "diagonal")
    assert distances[0] == pytest.approx(others.distances(X[:1])[0], rel=1e-8)


def test_a_vector_is_a_diagonal_matrix():
    X, new = draw((50, 4)), draw((20, 4), seed=1)
    expected = Gaussian(X.mean(axis=0), Cholesky(np.diag(X.var(axis=0)))).distances(new)
    np.testing.assert_allclose(estimate(moments(X, diagonal=True), "diagonal").distances(new), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_singular_covariance_is_refused_at_any_scale(scale):
    X = draw((50, 4)) * scale
    duplicated = np.column_stack([X, X[:, 0] * 1e6])
    with pytest.raises(np.linalg.LinAlgError):
        Cholesky(np.cov(duplicated.T))


def test_features_that_nearly_agree_are_regular():
    X = np.random.default_rng(0).normal(size=(200, 2))
    X[:, 1] = X[:, 0] + 1e-5 * X[:, 1]
    left = linalg.svd(X - X.mean(axis=0), full_matrices=False)[0]  # whitened rows, but for their number
    expected = np.sqrt(200 * np.square(left).sum(axis=1))
    np.testing.assert_allclose(estimate(moments(X), "empirical").distances(X), expected, rtol=1e-4)


def test_units_of_features_may_differ_by_many_orders():
    X, units = draw((200, 4)), np.array([1e-6, 1.0, 1e6, 1e3])
    plain, scaled = (estimate(moments(Z), "empirical") for Z in (X, X * units))
    np.testing.assert_allclose(scaled.distances(X * units), plain.distances(X), rtol=1e-9)


def test_a_pickled_factor_is_half_as_large_and_gives_the_same_distances():
    X = draw((600, 300))
    gaussian = Gaussian(X.mean(axis=0), Cholesky(np.cov(X.T)))
    data = pickle.dumps(gaussian)
    assert len(data) < 300 * 301 / 2 * 8 + 300 * 8 + 2000
    np.testing.assert_array_equal(pickle.loads(data).distances(X), gaussian.distances(X))


def test_chi_quantile_is_the_papers_equation():
    np.testing.assert_allclose(chi_quantile(0.01, [1, 272]), np.sqrt(stats.chi2.ppf(0.99, [1, 272])), rtol=1e-12)


def test_predictive_fpr_is_what_a_simulation_gives():
    n_samples, dof, threshold, rng = 60, 5, 3.5, np.random.default_rng(0)
    alarms = []
    for _ in range(400):
        X = rng.normal(size=(n_samples, dof))
        gaussian = estimate(moments(X), "empirical")
        alarms.append(gaussian.distances(rng.normal(size=(200, dof))) > threshold)
    expected = predictive_fpr(threshold, n_samples, dof)
    spread = np.std([trial.mean() for trial in alarms]) / np.sqrt(len(alarms))
    assert np.mean(alarms) == pytest.approx(expected, abs=4 * spread)
    assert np.isnan(predictive_fpr(threshold, dof, dof))


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 5, float("nan"), "a", None, True])
def test_fpr_outside_the_open_interval_is_refused(fpr):
    with pytest.raises(ValueError, match=r"fpr must"):
        read_fpr(fpr)


def test_fpr_is_taken_as_the_decimal_that_was_written():
    assert read_fpr(0.29) * 100 == 29
    assert 0.29 * 100 != 29
