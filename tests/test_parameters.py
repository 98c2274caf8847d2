"""Checks of parameters: what passes, what is refused, and the fraction that a rate says."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from sklearn.model_selection import KFold

from skgad._conventions._parameters import check_int, check_share, check_splitter, read_fpr


@pytest.mark.parametrize(
    "fpr", [0.01, np.float64(0.01), np.float32(0.01), np.float16(0.01), np.longdouble("0.01"), Decimal("0.01")]
)
def test_a_rate_says_the_same_in_every_precision(fpr):
    assert read_fpr(fpr) == Fraction(1, 100)


@pytest.mark.parametrize("kind", [float, np.float32, np.longdouble])
def test_a_rate_that_was_divided_out_says_the_fraction_it_came_from(kind):
    for total in range(2, 120):
        for rank in range(1, total):
            assert read_fpr(kind(rank) / kind(total)) == Fraction(rank, total)


def test_a_rate_of_many_digits_says_a_fraction_that_rounds_to_it():
    for fpr in [*np.random.default_rng(0).uniform(size=200).tolist(), 5e-324, 1e-299, float(np.nextafter(1, 0))]:
        assert float(read_fpr(fpr)) == fpr


def test_the_fraction_is_the_simplest_of_all_that_round_to_the_float():
    for fpr in np.random.default_rng(0).uniform(size=50).astype(np.float16):
        share = read_fpr(fpr)
        naive = next(
            Fraction(top, bottom)
            for bottom in range(1, 100_000)
            for top in [round(float(fpr) * bottom)]
            if np.float16(top / bottom) == fpr
        )
        assert share == naive


@pytest.mark.parametrize("fpr", [Fraction(1, 3), Decimal("0.3"), Fraction(1, 10**30)])
def test_a_fraction_or_a_decimal_is_taken_as_it_is(fpr):
    assert read_fpr(fpr) == Fraction(fpr)


@pytest.mark.parametrize(
    "fpr",
    [0, 1, -0.1, 5, "0.1", None, True, np.True_, np.nan, np.inf, Decimal("NaN"), Decimal("sNaN"), 0.1j, [0.1], 10**400],
)
def test_what_is_no_rate_is_refused(fpr):
    with pytest.raises(ValueError, match=r"fpr must lie in \(0, 1\)"):
        read_fpr(fpr)


@pytest.mark.parametrize(("value", "least"), [(1, 1), (np.int64(3), 2), (0, 0)])
def test_ints_pass(value, least):
    check_int("n", value, least)
    check_int("n", None, least, optional=True)


@pytest.mark.parametrize(
    ("value", "least", "wanted"),
    [(0, 1, "a positive int"), (-1, 0, "a non-negative int"), (2, 3, "an int of at least 3"), (1.0, 1, "a positive")],
)
def test_other_numbers_are_no_ints(value, least, wanted):
    with pytest.raises(ValueError, match=f"n must be {wanted}.*got {value}"):
        check_int("n", value, least)


@pytest.mark.parametrize("value", [True, None, "3", [3]])
def test_what_is_no_number_is_no_int(value):
    with pytest.raises(TypeError, match="n must be a positive int"):
        check_int("n", value, error=TypeError)


def test_shares_lie_between_0_and_1():
    for value in (0.5, np.float32(0.1), Fraction(1, 3)):
        check_share("share", value)
    check_share("share", 1, closed=True)
    for value, closed in [(0, True), (1, False), (1.1, True), (np.nan, True), ("a", True), (True, True), (None, True)]:
        with pytest.raises(ValueError, match=r"share must be a share in \(0, 1"):
            check_share("share", value, closed=closed)


def test_splitters_are_objects_that_serve_more_than_one_fit():
    check_splitter(KFold(3))
    check_splitter([([0], [1])])
    with pytest.raises(ValueError, match=r"the class KFold; pass an object"):
        check_splitter(KFold)
    with pytest.raises(ValueError, match=r"pass list\(cv\)"):
        check_splitter(KFold(3).split(np.zeros(6)))
