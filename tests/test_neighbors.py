"""PatchCore against naive twins: a plain greedy choice, torch's pooling, brute force."""

import pickle
import types

import numpy as np
import psutil
import pytest
import torch
from sklearn.base import clone

from skgad.spatial import PatchNeighborsDetector
from skgad.spatial import _coreset as coreset_module
from skgad.spatial._coreset import choose_coreset
from skgad.spatial._patches import find_nearest, make_patches

from .test_spatial import ArrayMaps, average_by_hand, square_maps


def next_maps(X):
    parts = [maps for _, maps in ArrayMaps().fit(X).iter_maps(X)]
    return [np.concatenate(level) for level in zip(*parts, strict=True)]


def naive_patches(maps):
    averaged = [torch.from_numpy(average_by_hand(level)).permute(0, 3, 1, 2) for level in maps]
    size = averaged[0].shape[2:]
    grown = [torch.nn.functional.interpolate(level, size=size, mode="bilinear") for level in averaged]
    return torch.cat(grown, dim=1).permute(0, 2, 3, 1).numpy()


def naive_choice(points, n_chosen):
    points = points.astype(np.float64)
    chosen = [np.linalg.norm(points - points.mean(axis=0), axis=1).argmax()]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < n_chosen:
        chosen.append(nearest.argmax())
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def naive_weight(patch, memory, n_neighbors):
    to_all = np.linalg.norm(memory - patch, axis=1)
    around = np.argsort(np.linalg.norm(memory - memory[to_all.argmin()], axis=1))[:n_neighbors]
    return 1 - np.exp(to_all.min()) / np.exp(to_all[around]).sum()


# The coreset


@pytest.mark.parametrize("few", [1, 30, 2048])
@pytest.mark.parametrize("kind", ["round", "in clusters", "far from zero", "on a line"])
def test_the_coreset_is_that_of_the_plain_greedy_choice(kind, few, monkeypatch):
    monkeypatch.setattr(coreset_module, "_FEWEST", few)  # of one round, of hundreds
    rng = np.random.default_rng(0)
    points = rng.standard_t(4, size=(1500, 7))
    points += {"in clusters": 10 * rng.integers(0, 4, size=(1500, 1)), "far from zero": 1000}.get(kind, 0)
    points = (points @ np.diag([1, 0, 0, 0, 0, 0, 0]) if kind == "on a line" else points).astype(np.float32)
    np.testing.assert_array_equal(choose_coreset(points, 300), naive_choice(points, 300))


def test_a_coreset_holds_no_point_twice_though_points_coincide():
    points = np.repeat(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), 5, axis=0)
    chosen = choose_coreset(points, 60)
    assert len(np.unique(chosen)) == 60
    assert len(np.unique(points[chosen[:20]], axis=0)) == 20
    assert len(np.unique(choose_coreset(np.zeros((50, 3), np.float32), 50))) == 50


# Patches and their distances


def test_a_patch_is_averaged_with_zeros_beyond_the_border():
    maps = next_maps(square_maps())
    np.testing.assert_allclose(make_patches(maps), naive_patches(maps), rtol=1e-4, atol=1e-6)
    ones = make_patches([np.ones((1, 4, 5, 1), np.float32)])[0, :, :, 0]
    np.testing.assert_allclose(ones[[0, 0, 1], [0, 1, 1]], [4 / 9, 6 / 9, 1], rtol=1e-6)


@pytest.mark.parametrize("offset", [0, 300])
def test_nearest_ones_are_those_of_brute_force(offset):
    rng = np.random.default_rng(0)
    memory, patches = (offset + rng.normal(size=(n, 5)).astype(np.float32) for n in (70, 600))
    distances, nearest = find_nearest(patches, memory)
    expected = np.linalg.norm(patches[:, None].astype(np.float64) - memory, axis=2)
    np.testing.assert_array_equal(nearest, expected.argmin(axis=1))
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("coreset", "n_neighbors"), [(1, 1), (1, 9), (0.1, 3), (0.01, 9)])
def test_scores_and_maps_are_those_of_brute_force(coreset, n_neighbors):
    X, new = square_maps(), square_maps(3, seed=1)
    memory, patches = naive_patches(next_maps(X)).reshape(-1, 6), naive_patches(next_maps(new)).reshape(3, 16, 6)
    memory = memory[naive_choice(memory, round(coreset * len(memory)))]
    distances = np.linalg.norm(patches[:, :, None] - memory, axis=3).min(axis=2)
    worst = patches[np.arange(3), distances.argmax(axis=1)]
    weights = [1 if n_neighbors == 1 else naive_weight(patch, memory, n_neighbors) for patch in worst]
    detector = PatchNeighborsDetector(ArrayMaps(), coreset=coreset, n_neighbors=n_neighbors, smoothing=0).fit(X)
    np.testing.assert_allclose(detector.score_samples(new), -distances.max(axis=1) * weights, rtol=1e-4)
    grown = torch.from_numpy(distances.reshape(3, 1, 4, 4))
    expected = torch.nn.functional.interpolate(grown, size=16, mode="bilinear")[:, 0]
    np.testing.assert_allclose(detector.score_maps(new), expected, rtol=1e-4)


