from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from skgad._calibration._conformal import (
    aimed_rate,
    conformal_rank,
    groups_needed,
    p_value_steps,
    rate_interval,
    read_p_values,
    threshold,
)


def draw(n_samples=90, seed=0):
    """Scores with ties, and groups of one to eight images."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, size=n_samples)
    return rng.integers(-20, 0, size=n_samples).astype(float), np.repeat(np.arange(n_samples), sizes)[:n_samples]


def exact_p_value(score, scores, groups):
    shares = [Fraction(int((scores[groups == g] <= score).sum()), int((groups == g).sum())) for g in set(groups)]
    return (1 + sum(shares)) / Fraction(len(shares) + 1)


@pytest.mark.parametrize("grouped", [False, True])
def test_p_values_are_the_nearest_floats_to_the_exact_fractions(grouped):
    scores, groups = draw()
    new = np.r_[-np.inf, np.arange(-21.5, 1, 0.5)]
    p_values = read_p_values(new, *p_value_steps(scores, groups if grouped else None))
    expected = [exact_p_value(one, scores, groups if grouped else np.arange(len(scores))) for one in new]
    assert p_values.tolist() == [float(one) for one in expected]
    assert p_values.min() > 0
    assert p_values.max() == 1


def test_groups_of_unwieldy_sizes_stay_exact():
    sizes = [64, 81, 25, 49, 121, 169, 17, 19, 23, 29, 31]  # their least common multiple is about 1e17
    groups = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.random.default_rng(0).normal(size=len(groups))
    p_values = read_p_values(scores, *p_value_steps(scores, groups))
    assert p_values.tolist() == [float(exact_p_value(one, scores, groups)) for one in scores]


def test_groups_of_one_are_no_groups():
    scores, _ = draw()
    for grouped, plain in zip(p_value_steps(scores, np.arange(90)), p_value_steps(scores), strict=True):
        np.testing.assert_array_equal(grouped, plain)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("fpr", [0.05, 0.1, 0.29, 1 / 3, 0.5, 7 / 91, 0.99, np.nextafter(0.1, 0), np.nextafter(0.1, 1)])
def test_a_score_lies_below_the_threshold_just_where_its_p_value_is_at_most_the_rate(fpr, grouped):
    scores, groups = draw()
    steps = p_value_steps(scores, groups if grouped else None)
    new = np.arange(-21.5, 1, 0.5)
    np.testing.assert_array_equal(new < threshold(fpr, *steps), read_p_values(new, *steps) <= fpr)


def test_without_ties_the_threshold_is_the_kth_lowest_score():
    scores = np.random.default_rng(0).permutation(200).astype(float)
    for fpr in (0.005, 0.01, 0.03, 0.29, 0.9):
        assert threshold(fpr, *p_value_steps(scores)) == np.sort(scores)[conformal_rank(fpr, 200) - 1]


def test_the_rank_is_the_floor_of_the_decimal_number():
    for thousandths in range(1, 1000):
        for n_groups in (1, 9, 19, 99, 100, 101, 199, 299, 352, 999, 1999):
            expected = (n_groups + 1) * thousandths // 1000
            assert conformal_rank(float(f"0.{thousandths:03d}"), n_groups) == expected


def test_a_rate_that_is_computed_as_a_fraction_gives_its_numerator():
    for n_groups in range(1, 150):
        for rank in range(1, n_groups + 1):
            assert conformal_rank(rank / (n_groups + 1), n_groups) == rank


@pytest.mark.parametrize("fpr", [0.9, 0.5, 1 / 3, 0.3, 0.05, 0.01, 1 / 99, 0.0027])
def test_the_images_needed_are_the_fewest_that_reach_the_rate(fpr):
    needed = groups_needed(fpr)
    assert conformal_rank(fpr, needed) == 1
    assert needed == 1 or conformal_rank(fpr, needed - 1) == 0


def test_the_interval_is_that_of_an_order_statistic():
    # the rate of a threshold at the k-th of n uniform scores is below x if at least k of them are
    low, high = rate_interval(5, 400)
    assert binom.sf(5 - 1, 400, low) == pytest.approx(0.025)
    assert binom.sf(5 - 1, 400, high) == pytest.approx(0.975)


def test_with_groups_the_rate_is_at_most_fpr_but_may_be_above_k_of_the_groups():
    rng, rates = np.random.default_rng(0), []
    groups = np.repeat(np.arange(5), 2)
    for _ in range(4000):
        edges, p_values = p_value_steps(rng.uniform(size=10), groups)
        rates.append(threshold(0.3, edges, p_values))  # of uniform scores, this share lies below it
    error = 4 * np.std(rates) / np.sqrt(len(rates))
    assert conformal_rank(0.3, 5) / 6 + error < np.mean(rates) < 0.3 - error


def test_the_rate_aimed_at_is_the_largest_step_within_fpr():
    scores = np.arange(30.0)
    assert aimed_rate(0.1, p_value_steps(scores)[1]) == 3 / 31
    assert aimed_rate(0.1, p_value_steps(scores // 2)[1]) == 3 / 31  # ties: 1, 3, 5, ... of 31
    assert aimed_rate(0.13, p_value_steps(scores // 2)[1]) == 3 / 31
    assert aimed_rate(0.3, p_value_steps(np.arange(10.0), np.repeat(np.arange(5), 2))[1]) == 1.5 / 6
