import pickle
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf, oas
from sklearn.preprocessing import StandardScaler

from skgad._gaussian._moments import (
    DrownedError,
    covariance,
    ledoit_wolf_shrinkage,
    merge,
    moments,
    oas_shrinkage,
    remove,
    varies,
)
from skgad._gaussian._shrinkage import ledoit_wolf_intensity

SHAPES = [(500, 8), (30, 80), (60, 80), (3, 5), (40, 1)]
FIELDS = ("n_samples", "mean", "covariance", "ledoit_wolf", "oas")


def draw(shape, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) + offset


def summary(sample):
    return (sample.n_samples, sample.mean, covariance(sample), ledoit_wolf_shrinkage(sample), oas_shrinkage(sample))


def assert_same(one, other, rtol=1e-10):
    deviation = np.sqrt(one.variances.max())
    for name, a, b in zip(FIELDS, summary(one), summary(other), strict=True):
        scale = {"mean": deviation, "covariance": deviation**2}.get(name, 1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), [(ledoit_wolf_shrinkage, ledoit_wolf), (oas_shrinkage, oas)])
def test_shrinkage_equals_scikit_learn(shape, ours, theirs):
    X = draw(shape)
    assert ours(moments(X)) == pytest.approx(theirs(X)[1], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("n_features", [2, 4, 40])
def test_two_rows_show_no_noise_whatever_rounding_says(n_features):
    for seed in range(50):
        assert ledoit_wolf_shrinkage(moments(draw((2, n_features), seed))) == 0.0


def test_one_variance_is_its_own_target_whatever_rounding_says():
    assert ledoit_wolf_intensity(40, 1, 1.0, 1.0 + 1e-15, 80.0) == 0.0
    for seed in range(50):
        sample = moments(draw((40, 1), seed))
        assert (ledoit_wolf_shrinkage(sample), oas_shrinkage(sample)) == (0.0, 0.0)


@pytest.mark.parametrize(("ours", "theirs"), [(ledoit_wolf_shrinkage, ledoit_wolf), (oas_shrinkage, oas)])
def test_rows_without_structure_are_shrunk_all_the_way_and_no_further(ours, theirs):
    shrinkages = []
    for seed in range(10):
        X = np.random.default_rng(seed).normal(size=(20, 4))
        shrinkages.append(ours(moments(X)))
        assert shrinkages[-1] == pytest.approx(theirs(X)[1], rel=1e-12)
    assert max(shrinkages) == 1.0
    assert min(shrinkages) < 0.9


def test_next_to_no_noise_is_shrunk_by():
    signs, noise = np.repeat([[1.0], [-1.0]], 50, axis=0), np.random.default_rng(0).normal(size=(100, 4))
    X = signs * [1.0, 2.0, 0.0, 0.0] + 3e-6 * noise
    expected = ledoit_wolf(X)[1]
    assert 0 < expected < 1e-10
    assert ledoit_wolf_shrinkage(moments(X)) == pytest.approx(expected, rel=1e-2, abs=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_covariance_is_that_of_the_rows(shape):
    X = draw(shape)
    expected = np.cov(X.T, bias=True).reshape(shape[1], shape[1])
    np.testing.assert_allclose(covariance(moments(X)), expected, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_allclose(moments(X, diagonal=True).variances, X.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("n_parts", [2, 7, 25])
@pytest.mark.parametrize("shape", [(500, 8), (30, 80), (60, 80), (120, 80)])
def test_merge_equals_the_moments_of_the_union(shape, n_parts, offset):
    X = draw(shape, offset=offset)
    first, *rest = (moments(part) for part in np.array_split(X, n_parts))
    for part in rest:
        first = merge(first, part)
    assert_same(first, moments(X))


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("shape", [(500, 8), (30, 80), (120, 80)])
def test_remove_equals_the_moments_of_the_rest(shape, offset):
    X = draw(shape, offset=offset)
    n_removed = shape[0] // 3
    assert_same(remove(moments(X), moments(X[:n_removed])), moments(X[n_removed:]))


def test_single_rows_can_be_merged():
    X = draw((40, 6))
    sample = moments(X[:1])
    for row in X[1:]:
        sample = merge(sample, moments(row[np.newaxis]))
    assert_same(sample, moments(X))


@pytest.mark.parametrize("diagonal", [False, True])
def test_removing_rows_that_never_were_there_is_refused_where_it_shows(diagonal):
    whole = moments(draw((50, 4)), diagonal=diagonal)
    with pytest.raises(ValueError, match="never learnt"):
        remove(whole, moments(10 * draw((20, 4), seed=1), diagonal=diagonal))


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_negative_variance_shows_whatever_the_other_features_scales(diagonal):
    rng = np.random.default_rng(0)
    whole = moments(rng.normal(size=(100, 2)) * [1e6, 1], diagonal=diagonal)
    with pytest.raises(ValueError, match="never learnt"):
        remove(whole, moments(rng.normal(size=(30, 2)) * [1, 30], diagonal=diagonal))


@pytest.mark.parametrize(("scale", "remedy"), [(1e2, None), (1e5, "fit anew on the rows to be kept")])
def test_rows_far_out_are_removed_or_refused_but_never_badly(scale, remedy):
    X, far = draw((200, 12)), scale * draw((5, 12), seed=1)
    whole = merge(moments(X), moments(far))
    if remedy is None:
        assert_same(remove(whole, moments(far)), moments(X), rtol=1e-6)
    else:
        with pytest.raises(ValueError, match=remedy):
            remove(whole, moments(far))


# fourth powers drown long before squares do, and a diagonal has no fourth powers
@pytest.mark.parametrize(("diagonal", "largest"), [(False, 4), (True, 8)])
@pytest.mark.parametrize("joined", [False, True])
def test_what_rows_far_out_have_cost_is_not_forgotten_by_steps(diagonal, largest, joined):
    def of(X):
        return moments(X, diagonal=diagonal)

    far = [of(row) for row in 10.0 ** np.arange(largest, 0, -1)[:, np.newaxis, np.newaxis] * draw((1, 3), seed=1)]
    sample = reduce(merge, far, of(draw((200, 3))))
    with pytest.raises(DrownedError):
        remove(reduce(remove, far[1:], sample), far[0])  # the largest at last: at once
    sample = reduce(remove, far[:2], sample)  # each step alone leaves digits enough
    if joined:
        sample = merge(of(draw((50, 3), seed=2)), sample)
    with pytest.raises(DrownedError):
        reduce(remove, far[2:], sample)


def test_what_rounding_has_cost_does_not_depend_on_the_unit():
    X = draw((60, 3)) * 1e40
    left = remove(moments(X), moments(X[:9]))
    joined = merge(left, moments(1e50 * draw((40, 3))))
    np.testing.assert_allclose(joined.rounding * joined.n_samples, left.rounding * left.n_samples, rtol=1e-12)
    assert joined.quartic_peak == left.quartic_peak * (left.unit / joined.unit) ** 4


def test_a_variance_that_would_be_a_little_negative_shows():
    whole, part = moments(np.resize([[1.0], [-1.0]], (10, 1))), np.sqrt(10 * (1 + 1e-5) / 4) * np.array([[1.0], [-1.0]])
    with pytest.raises(ValueError, match="never learnt"):
        remove(whole, moments(np.vstack([part, part])))


def test_a_feature_varies_where_scikit_learns_scaler_divides_by_it():
    X = np.random.default_rng(0).normal(size=(200, 5)) * [1.0, 1e-3, 1e-9, 0.0, 0.0] + [0.0, 1e6, 1e6, 0.1, 1e6 / 3]
    np.testing.assert_array_equal(varies(moments(X)), StandardScaler().fit(X).scale_ != 1.0)
    assert varies(moments(X)).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("scale", [1e-110, 1e-85, 1e-30, 1e30, 1e80, 1e110])
@pytest.mark.parametrize("shape", [(60, 8), (30, 80)])
def test_shrinkage_does_not_depend_on_units(shape, scale):
    X = draw(shape, offset=3)
    parts = [moments(part * scale) for part in np.array_split(X, [1, 2, 20])]
    joined = parts[0]
    for part in parts[1:]:
        joined = merge(joined, part)
    back = remove(merge(joined, moments(2 * scale * X[:9])), moments(2 * scale * X[:9]))
    for sample in (moments(X * scale), joined, back):
        for shrinkage in (ledoit_wolf_shrinkage, oas_shrinkage):
            assert shrinkage(sample) == pytest.approx(shrinkage(moments(X)), rel=1e-10)
        np.testing.assert_allclose(sample.mean, X.mean(axis=0) * scale, rtol=1e-12)
        expected = np.cov(X.T, bias=True) * scale**2
        np.testing.assert_allclose(covariance(sample), expected, rtol=0, atol=1e-12 * expected.max())


@pytest.mark.parametrize("exponent", [-300, 150, 300])
def test_a_power_of_two_changes_no_digit(exponent):
    X = draw((50, 6))
    plain, scaled = moments(X), moments(np.ldexp(X, exponent))
    assert ledoit_wolf_shrinkage(scaled) == ledoit_wolf_shrinkage(plain)
    np.testing.assert_array_equal(np.ldexp(covariance(scaled), -2 * exponent), covariance(plain))


def test_samples_of_very_different_size_are_joined_in_the_larger_unit():
    small, large = 1e-60 * draw((30, 3)), 1e60 * draw((40, 3), seed=1)
    both = np.vstack([small, large]) / 1e60
    for sample in (merge(moments(small), moments(large)), merge(moments(large), moments(small))):
        assert ledoit_wolf_shrinkage(sample) == pytest.approx(ledoit_wolf(both)[1], rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-125, 1e125, 1e200, 1e308])
@pytest.mark.parametrize("diagonal", [False, True])
def test_values_whose_squares_float64_does_not_hold_are_refused(scale, diagonal):
    X = np.clip(draw((20, 3)), -1, 1) * scale
    with pytest.raises(ValueError, match=r"float64 does not hold the squares.*Divide all values"):
        moments(X, diagonal=diagonal)
    with pytest.raises(ValueError, match="float64 does not hold the squares"):
        merge(moments(X[:1], diagonal=diagonal), moments(X[1:2], diagonal=diagonal))


def test_removing_leaves_two_rows_at_least():
    X = draw((10, 3))
    assert remove(moments(X), moments(X[2:])).n_samples == 2
    with pytest.raises(ValueError, match="at least two must be left"):
        remove(moments(X), moments(X[1:]))


def test_the_callers_rows_are_left_alone():
    X = draw((10, 40))
    X.setflags(write=False)
    before = X.copy()
    merge(moments(X), moments(X))
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("shape", [(500, 300), (30, 300)])
def test_a_pickle_holds_the_smaller_of_rows_and_triangle(shape):
    sample = moments(draw(shape))
    data = pickle.dumps(sample)
    assert len(data) < 8 * min(shape[0] * 300, 300 * 301 / 2) + 8 * 4 * 300 + 2000
    assert_same(pickle.loads(data), sample, rtol=0)


sizes = st.integers(1, 30)
exponents = st.integers(-3, 3)  # offsets and scales over six orders of magnitude: float64 holds the laws to 1e-7 there


@settings(deadline=None, max_examples=50)
@given(sizes, sizes, sizes, st.integers(1, 12), exponents, st.integers(0, 2**32 - 1))
def test_merge_is_commutative_and_associative(n_a, n_b, n_c, n_features, exponent, seed):
    rng = np.random.default_rng(seed)
    a, b, c = (moments(rng.normal(size=(n, n_features)) + rng.normal() * 10.0**exponent) for n in (n_a, n_b, n_c))
    assert_same(merge(a, b), merge(b, a), rtol=1e-8)
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)), rtol=1e-8)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 30), sizes, st.integers(1, 12), exponents, st.integers(0, 2**32 - 1))
def test_remove_undoes_merge(n_kept, n_removed, n_features, exponent, seed):
    rng = np.random.default_rng(seed)
    kept, removed = (moments(rng.normal(size=(n, n_features)) + 10.0**exponent) for n in (n_kept, n_removed))
    assert_same(remove(merge(kept, removed), removed), kept, rtol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_rows_and_columns_may_be_permuted(n_samples, n_features, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    order = rng.permutation(n_features)
    plain, permuted = moments(X), moments(X[rng.permutation(n_samples)][:, order])
    np.testing.assert_allclose(covariance(permuted), covariance(plain)[np.ix_(order, order)], atol=1e-12)
    assert ledoit_wolf_shrinkage(permuted) == pytest.approx(ledoit_wolf_shrinkage(plain), abs=1e-10)
