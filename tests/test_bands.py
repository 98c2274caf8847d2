"""The band of rates holds all thresholds at once, with the probability that it says."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate, stats

from skgad import FPRThresholdCV, MahalanobisDetector
from skgad._calibration import _bands
from skgad._calibration._bands import containment, order_statistic_band, rate_curve
from skgad._calibration._conformal import p_value_steps, rate_interval, threshold


def draw_bounds(n_samples, seed):
    """Ascending bounds around the means of the order statistics, some of them without effect."""
    rng, means = np.random.default_rng(seed), np.arange(1, n_samples + 1) / (n_samples + 1)
    low = np.maximum.accumulate(np.maximum(means - rng.uniform(0.05, 0.6, n_samples), 0))
    return low, np.maximum.accumulate(np.minimum(means + rng.uniform(0.05, 0.6, n_samples), 1))


def by_steck(low, high):
    """The containment as Steck's determinant, in fractions: n! det[(B_i - b_j)_+^(j - i + 1) / (j - i + 1)!]."""
    n_samples = len(low)

    def entry(i, j):
        power = j - i + 1
        if power < 0:
            return Fraction(0)
        return max(Fraction(high[i]) - Fraction(low[j]), Fraction(0)) ** power / math.factorial(power)

    rows = [[entry(i, j) for j in range(n_samples)] for i in range(n_samples)]
    return float(math.factorial(n_samples) * determinant(rows))


