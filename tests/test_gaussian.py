import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.covariance import LedoitWolf, ledoit_wolf, oas

from skgad._gaussian import (
    Gaussian,
    check_fpr,
    chi_quantile,
    empirical_covariance,
    ledoit_wolf_shrinkage,
    mean,
    moments,
    oas_shrinkage,
    predictive_fpr,
    shrink,
)

SHAPES = [(500, 8), (30, 80), (3, 5), (40, 1)]


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) + rng.normal(size=shape[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), [(ledoit_wolf_shrinkage, ledoit_wolf), (oas_shrinkage, oas)])
def test_shrinkage_equals_scikit_learn(shape, ours, theirs):
    X = draw(shape)
    sample = moments(X)
    empirical = empirical_covariance(sample)
    expected_covariance, expected = theirs(X)
    assert ours(sample, empirical) == pytest.approx(expected, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(shrink(empirical, ours(sample, empirical)), expected_covariance, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_do_not_depend_on_the_pivot(shape):
    X = draw(shape)
    about_mean, about_first = moments(X), moments(X, pivot=X[0])
    covariance = empirical_covariance(about_mean)
    np.testing.assert_allclose(mean(about_first), X.mean(axis=0))
    np.testing.assert_allclose(empirical_covariance(about_first), covariance, atol=1e-12 * np.abs(covariance).max())
    assert ledoit_wolf_shrinkage(about_first, covariance) == pytest.approx(
        ledoit_wolf_shrinkage(about_mean, covariance), rel=1e-9, abs=1e-12
    )


def test_distance_is_the_square_root_of_scikit_learns():
    X = draw((60, 20))
    reference = LedoitWolf().fit(X)
    gaussian = Gaussian(reference.location_, reference.covariance_)
    np.testing.assert_allclose(gaussian.distances(X), np.sqrt(reference.mahalanobis(X)), rtol=1e-9)


def test_whitened_rows_have_unit_covariance():
    X = draw((400, 6))
    whitened = Gaussian(X.mean(axis=0), np.cov(X.T, bias=True)).whiten(X)
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(6), atol=1e-10)


def test_a_vector_is_a_diagonal_matrix():
    X, variances = draw((50, 4)), np.array([1.0, 4.0, 0.25, 9.0])
    full, diagonal = (Gaussian(X.mean(axis=0), covariance) for covariance in (np.diag(variances), variances))
    np.testing.assert_allclose(diagonal.distances(X), full.distances(X), rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_singular_covariance_is_refused_at_any_scale(scale):
    X = draw((50, 4)) * scale
    duplicated = np.column_stack([X, X[:, 0] * 1e6])
    with pytest.raises(np.linalg.LinAlgError):
        Gaussian(duplicated.mean(axis=0), np.cov(duplicated.T))


def test_units_of_features_may_differ_by_many_orders():
    X, units = draw((200, 4)), np.array([1e-6, 1.0, 1e6, 1e3])
    plain, scaled = (Gaussian(Z.mean(axis=0), np.cov(Z.T)) for Z in (X, X * units))
    np.testing.assert_allclose(scaled.distances(X * units), plain.distances(X), rtol=1e-9)


def test_pickle_holds_the_matrix_once_and_gives_the_same_distances():
    X = draw((600, 300))
    gaussian = Gaussian(X.mean(axis=0), np.cov(X.T))
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
        gaussian = Gaussian(X.mean(axis=0), np.cov(X.T, bias=True))
        alarms.append(gaussian.distances(rng.normal(size=(200, dof))) > threshold)
    expected = predictive_fpr(threshold, n_samples, dof)
    spread = np.std([trial.mean() for trial in alarms]) / np.sqrt(len(alarms))
    assert np.mean(alarms) == pytest.approx(expected, abs=4 * spread)
    assert np.isnan(predictive_fpr(threshold, dof, dof))


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 5, float("nan"), "a", None, True])
def test_fpr_outside_the_open_interval_is_refused(fpr):
    with pytest.raises(ValueError, match=r"fpr must"):
        check_fpr(fpr)


def test_fpr_is_taken_as_the_decimal_that_was_written():
    assert check_fpr(0.29) * 100 == 29
    assert 0.29 * 100 != 29
