"""Objectives against NumPy, the vicinity of images, and the loop that trains."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from skgad._gaussian._place_gaussians import estimate_places
from skgad._gaussian._places import PlaceSums
from skgad.deep.training._examination import examine_by_vicinity
from skgad.deep.training._objectives import FCDDObjective, GaussianObjective, SVDDObjective
from skgad.deep.training._squares import to_bytes
from skgad.deep.training._vicinity import SCHEMES, alter, draw_vicinity

LEVELS = [(6, 4), (3, 9)]  # sides and channels


def draw_maps(n_images, seed=0):
    rng = np.random.default_rng(seed)
    mixing = [np.random.default_rng(side).normal(size=(channels, channels)) for side, channels in LEVELS]
    return [
        (rng.normal(size=(n_images, side, side, channels)) @ mix + 3).astype(np.float32)
        for (side, channels), mix in zip(LEVELS, mixing, strict=True)
    ]


def in_batches(maps, size=7):
    for start in range(0, len(maps[0]), size):
        yield [torch.from_numpy(level[start : start + size]) for level in maps]


def settle(objective, maps):
    objective.settle(in_batches(maps))
    return objective


@pytest.mark.parametrize("gaussian", ["tied", "local", "global"])
@pytest.mark.parametrize("n_images", [12, 50])
def test_distances_are_those_of_the_arithmetic(gaussian, n_images):
    learnt, new = draw_maps(n_images), draw_maps(5, seed=1)
    objective = settle(GaussianObjective([1, 2], gaussian), learnt)
    found = objective.maps([torch.from_numpy(level) for level in new])
    for one, level, old in zip(found, new, learnt, strict=True):
        sums = PlaceSums.begin(old[:16], gaussian)
        sums.add(old)
        np.testing.assert_allclose(one.numpy(), estimate_places(sums).distances(level), rtol=1e-4)


@pytest.mark.parametrize(("aggregate", "over"), [("max", np.max), ("mean", np.mean)])
def test_the_loss_is_the_mean_over_levels_of_the_aggregated_distances(aggregate, over):
    objective = settle(GaussianObjective([1, 2], "tied", aggregate), draw_maps(40))
    new = [torch.from_numpy(level) for level in draw_maps(5, seed=1)]
    expected = np.mean([over(level.numpy(), axis=(1, 2)) for level in objective.maps(new)], axis=0)
    np.testing.assert_allclose(objective.losses(new).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("gaussian", ["tied", "local", "global"])
def test_the_gradient_is_that_of_small_steps_and_finite_at_the_mean(gaussian):
    objective = settle(GaussianObjective([1, 2], gaussian, "mean"), draw_maps(40))
    objective.take_arrays([array.astype(np.float64) for array in objective.to_arrays()])
    new = [torch.from_numpy(level).double().requires_grad_(True) for level in draw_maps(1, seed=1)]
    assert torch.autograd.gradcheck(lambda *levels: objective.losses(list(levels)), new)
    means = objective.to_arrays()[:2]
    at_mean = [
        torch.from_numpy(np.broadcast_to(mean, (side * side, channels)).reshape(1, side, side, channels).copy())
        for mean, (side, channels) in zip(means, LEVELS, strict=True)
    ]
    for level in at_mean:
        level.requires_grad_(True)
    objective.losses(at_mean).sum().backward()
    assert all(torch.isfinite(level.grad).all() for level in at_mean)


def test_what_was_settled_survives_as_arrays():
    learnt, new = draw_maps(30), [torch.from_numpy(level) for level in draw_maps(4, seed=1)]
    pooled = [level.mean(dim=(1, 2)) for level in new]
    for objective, outputs, arguments in [
        (GaussianObjective([1, 2], "local"), new, ([1, 2], "local")),
        (FCDDObjective(), new, ()),
        (SVDDObjective(), pooled, ()),
    ]:
        is_svdd = isinstance(objective, SVDDObjective)
        settle(objective, [level.mean(axis=(1, 2)) for level in learnt] if is_svdd else learnt)
        again = type(objective)(*arguments)
        again.take_arrays(objective.to_arrays())
        np.testing.assert_array_equal(again.scores(outputs), objective.scores(outputs))


def test_deep_svdd_is_the_l1_distance_to_the_mean():
    learnt, new = (np.random.default_rng(seed).normal(size=(20, 11)).astype(np.float32) for seed in (0, 1))
    objective = SVDDObjective()
    objective.settle(
        [[torch.from_numpy(learnt[:9, :4]), torch.from_numpy(learnt[:9, 4:])], [torch.from_numpy(learnt[9:])]]
    )
    found = objective.scores([torch.from_numpy(new[:, :4]), torch.from_numpy(new[:, 4:])])
    np.testing.assert_allclose(found.numpy(), np.abs(new - learnt.mean(axis=0)).sum(axis=1), rtol=1e-5)


def test_fcdd_is_a_hypersphere_classifier_on_maps():
    learnt, new = draw_maps(30), draw_maps(4, seed=1)
    objective = settle(FCDDObjective(), learnt)
    anomaly = []
    for level, old in zip(new, learnt, strict=True):
        squares = np.square((level - old.mean(axis=(0, 1, 2))) / old.std(axis=(0, 1, 2))).mean(axis=-1)
        anomaly.append((np.sqrt(squares + 1) - 1).mean(axis=(1, 2)))
    anomaly = np.mean(anomaly, axis=0)
    altered = np.array([False, True, False, True])
    expected = np.where(altered, -np.log(1 - np.exp(-anomaly)), anomaly)
    found = objective.losses([torch.from_numpy(level) for level in new], torch.from_numpy(altered))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


def test_still_levels_are_refused_by_name():
    maps = draw_maps(20)
    maps[1][:] = 2.0
    with pytest.raises(ValueError, match="covariance of level 6 is singular over 20 normal images"):
        settle(GaussianObjective([5, 6]), maps)
    maps[1][3] = np.nan
    with pytest.raises(ValueError, match="Level 6: maps of normal images hold NaN"):
        settle(GaussianObjective([5, 6]), maps)


def draw_image(seed=0, side=64):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 200, side)[:, np.newaxis, np.newaxis]
    return np.clip(ramp + rng.normal(0, 5, size=(side, side, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scheme", [*SCHEMES, "all"])
def test_an_altered_image_follows_from_its_seed_alone(scheme):
    image = draw_image()
    kept = image.copy()
    before = torch.random.get_rng_state()
    one, again, other = (alter(image, seed, scheme=scheme) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(image, kept)
    assert not np.array_equal(one, other)
    assert one.shape == image.shape
    assert one.dtype == np.uint8
    assert torch.equal(torch.random.get_rng_state(), before)


def test_confetti_darkens_and_cutout_cuts_a_square():
    image = draw_image()
    for seed in range(20):
        confetti = alter(image, [seed], scheme="confetti")
        assert (confetti <= image).all()
        assert (confetti < image).any()
        changed = np.argwhere((alter(image, [seed], scheme="cutout") != image).any(axis=2))
        assert np.ptp(changed, axis=0).max() < 16  # a quarter of the side


def test_colours_are_no_operation_of_augmix():
    image = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, np.newaxis, np.newaxis] * 3 + 30, (64, 64, 3)).copy()
    for seed in range(10):
        mixed = alter(image, [seed], scheme="augmix")
        assert np.ptp(mixed.astype(int), axis=2).max() == 0  # grey stays grey


def test_seven_of_ten_draws_are_altered_and_all_schemes_occur():
    images = np.stack([draw_image(seed) for seed in range(5)])
    drawn, altered = draw_vicinity(images, 50)
    assert sum(one is not None for one in altered) == 35
    assert set(drawn) == set(range(5))
    again = draw_vicinity(images, 50)
    np.testing.assert_array_equal(drawn, again[0])
    assert all(
        (one is None) == (two is None) and np.array_equal(one, two) for one, two in zip(altered, again[1], strict=True)
    )
    assert not np.array_equal(drawn, draw_vicinity(images, 50, random_state=1)[0])


class BrightnessNetwork:
    """A network whose only feature is the mean of the image."""

    device = torch.device("cpu")

    def at_work(self):
        return torch.no_grad()

    def __call__(self, squares, take):
        return [squares.mean(dim=(1, 2, 3))[:, None]]


class Unsigned:
    take = None

    def scores(self, outputs):
        return -outputs[0][:, 0]  # darker is more anomalous


class HeldSquares:
    def __init__(self, images):
        self._tensor = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()

    def __len__(self):
        return len(self._tensor)

    def batches(self, order, batch_size):
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size], self._tensor[order[start : start + batch_size]]


def test_the_criterion_is_the_auroc_of_all_draws():
    images = np.stack([draw_image(seed) for seed in range(6)])
    options = {"scheme": "confetti", "severity": 3, "random_state": 4}
    found = examine_by_vicinity(BrightnessNetwork(), Unsigned(), HeldSquares(images), **options)()
    drawn, altered = draw_vicinity(images, 60, **options)
    shown = [images[position] if one is None else one for position, one in zip(drawn, altered, strict=True)]
    expected = roc_auc_score([one is not None for one in altered], [-image.mean(dtype=np.float64) for image in shown])
    assert found == pytest.approx(expected, abs=1e-9)
    assert found > 0.6


def test_squares_become_bytes_by_rounding():
    square = torch.tensor([[[-3.0, 1.4], [1.6, 300.0]]]).repeat(3, 1, 1)
    np.testing.assert_array_equal(to_bytes(square)[..., 0], [[0, 1], [2, 255]])
    assert math.isfinite(copy.deepcopy(square).sum())