def determinant(rows):
    value = Fraction(1)
    for at in range(len(rows)):
        pivot = next((row for row in range(at, len(rows)) if rows[row][at]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != at:
            rows[at], rows[pivot], value = rows[pivot], rows[at], -value
        value *= rows[at][at]
        for row in range(at + 1, len(rows)):
            factor = rows[row][at] / rows[at][at]
            rows[row] = [mine - factor * theirs for mine, theirs in zip(rows[row], rows[at], strict=True)]
    return value


# The probability that order statistics lie within bounds


@pytest.mark.parametrize("n_samples", [1, 2, 10, 50, 100])
def test_constant_width_has_kolmogorovs_probability(n_samples):
    ranks = np.arange(1, n_samples + 1)
    for width in np.array([0.55, 0.8, 1.36, 2.0]) / np.sqrt(n_samples):
        low, high = np.maximum(ranks / n_samples - width, 0), np.minimum((ranks - 1) / n_samples + width, 1)
        expected = stats.kstwo.cdf(width, n_samples)
        assert containment(low, high, ranks, n_samples) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_samples", [1, 30, 1000])
def test_constant_width_on_one_side_has_smirnovs_probability(n_samples):
    ranks = np.arange(1, n_samples + 1)
    for width in np.array([0.3, 0.8, 1.22]) / np.sqrt(n_samples):
        expected = pytest.approx(stats.ksone.cdf(width, n_samples), abs=1e-11)
        assert containment(np.maximum(ranks / n_samples - width, 0), np.ones(n_samples), ranks, n_samples) == expected
        high = np.minimum((ranks - 1) / n_samples + width, 1)
        assert containment(np.zeros(n_samples), high, ranks, n_samples) == expected


@pytest.mark.parametrize("seed", range(5))
def test_up_to_three_samples_it_is_the_integral(seed):
    (a, b), ((a1, a2), (b1, b2)) = draw_bounds(1, seed), draw_bounds(2, seed)
    assert containment(a, b, np.array([1]), 1) == pytest.approx(float(b[0] - a[0]), abs=1e-14)
    two = integrate.quad(lambda u: 2 * max(b2 - max(a2, u), 0), a1, b1, points=[np.clip(a2, a1, b1)])[0]
    assert containment(np.array([a1, a2]), np.array([b1, b2]), np.arange(1, 3), 2) == pytest.approx(two, abs=1e-12)
    low, high = draw_bounds(3, seed)
    (a1, a2, a3), (b1, b2, b3) = low, high
    three = integrate.quad(
        lambda u: 6 * max(min(b1, u) - a1, 0) * max(b3 - max(a3, u), 0),
        a2,
        b2,
        points=np.clip([a1, b1, a3, b3], a2, b2),
    )[0]
    assert containment(low, high, np.arange(1, 4), 3) == pytest.approx(three, abs=1e-12)


@pytest.mark.parametrize("n_samples", [4, 9, 16])
def test_it_is_stecks_determinant(n_samples):
    for seed in range(4):
        low, high = draw_bounds(n_samples, seed)
        result = containment(low, high, np.arange(1, n_samples + 1), n_samples)
        assert result == pytest.approx(by_steck(low, high), abs=1e-13)


def test_one_bounded_rank_has_the_beta_law():
    low, high = np.array([0.11]), np.array([0.19])
    for n_samples, rank in ((7, 1), (400, 60), (3000, 450)):
        expected = np.diff(stats.beta(rank, n_samples + 1 - rank).cdf([0.11, 0.19]))[0]
        assert containment(low, high, np.array([rank]), n_samples) == pytest.approx(expected, abs=1e-11)


def test_bounds_that_exclude_each_other_have_probability_zero():
    ranks = np.array([1, 50, 100])
    assert containment(np.array([0.99, 0.99, 0.99]), np.ones(3), ranks, 100) == pytest.approx(0, abs=1e-15)
    assert containment(np.zeros(3), np.full(3, 0.01), ranks, 100) == pytest.approx(0, abs=1e-15)
    assert containment(np.array([0.5, 0.6, 0.7]), np.array([0.4, 0.5, 0.6]), ranks, 100) == 0
    assert containment(np.zeros(3), np.ones(3), ranks, 100) == pytest.approx(1, abs=1e-14)


# The band


@pytest.mark.parametrize("side", ["both", "upper"])
@pytest.mark.parametrize("coverage", [0.5, 0.95, 0.999])
def test_the_coverage_is_exact(coverage, side):
    for n_samples in (1, 2, 3, 12):
        low, high = order_statistic_band(n_samples, coverage, side)
        assert by_steck(low, high) == pytest.approx(coverage, abs=1e-8)


@pytest.mark.parametrize("side", ["both", "upper"])
@pytest.mark.parametrize("n_samples", [30, 400])
def test_so_many_calibrations_lie_within_it(n_samples, side):
    low, high = order_statistic_band(n_samples, 0.95, side)
    rates = np.sort(np.random.default_rng(0).uniform(size=(10_000, n_samples)), axis=1)
    inside = ((low <= rates) & (rates <= high)).all(axis=1).sum()
    assert stats.binomtest(int(inside), 10_000, 0.95).pvalue > 0.01


def test_every_rank_is_bounded_at_one_level():
    ranks = np.arange(1, 201)
    laws = stats.beta(ranks, 201 - ranks)
    low, high = order_statistic_band(200, 0.95, "both")
    np.testing.assert_allclose(laws.cdf(low), laws.cdf(low[0])[0])
    np.testing.assert_allclose(laws.sf(high), laws.cdf(low[0])[0])
    low, high = order_statistic_band(200, 0.95, "upper")
    assert not low.any()
    np.testing.assert_allclose(laws.sf(high), laws.sf(high[0])[0])


def test_a_band_of_more_coverage_holds_that_of_less():
    for side in ("both", "upper"):
        bands = [order_statistic_band(50, coverage, side) for coverage in (0.1, 0.5, 0.9, 0.99, 0.9999)]
        assert (np.diff([high for _, high in bands], axis=0) > 0).all()
        assert (np.diff([low for low, _ in bands], axis=0) <= 0).all()


def test_it_lies_around_the_intervals_of_single_rates_and_one_side_within_both():
    low, high = order_statistic_band(99, 0.95, "both")
    for rank in (1, 5, 50, 99):
        alone = rate_interval(rank, 99)
        assert low[rank - 1] < alone[0] < alone[1] < high[rank - 1]
    assert (order_statistic_band(99, 0.95, "upper")[1] < high).all()


def test_of_many_ranks_some_are_bounded_and_the_coverage_stays_exact(monkeypatch):
    monkeypatch.setattr(_bands, "_MOST_RANKS", 25)
    ranks = np.arange(1, 301)
    low, high = order_statistic_band.__wrapped__(300, 0.95, "both")
    assert len(np.unique(high)) < 26
    assert containment(low, high, ranks, 300) == pytest.approx(0.95, abs=1e-8)
    assert (low < ranks / 301).all()
    assert (ranks / 301 < high).all()


def test_for_many_images_it_is_hardly_wider_than_that_of_all_ranks():
    low, high = order_statistic_band(2500, 0.95, "both")
    assert containment(low, high, np.arange(1, 2501), 2500) == pytest.approx(0.95, abs=1e-8)
    assert (np.diff(high) >= 0).all()
    assert (np.diff(low) >= 0).all()
    before = order_statistic_band(2000, 0.95, "both")[1]  # of all ranks
    for share in (0.01, 0.1, 0.5):
        one, other = ((bounds[int(share * n) - 1] - share) * np.sqrt(n) for bounds, n in ((high, 2500), (before, 2000)))
        assert one == pytest.approx(other, rel=0.04)


# The curve


def test_each_rate_of_the_curve_gives_its_threshold():
    for scores in (np.random.default_rng(0).normal(size=60), np.arange(60.0) // 7):
        curve = rate_curve(scores)
        steps = p_value_steps(scores)
        assert [threshold(fpr, *steps) for fpr in curve.fpr] == curve.thresholds.tolist() == np.unique(scores).tolist()


def test_without_ties_the_kth_threshold_has_the_kth_bounds():
    scores = np.random.default_rng(0).permutation(80)
    low, high = order_statistic_band(80, 0.9, "both")
    curve = rate_curve(scores.tolist(), coverage=0.9)
    np.testing.assert_array_equal(curve.fpr, np.arange(1, 81) / 81)
    np.testing.assert_array_equal(curve.low, low)
    np.testing.assert_array_equal(curve.high, high)
    np.testing.assert_array_equal(rate_curve(np.exp(scores / 10.0), coverage=0.9).high, high)


def test_tied_scores_have_the_bounds_of_ranks_on_the_safe_side():
    low, high = order_statistic_band(6, 0.95, "both")
    curve = rate_curve([1.0, 1.0, 2.0, 3.0, 3.0, 3.0])  # an image is anomalous below: ranks 1, 3 and 4
    np.testing.assert_array_equal(curve.high, high[[0, 2, 3]])
    np.testing.assert_array_equal(curve.low, [0, low[1], low[2]])


@pytest.mark.parametrize("decimals", [0, 1])
def test_the_band_holds_for_scores_that_tie(decimals):
    rng, inside = np.random.default_rng(0), 0
    for _ in range(1000):
        curve = rate_curve(np.round(rng.normal(size=60), decimals))
        rates = stats.norm.cdf(curve.thresholds - 0.5 * 10.0**-decimals)  # of rounded numbers, below the threshold
        inside += ((curve.low <= rates) & (rates <= curve.high)).all()
    assert inside >= 950


def test_a_threshold_that_is_chosen_by_looking_keeps_its_bound():
    rng, broken, broken_alone = np.random.default_rng(0), 0, 0
    ranks = np.arange(1, 101)
    alone = stats.beta.isf(0.05, ranks, 101 - ranks)  # right for a rank that was fixed before
    for _ in range(1000):
        curve = rate_curve(rng.uniform(size=100), side="upper")  # of uniform scores, the threshold is the rate
        broken += (curve.thresholds > curve.high).any()  # whoever looks may find one of these
        broken_alone += (curve.thresholds > alone).any()
    assert stats.binomtest(broken, 1000, 0.05).pvalue > 0.01
    assert broken_alone > 250


def test_groups_have_rates_but_no_band():
    scores, groups = np.random.default_rng(0).normal(size=30), np.repeat(np.arange(10), 3)
    curve = rate_curve(scores, groups)
    edges, p_values = p_value_steps(scores, groups)
    np.testing.assert_array_equal(curve.thresholds, edges)
    np.testing.assert_array_equal(curve.fpr, p_values[:-1])
    assert np.isnan([curve.low, curve.high]).all()


def test_a_curve_that_is_written_into_changes_no_other():
    first = rate_curve(np.arange(9.0))
    expected = first.high.copy()
    first.high[:] = first.low[:] = 0
    np.testing.assert_array_equal(rate_curve(np.arange(9.0)).high, expected)
    with pytest.raises(ValueError, match="read-only"):
        order_statistic_band(9, 0.95, "both")[0][0] = 1


@pytest.mark.parametrize("coverage", [0, 1, 0.99999, 95, np.nan, True, "0.95", None])
def test_a_coverage_that_is_no_probability_is_refused(coverage):
    with pytest.raises(ValueError, match=r"coverage must lie in \(0, 0.9999\].*got"):
        rate_curve(np.arange(5.0), coverage=coverage)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"shape \(n_samples,\).*got shape \(0,\)"),
        ([[1.0]], r"got shape \(1, 1\)"),
        ([1.0, np.nan], r"scores\[1\] is nan"),
        ([-np.inf], r"scores\[0\] is -inf"),
    ],
)
def test_scores_that_rank_nothing_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        rate_curve(scores)


def test_an_unknown_side_is_refused():
    with pytest.raises(ValueError, match="side must be 'both' or 'upper'; got 'lower'"):
        rate_curve([1.0], side="lower")


def test_a_calibrated_detector_gives_its_curve_and_none_for_groups():
    X = np.random.default_rng(0).normal(size=(120, 3))
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(X)
    curve, expected = detector.rate_curve(coverage=0.9), rate_curve(detector.out_of_fold_scores_, coverage=0.9)
    for got, wanted in zip(curve, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert curve.thresholds[np.searchsorted(curve.fpr, 0.05, side="right") - 1] == detector.offset_
    grouped = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X, groups=np.arange(120) // 4)
    assert np.isnan(grouped.rate_curve().high).all()
