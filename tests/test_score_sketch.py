"""Scores of more images than are kept: the histogram does not depend on the order, and is never bolder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skgad._calibration._score_sketch import ScoreSketch

SCORES = arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6, allow_subnormal=False))


def merge(parts, size):
    sketch = ScoreSketch(size=size)
    for part in parts:
        sketch = sketch.merge(ScoreSketch(part, size))
    return sketch


@settings(deadline=None, max_examples=60)
@given(scores=SCORES, size=st.integers(2, 60), seed=st.integers(0, 99), n_parts=st.integers(1, 9))
def test_order_and_parts_change_nothing(scores, size, seed, n_parts):
    one = ScoreSketch(scores, size)
    other = merge(np.array_split(np.random.default_rng(seed).permutation(scores), n_parts), size)
    assert one.bits == other.bits
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.counts, other.counts)
    assert other.n_samples == len(scores)


@settings(deadline=None, max_examples=60)
@given(scores=SCORES, size=st.integers(2, 60))
def test_no_p_value_is_less_than_by_all_scores_nor_more_by_more_than_a_bin(scores, size):
    sketch = ScoreSketch(scores, size)
    stand = sketch.representatives()
    assert len(stand) == min(len(scores), size)
    exact = np.searchsorted(np.sort(scores), scores, side="right") / len(scores)
    rough = np.searchsorted(np.sort(stand), scores, side="right") / len(stand)
    assert (rough >= exact - 1e-12).all()
    assert (rough - exact).max() <= 1 / len(stand) + sketch.rank_error + 1e-12


def test_few_scores_are_kept_as_they_are():
    scores = np.random.default_rng(0).normal(size=500)
    sketch = merge(np.array_split(scores, 7), 1000)
    assert sketch.rank_error == 0
    np.testing.assert_array_equal(sketch.representatives(), np.sort(scores))


@pytest.mark.parametrize("scores", [np.full(3000, -2.5), np.repeat([-3.0, -1.0], 2000)])
def test_scores_that_are_equal_take_one_place(scores):
    sketch = ScoreSketch(scores, 1000)
    assert sketch.rank_error == 0
    assert set(sketch.representatives()) == set(scores)
