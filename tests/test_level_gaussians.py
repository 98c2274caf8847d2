import pickle

import numpy as np
import pytest

from skgad._gaussian._estimate import KINDS
from skgad._gaussian._level_gaussians import LevelGaussians

COLUMNS = {"level1": slice(0, 3), "level2": np.array([3, 5, 6]), "level3": slice(4, 5)}


def draw(n_samples=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, 7)) @ np.random.default_rng(9).normal(size=(7, 7)) + 3


def learn(X, kind="ledoit_wolf"):
    return LevelGaussians.of_rows(X, COLUMNS, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_level_is_a_gaussian_of_its_own_columns(kind):
    X, new = draw(), draw(seed=1)
    alone = [LevelGaussians.of_rows(X[:, columns], {"": slice(None)}, kind) for columns in COLUMNS.values()]
    expected = [one.distances(new[:, columns]) for one, columns in zip(alone, COLUMNS.values(), strict=True)]
    np.testing.assert_allclose(learn(X, kind).distances(new), np.hstack(expected), rtol=1e-12)
    left_out = [one.leave_one_out(X[:, columns]) for one, columns in zip(alone, COLUMNS.values(), strict=True)]
    np.testing.assert_allclose(learn(X, kind).leave_one_out(X), np.hstack(left_out), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_folds_left_out_equal_refits(kind):
    X, fold = draw(), np.arange(40) % 4
    expected = np.empty((40, 3))
    for number in range(4):
        expected[fold == number] = learn(X[fold != number], kind).distances(X[fold == number])
    np.testing.assert_allclose(learn(X, kind).leave_folds_out(X, fold), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_updates_give_the_gaussians_of_the_rows_that_are_in_and_change_nothing(kind):
    X, more, new = draw(), draw(seed=2), draw(seed=1)
    fitted = learn(X, kind)
    before = fitted.distances(new)
    both = learn(np.vstack([X, more]), kind).distances(new)
    np.testing.assert_allclose(fitted.add(more).distances(new), both, rtol=1e-10)
    np.testing.assert_allclose(fitted.merge(learn(more, kind)).distances(new), both, rtol=1e-10)
    np.testing.assert_allclose(fitted.add(more).remove(X).distances(new), learn(more, kind).distances(new), rtol=1e-9)
    np.testing.assert_array_equal(fitted.distances(new), before)
    assert (fitted.n_samples, fitted.add(more).n_samples, fitted.remove(X[:7]).n_samples) == (40, 80, 33)


def test_a_pickle_holds_the_moments_alone_and_gives_the_same_distances():
    X = draw()
    fitted = learn(X)
    size = len(pickle.dumps(fitted))
    expected = fitted.distances(X)
    assert len(pickle.dumps(fitted)) == size
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).distances(X), expected)


def test_what_is_left_may_be_too_little_for_a_gaussian_until_more_rows_come():
    X = draw()
    left = learn(X, "empirical").remove(X[3:])
    with pytest.raises(ValueError, match="level1 is singular"):
        left.distances(X)
    np.testing.assert_allclose(left.add(X[3:]).distances(X), learn(X, "empirical").distances(X), rtol=1e-8)


def test_what_drowned_in_one_level_is_refused_by_its_name():
    X, far = draw(), draw(2, seed=1)
    far[:, 4] *= 1e6
    with pytest.raises(ValueError, match=r"level3: .*drown"):
        learn(np.vstack([X, far])).remove(far)
    with pytest.raises(ValueError, match=r"level1: .*at least two must be left"):
        learn(X).remove(X[1:])