def test_a_weight_needs_no_large_exponentials():
    X = 1000 * square_maps()
    detector = PatchNeighborsDetector(ArrayMaps(), coreset=0.2).fit(X)
    unweighted = PatchNeighborsDetector(ArrayMaps(), coreset=0.2, n_neighbors=1).fit(X)
    new = 1000 * square_maps(8, seed=1)
    share = detector.score_samples(new) / unweighted.score_samples(new)
    assert np.all((share >= 1 - 1 / 9 - 1e-6) & (share <= 1))


# The detector


@pytest.mark.parametrize("coreset", [0.1, 1])
def test_the_coreset_depends_on_no_batches_and_no_folds(coreset):
    X = square_maps()
    detector = PatchNeighborsDetector(ArrayMaps(), coreset=coreset)
    plain = clone(detector).fit(X)
    for n_folds in (3, 30):
        folded = clone(detector)
        out_of_fold, in_sample = folded.fit_score_out_of_fold(X, np.arange(30) % n_folds)
        np.testing.assert_allclose(folded.coreset_, plain.coreset_, rtol=1e-5)
        np.testing.assert_allclose(in_sample, plain.score_samples(X), rtol=1e-4, atol=1e-3)
        left = clone(detector).fit(X[np.arange(30) % n_folds != 1])
        own = np.flatnonzero(np.arange(30) % n_folds == 1)
        np.testing.assert_allclose(out_of_fold[own], left.score_samples(X[own]), rtol=1e-4)


def test_an_image_left_out_is_not_its_own_neighbour():
    X = square_maps()
    out_of_fold, in_sample = PatchNeighborsDetector(ArrayMaps(), coreset=1).fit_score_out_of_fold(X, np.arange(30))
    np.testing.assert_allclose(in_sample, 0, atol=1e-2)
    assert out_of_fold.max() < -0.1


def test_maps_that_are_not_finite_are_refused():
    X = square_maps()
    X[7, 1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="image 7 contain NaN or infinity"):
        PatchNeighborsDetector(ArrayMaps()).fit(X)


def test_nothing_is_left_to_learn_from_without_the_only_fold():
    with pytest.raises(ValueError, match="at least one normal image"):
        PatchNeighborsDetector(ArrayMaps()).fit_score_out_of_fold(square_maps(), np.zeros(30))


def test_neighbours_keep_the_coreset_and_not_all_patches():
    X = square_maps()
    detector = PatchNeighborsDetector(ArrayMaps(), coreset=0.1).fit(X)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))
    assert detector.coreset_.shape == (48, 6)
    assert len(pickle.dumps(detector)) < detector.coreset_.nbytes + 2500


def test_patches_that_do_not_fit_into_memory_are_refused(monkeypatch):
    needed = 2 * 30 * 16 * 6 * 4
    detector = PatchNeighborsDetector(ArrayMaps())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=needed - 1))
    with pytest.raises(ValueError, match=r"30 images, 16 locations of 6 channels each, take 2.3e-05 GB"):
        detector.fit(square_maps())
    assert not hasattr(detector, "n_samples_seen_")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=needed))
    assert len(detector.fit(square_maps()).coreset_) == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"coreset": 0}, "coreset must be a share"),
        ({"coreset": 2000}, "coreset must be a share"),
        ({"n_neighbors": 1.5}, "n_neighbors must be a positive int"),
    ],
)
def test_neighbours_refuse_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        PatchNeighborsDetector(ArrayMaps(), **params).fit(square_maps())


def test_neighbours_take_the_last_levels_of_the_middle_strides_by_default():
    assert PatchNeighborsDetector()._make_default_features().levels == [4, 6]
