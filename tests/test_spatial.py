"""Gaussians in space against scikit-learn and brute force; maps against torch."""

import copy
import pickle
import tracemalloc
import types

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.covariance import OAS, LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_info

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV
from skgad._gaussian._place_gaussians import estimate_places
from skgad._gaussian._places import PlaceSums, count_bytes
from skgad._images._upsampling import upsample
from skgad.deep import Backbone, _network
from skgad.deep._sources import find_source
from skgad.exceptions import BackboneError, ImageError, ImageWarning, WeightsError, WorkingPointWarning
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector
from skgad.spatial._maps import LargestPixels, aggregate
from skgad.spatial._standards import DistanceSums

from .conftest import LITE0

KINDS = ["tied", "local", "global"]
SIDES = (4, 2)  # of the maps of `square_maps`


def papers_detector(features, **params):
    """Return the detector as the paper has it."""
    return SpatialMahalanobisDetector(
        features, **{"gaussian": "tied", "neighborhood": 1, "standardize": False, **params}
    )


class ArrayMaps(BaseEstimator):
    """An extractor whose images are their own maps, beside the same maps averaged over blocks of four locations."""

    def __init__(self, on_bad_image="raise"):
        self.on_bad_image = on_bad_image

    def fit(self, X, y=None):
        self.levels_, self.image_size_ = [1, 2], (16, 16)
        return self

    def iter_maps(self, X, rows=None):
        rows = np.arange(len(X)) if rows is None else rows
        for start in range(0, len(rows), 5):
            maps = X[rows[start : start + 5]]
            n, height, width, channels = maps.shape
            coarse = maps.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
            yield rows[start : start + 5], [maps, coarse]


class MadeMaps(ArrayMaps):
    """An extractor whose images are seeds of maps of 48 channels, which nobody holds."""

    def iter_maps(self, X, rows=None):
        for row in np.arange(len(X)) if rows is None else rows:
            one = np.random.default_rng(int(X[row])).normal(size=(1, 14, 14, 48)).astype(np.float32)
            for _, maps in super().iter_maps(one):
                yield np.array([row]), maps


@pytest.fixture
def maps():
    """Correlated maps of 40 images, whose variance and mean differ from place to place."""
    rng = np.random.default_rng(0)
    mixed = rng.standard_t(8, size=(40, 4, 6, 5)) @ rng.normal(size=(5, 5))
    return (mixed * rng.uniform(0.5, 2, size=(4, 6, 1)) + rng.normal(size=(4, 6, 5))).astype(np.float32)


def square_maps(n=30, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(n, 4, 4, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.3], [0, 0, 0.2]])
    return (maps + rng.normal(size=(4, 4, 3))).astype(np.float32)


def sums_of(maps, kind, batch_size=7, pivot=None):
    sums = PlaceSums.begin(maps[:16] if pivot is None else pivot, kind)
    for start in range(0, len(maps), batch_size):
        sums.add(maps[start : start + batch_size])
    return sums


def mahalanobis(rows, mean, covariance):
    centred = rows.astype(np.float64) - mean
    return np.sqrt(np.einsum("ij,ij->i", centred @ np.linalg.inv(covariance), centred))


# Arithmetic


def test_global_is_ledoit_wolf_over_all_rows(maps):
    rows = maps.reshape(-1, 5)
    reference = LedoitWolf().fit(rows.astype(np.float64))
    gaussian = estimate_places(sums_of(maps, "global"))
    assert gaussian.shrinkage[0] == pytest.approx(reference.shrinkage_, rel=1e-9)
    expected = mahalanobis(rows, reference.location_, reference.covariance_)
    np.testing.assert_allclose(gaussian.distances(maps).ravel(), expected, rtol=1e-4)


def test_local_is_ledoit_wolf_at_each_place(maps):
    gaussian = estimate_places(sums_of(maps, "local"))
    distances = gaussian.distances(maps)
    for row, column in np.ndindex(4, 6):
        rows = maps[:, row, column].astype(np.float64)
        reference = LedoitWolf().fit(rows)
        assert gaussian.shrinkage.reshape(4, 6)[row, column] == pytest.approx(reference.shrinkage_, rel=1e-6)
        expected = mahalanobis(rows, reference.location_, reference.covariance_)
        np.testing.assert_allclose(distances[:, row, column], expected, rtol=1e-4)


@pytest.mark.parametrize(("n_images", "tolerance"), [(16, 1e-9), (40, 0.05)], ids=["one pivot", "approximated"])
def test_tied_is_ledoit_wolf_over_residuals(maps, n_images, tolerance):
    maps = maps[:n_images]
    mean = maps.mean(axis=0, dtype=np.float64)
    reference = LedoitWolf(assume_centered=True).fit((maps - mean).reshape(-1, 5))
    gaussian = estimate_places(sums_of(maps, "tied"))
    assert gaussian.shrinkage[0] == pytest.approx(reference.shrinkage_, rel=max(tolerance, 1e-5))
    expected = mahalanobis((maps - mean).reshape(-1, 5), 0, reference.covariance_)
    np.testing.assert_allclose(gaussian.distances(maps).ravel(), expected, rtol=max(tolerance / 10, 1e-4))


@pytest.mark.parametrize("kind", KINDS)
def test_sums_do_not_depend_on_batches(maps, kind):
    for name in ("total", "squares", "cubic", "quartic", "scatter"):
        by_one, together = (getattr(sums_of(maps, kind, size), name) for size in (1, 40))
        np.testing.assert_allclose(by_one, together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_taken_away_images_leave_no_trace(maps, kind):
    whole, part = sums_of(maps, kind), sums_of(maps[30:], kind, pivot=maps[:16])
    left = estimate_places(whole.remove(part)).distances(maps)
    np.testing.assert_allclose(left, estimate_places(sums_of(maps[:30], kind)).distances(maps), rtol=1e-5)


@pytest.mark.parametrize("n_components", [0.3, 2, 1.0])
def test_least_variance_is_that_of_npca(maps, n_components):
    rows = maps.reshape(-1, 5).astype(np.float64)
    projected = NPCA(n_components).fit_transform(rows)
    reference = OAS().fit(projected)
    gaussian = estimate_places(sums_of(maps, "global"), n_components)
    assert gaussian.n_kept[0] == projected.shape[1]
    assert gaussian.shrinkage[0] == pytest.approx(reference.shrinkage_, rel=1e-6)
    expected = mahalanobis(projected, reference.location_, reference.covariance_)
    np.testing.assert_allclose(gaussian.distances(maps).ravel(), expected, rtol=1e-4)


def test_places_keep_their_own_number_of_components(maps):
    maps *= np.random.default_rng(1).uniform(0.02, 2, size=(4, 6, 5)).astype(np.float32)
    gaussian = estimate_places(sums_of(maps, "local"), 0.3)
    for place, (row, column) in enumerate(np.ndindex(4, 6)):
        assert gaussian.n_kept[place] == NPCA(0.3).fit(maps[:, row, column].astype(np.float64)).n_components_[0]
    assert len(set(gaussian.n_kept)) > 1


def test_a_place_that_does_not_vary_takes_the_shared_covariance(maps):
    maps[:, 1, 2] = 3.0
    sums = sums_of(maps, "local")
    still = maps.copy()
    still[:, 1, 2] += 0.5
    expected = estimate_places(sums_of(maps, "tied")).distances(still)[:, 1, 2]
    np.testing.assert_allclose(estimate_places(sums).distances(still)[:, 1, 2], expected, rtol=0.01)


def test_pivots_of_few_images_do_not_undo_the_shrinkage():
    """Channels that are active at few places, as behind a ReLU: the hardest case for the tied approximation."""
    rng = np.random.default_rng(0)
    maps = np.zeros((60, 6, 4, 24), np.float32)
    for place in range(24):
        active = rng.choice(24, 2, replace=False)
        maps[:, place // 4, place % 4, active] = rng.exponential(size=(60, 2))
    residuals = (maps - maps.mean(axis=0, dtype=np.float64)).reshape(-1, 24)
    exact = LedoitWolf(assume_centered=True).fit(residuals).shrinkage_
    assert estimate_places(sums_of(maps, "tied")).shrinkage[0] == pytest.approx(exact, rel=0.1)
    for n_pivot in (1, 2, 4):
        assert estimate_places(sums_of(maps, "tied", pivot=maps[:n_pivot])).shrinkage[0] > 0


def test_places_of_two_values_take_the_shared_covariance(maps):
    two = maps[np.arange(12) % 2]
    gaussian = estimate_places(sums_of(two, "local"))
    np.testing.assert_allclose(gaussian.distances(two), estimate_places(sums_of(two, "tied")).distances(two), rtol=1e-4)
    mixed = maps.copy()
    mixed[:, 0, 0] = maps[np.arange(40) % 2, 0, 0]  # one place only
    assert np.isfinite(estimate_places(sums_of(mixed, "local")).distances(maps)).all()


@pytest.mark.parametrize("lowest", [1e-3, 1e-5])
def test_float32_is_left_where_it_would_show(lowest):
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.normal(size=(8, 8)))[0] * np.geomspace(1, lowest, 8)
    maps = (rng.normal(size=(50, 6, 6, 8)) @ mixing.T).astype(np.float32)
    rows = maps.reshape(-1, 8).astype(np.float64)
    projected = NPCA(2).fit_transform(rows)
    reference = OAS().fit(projected)
    expected = mahalanobis(projected, reference.location_, reference.covariance_)
    distances = estimate_places(sums_of(maps, "global"), 2).distances(maps).ravel()
    np.testing.assert_allclose(distances, expected, rtol=2e-3)


def test_what_was_taken_away_leaves_no_directions(maps):
    few = maps[:, :1, :1].repeat(2, axis=3)  # ten channels of rank five
    far = few.copy()
    far[:16] *= 1000
    left = sums_of(far, "local").remove(sums_of(far[:16], "local", pivot=far[:16]))
    assert estimate_places(left, 1.0).n_kept[0] == estimate_places(sums_of(few[16:], "local"), 1.0).n_kept[0] == 5


def test_maps_that_are_not_finite_are_refused(maps):
    maps[3, 1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        estimate_places(sums_of(maps, "local"))


@pytest.mark.parametrize("kind", KINDS)
def test_features_far_from_zero_are_measured_in_float64(maps, kind):
    far = maps + np.float32(1e5)
    exact = far.astype(np.float64) - 1e5
    expected = estimate_places(sums_of(exact.astype(np.float32), kind)).distances(exact.astype(np.float32))
    np.testing.assert_allclose(estimate_places(sums_of(far, kind)).distances(far), expected, rtol=1e-3)


@pytest.mark.parametrize(("shape", "size"), [((3, 5), 16), ((7, 7), 7), ((1, 1), 4), ((8, 8), 60)])
def test_upsampling_is_torchs(shape, size):
    maps = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], size=(size, size), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsample(maps, size, size), expected[:, 0].numpy(), atol=1e-5)


def test_aggregates():
    maps = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(aggregate(maps, "max", 0.1), [one.max() for one in maps])
    np.testing.assert_allclose(aggregate(maps, "mean", 0.1), [one.mean(dtype=float) for one in maps])
    np.testing.assert_allclose(aggregate(maps, "top", 0.1), [np.sort(one.ravel())[-2:].mean() for one in maps])
    np.testing.assert_array_equal(aggregate(maps, "top", 0.001), aggregate(maps, "max", 0.1))


@pytest.mark.parametrize("share", [0.013, 0.5, 0.99])
def test_the_largest_pixels_are_those_of_a_sort(share):
    pixels = np.random.default_rng(0).integers(0, 500, size=(10, 30)).astype(np.float32)
    largest = LargestPixels(300, share)
    for part in pixels:
        largest.add(part.reshape(2, 3, 5))
    np.testing.assert_array_equal(largest.peaks(), np.sort(pixels.reshape(20, 15).max(axis=1)))
    threshold = largest.threshold()
    assert threshold == np.sort(pixels.ravel())[::-1][int(300 * share) - 1]
    assert (pixels > threshold).mean() <= share


# The detectors


@pytest.mark.parametrize("how", ["max", "mean", "top"])
def test_a_score_is_the_mean_over_levels_of_the_aggregated_distances(how):
    X = square_maps()
    detector = papers_detector(ArrayMaps(), aggregate=how, top_share=0.25).fit(X)
    _, (fine, coarse) = next(ArrayMaps().fit(X).iter_maps(X, np.arange(3)))
    parts = []
    for level, all_rows in ((fine, X), (coarse, X.reshape(30, 2, 2, 2, 2, 3).mean(axis=(2, 4)))):
        distances = estimate_places(sums_of(all_rows, "tied")).distances(level)
        parts.append(aggregate(distances, how, 0.25))
    np.testing.assert_allclose(detector.score_samples(X[:3]), -np.mean(parts, axis=0), rtol=1e-5)


def test_a_map_is_the_mean_of_upsampled_levels_and_nothing_else():
    X = square_maps()
    detector = papers_detector(ArrayMaps()).fit(X)
    drawn = detector.score_maps(X[:4])
    levels = detector._find_measure()(next(ArrayMaps().fit(X).iter_maps(X, np.arange(4)))[1])
    np.testing.assert_allclose(drawn, (upsample(levels[0], 16, 16) + upsample(levels[1], 16, 16)) / 2, rtol=1e-6)
    assert drawn.shape == (4, 16, 16)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(detector.score_maps(X[2:3])[0], drawn[2], rtol=1e-6)  # no image is scaled by itself
    worse = detector.score_maps(10 * X[:1])
    assert worse.max() > 5 * drawn[0].max()  # nor clamped


def test_smoothing_changes_maps_and_not_scores():
    X = square_maps()
    plain, smooth = (papers_detector(ArrayMaps(), smoothing=sigma).fit(X) for sigma in (0, 2))
    np.testing.assert_array_equal(plain.score_samples(X), smooth.score_samples(X))
    assert smooth.score_maps(X).std() < plain.score_maps(X).std()
    np.testing.assert_allclose(smooth.score_maps(X).mean(), plain.score_maps(X).mean(), rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_is_a_fit_on_all(kind):
    X = square_maps()
    whole = papers_detector(ArrayMaps(), gaussian=kind).fit(X)
    stream = papers_detector(ArrayMaps(), gaussian=kind)
    for start in range(0, 30, 10):
        stream.partial_fit(X[start : start + 10])
    assert stream.n_samples_seen_ == 30
    np.testing.assert_allclose(stream.score_samples(X), whole.score_samples(X), rtol=1e-3)
    assert stream.offset_ == pytest.approx(whole.offset_)


def test_one_image_begins_a_stream_and_scores_nothing():
    X = square_maps()
    stream = papers_detector(ArrayMaps()).partial_fit(X[:1])
    with pytest.raises(ValueError, match="at least two normal images"):
        stream.score_samples(X)
    with pytest.raises(ValueError, match="at least two normal images"):
        papers_detector(ArrayMaps()).fit(X[:1])
    assert np.isfinite(stream.partial_fit(X[1:]).score_samples(X)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_folds", [3, 30])
def test_scores_out_of_fold_are_those_of_refits(kind, n_folds):
    X = square_maps()
    fold = np.arange(30) % n_folds
    detector = papers_detector(ArrayMaps(), gaussian=kind)
    out_of_fold, in_sample = clone(detector).fit_score_out_of_fold(X, fold)
    fitted = clone(detector).fit(X)
    np.testing.assert_allclose(in_sample, fitted.score_samples(X), rtol=1e-4)
    expected, pixels = np.empty(30), np.empty((30, 16, 16), np.float32)
    for number in range(n_folds):
        others = clone(detector).fit(X[fold != number])
        expected[fold == number] = others.score_samples(X[fold == number])
        pixels[fold == number] = others.score_maps(X[fold == number])
    np.testing.assert_allclose(out_of_fold, expected, rtol=3e-3)
    both = clone(detector)
    both.fit_score_out_of_fold(X, fold)
    assert both.pixel_threshold_ == pytest.approx(np.sort(pixels.ravel())[::-1][int(0.01 * pixels.size) - 1], rel=3e-3)
    np.testing.assert_allclose(both.map_peaks_, np.sort(pixels.max(axis=(1, 2))), rtol=3e-3)


@pytest.mark.parametrize("cv", [3, "loo", KFold(4, shuffle=True, random_state=0)], ids=["3", "loo", "shuffled"])
def test_calibration_takes_two_passes_whatever_the_folds(photographs, cv, monkeypatch):
    images = np.concatenate([photographs, 255 - photographs])
    seen, forward = [], _network.Network._forward

    def count(self, batch, *args):
        seen.append(len(batch))
        return forward(self, batch, *args)

    monkeypatch.setattr(_network.Network, "_forward", count)
    features = DeepFeatureTransformer(LITE0, levels=[4, 5], image_size=64)
    line = FPRThresholdCV(SpatialMahalanobisDetector(features, pixel_fpr=0.02), fpr=0.2, cv=cv).fit(images)
    assert sum(seen) == 2 * len(images)
    assert (line.out_of_fold_scores_ < line.offset_).sum() <= 0.2 * 17
    assert line.inflation_ > 1
    masks = line.predict_masks(images)
    np.testing.assert_array_equal(masks, line.score_maps(images) > line.estimator_.pixel_threshold_)
    assert masks.mean() < 0.02  # these images were learnt


def test_pixels_are_calibrated_on_images_that_were_not_learnt():
    X, new = square_maps(), square_maps(50, seed=3)
    detector = papers_detector(ArrayMaps(), pixel_fpr=0.05).fit(X)
    assert detector.calibrate_pixels(new) is detector
    assert 0.045 < detector.predict_masks(new).mean() <= 0.05
    assert not hasattr(detector.partial_fit(new), "pixel_threshold_")  # it was another detector's
    assert not hasattr(detector, "map_peaks_")


def test_a_map_holds_its_pixels_against_the_largest_of_each_normal_map():
    detector = papers_detector(ArrayMaps()).fit(square_maps()).calibrate_pixels(square_maps(120, seed=3))
    new = square_maps(4, seed=4)
    maps, p = detector.score_maps(new), detector.p_value_maps(new)
    peaks = detector.score_maps(square_maps(120, seed=3)).max(axis=(1, 2))
    expected = (1 + (peaks >= maps[..., np.newaxis]).sum(axis=-1)) / 121
    np.testing.assert_allclose(p, expected, rtol=1e-6)


def test_a_normal_map_is_called_anywhere_as_rarely_as_the_theorem_says():
    X = square_maps(1129, seed=3)
    detector = papers_detector(ArrayMaps()).fit(X[:30]).calibrate_pixels(X[30:129])
    called = (detector.p_value_maps(X[129:]) <= 0.1 + 1e-6).any(axis=(1, 2)).mean()
    low, high = stats.beta.ppf([0.001, 0.999], 10, 90)
    assert low < called < high


def test_few_images_tell_no_small_p_values_and_none_none():
    detector = papers_detector(ArrayMaps()).fit(square_maps())
    with pytest.raises(NotFittedError, match="call p_value_maps of that; or calibrate_pixels"):
        detector.p_value_maps(square_maps(2))
    with pytest.warns(WorkingPointWarning, match="20 normal images are known: no p-value is below 1/21"):
        detector.calibrate_pixels(square_maps(20, seed=3)).p_value_maps(square_maps(2))


def test_parameters_of_what_was_learnt_stay_with_it():
    X = square_maps()
    detector = papers_detector(ArrayMaps()).fit(X)
    scores = detector.score_samples(X)
    detector.set_params(n_components=1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(X), scores)
    with pytest.raises(
        ValueError, match="gaussian='tied', n_components=None, neighborhood=1, shared=False, which were changed"
    ):
        detector.partial_fit(X)


@pytest.mark.parametrize("kind", KINDS)
def test_a_neighborhood_is_that_of_averaged_maps(kind):
    class AveragedMaps(ArrayMaps):
        def iter_maps(self, X, rows=None):
            for positions, maps in super().iter_maps(X, rows):
                yield positions, [average_by_hand(level) for level in maps]

    X, new = square_maps(), square_maps(5, seed=1)
    expected = papers_detector(AveragedMaps(), gaussian=kind).fit(X)
    detector = papers_detector(ArrayMaps(), gaussian=kind, neighborhood=3).partial_fit(X[:20])
    detector.partial_fit(X[20:])
    np.testing.assert_allclose(detector.score_samples(new), expected.score_samples(new), rtol=1e-3)
    np.testing.assert_allclose(detector.score_maps(new), expected.score_maps(new), rtol=1e-3)
    both = [one.fit_score_out_of_fold(X, np.arange(30) % 3) for one in (detector, expected)]
    np.testing.assert_allclose(*both, rtol=1e-3)
    detector.set_params(neighborhood=1)
    with pytest.raises(ValueError, match="neighborhood=3, shared=False, which were changed"):
        detector.partial_fit(X)


def average_by_hand(level):
    """Each location averaged with its eight neighbours, where beyond the border there is nothing but zeros."""
    padded = np.pad(level, ((0, 0), (1, 1), (1, 1), (0, 0)))
    averaged = np.empty_like(level)
    for row, column in np.ndindex(level.shape[1:3]):
        averaged[:, row, column] = padded[:, row : row + 3, column : column + 3].sum(axis=(1, 2)) / 9
    return averaged


def test_a_stream_that_has_begun_can_be_shown():
    stream = papers_detector(ArrayMaps()).partial_fit(square_maps()[:1])
    assert not hasattr(stream, "offset_")
    assert "SpatialMahalanobisDetector" in stream._repr_html_()


def test_an_error_leaves_the_users_threads_alone(monkeypatch):
    X = square_maps()
    detector = papers_detector(ArrayMaps())
    monkeypatch.setattr(SpatialMahalanobisDetector, "_draw", lambda *_: 1 / 0)
    find_pools = lambda: [pool["num_threads"] for pool in threadpool_info()]  # noqa: E731
    before = find_pools()
    with pytest.raises(ZeroDivisionError) as caught:
        detector.fit_score_out_of_fold(X, np.arange(30) % 3)
    assert caught.value is not None  # it holds the frames
    assert find_pools() == before


def test_a_stream_begins_as_well_with_single_images():
    X = square_maps()
    stream = papers_detector(ArrayMaps())
    for start in range(30):
        stream.partial_fit(X[start : start + 1])
    whole = papers_detector(ArrayMaps()).fit(X)
    np.testing.assert_allclose(stream.score_samples(X), whole.score_samples(X), rtol=1e-5)
    assert stream._first == []


def test_a_stream_refuses_another_network(photographs, tmp_path):
    states = [_network.load_network(find_source(LITE0), "cpu")._model.state_dict() for _ in range(2)]
    torch.save(states[0], tmp_path / "weights.pth")
    features = DeepFeatureTransformer(LITE0, levels=[4], image_size=64, weights=str(tmp_path / "weights.pth"))
    detector = papers_detector(features).fit(photographs)
    torch.save({name: 1.1 * value for name, value in copy.deepcopy(states[1]).items()}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError):
        detector.partial_fit(photographs)
    assert detector.n_samples_seen_ == 8


def test_masks_want_a_calibrated_threshold():
    X = square_maps()
    detector = papers_detector(ArrayMaps())
    detector.fit_score_out_of_fold(X, np.arange(30) % 3)
    assert detector.predict_masks(X).shape == (30, 16, 16)
    with pytest.raises(NotFittedError, match="FPRThresholdCV"):
        detector.fit(X).predict_masks(X)


def test_what_makes_no_maps_has_none():
    from skgad import MahalanobisDetector

    assert not hasattr(FPRThresholdCV(MahalanobisDetector()), "score_maps")
    assert hasattr(FPRThresholdCV(papers_detector(ArrayMaps())), "score_maps")


def test_a_state_that_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
    X = square_maps()
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=30_000))
    papers_detector(ArrayMaps(), gaussian="global").fit(X)
    monkeypatch.setattr(PlaceSums, "begin", lambda *_: pytest.fail("allocated"))
    detector = papers_detector(ArrayMaps(), gaussian="local")
    message = r"takes 0\.0\d+ MB.*0\.03 MB are free.*level 1: 4 x 4 locations of 3 channels"
    with pytest.raises(ValueError, match=message):
        detector.fit(X)
    assert not hasattr(detector, "features_")


@pytest.mark.parametrize("n_folds", [1, 2, 8, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_below_what_was_worked_out(kind, n_folds):
    X = [str(image) for image in range(80)]
    detector = papers_detector(MadeMaps(), gaussian=kind)
    estimated = sum(count_bytes(kind, shape, 48, n_folds if n_folds <= 32 else 1) for shape in ((14, 14), (7, 7)))
    tracemalloc.start()
    if n_folds == 1:
        detector.fit(X)
    else:
        detector.fit_score_out_of_fold(X, np.arange(80) % n_folds)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * estimated
    assert estimated < 4 * peak


def test_folds_without_room_for_their_sums_are_worked_out_anew(monkeypatch):
    X = square_maps()
    detector = papers_detector(ArrayMaps(), gaussian="local")
    expected, _ = clone(detector).fit_score_out_of_fold(X, np.arange(30) % 5)
    room = sum(count_bytes("local", shape, 3, 1) for shape in ((4, 4), (2, 2)))
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=room))
    out_of_fold, _ = clone(detector).fit_score_out_of_fold(X, np.arange(30) % 5)
    np.testing.assert_allclose(out_of_fold, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gaussian": "full"}, "gaussian must be one of 'tied', 'local', 'global'"),
        ({"aggregate": "sum"}, "aggregate must be one of"),
        ({"n_components": 0}, "n_components must be"),
        ({"n_components": 4}, "Level 1: .*only 3 components"),
        ({"smoothing": -1}, "smoothing must be"),
        ({"neighborhood": 0}, "neighborhood must be a positive int"),
        ({"neighborhood": 2}, "neighborhood must be odd"),
        ({"top_share": 0.0}, r"top_share must be a share in \(0, 1\]"),
        ({"pixel_fpr": 1}, r"pixel_fpr must be a share in \(0, 1\)"),
        ({"fpr": 5}, r"fpr must lie in \(0, 1\)"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        papers_detector(ArrayMaps(), **params).fit(square_maps())


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_all_the_same_are_refused(kind):
    X = np.repeat(square_maps(1), 5, axis=0) * 0 + 1
    with pytest.raises(ValueError, match="level 1 is singular over 5 normal images"):
        papers_detector(ArrayMaps(), gaussian=kind).fit(X)


def lift(distances, unseen):
    """Return distances on the scale of their level, by definition."""
    mean, deviation = unseen.mean(axis=0), unseen.std(axis=0)
    level_deviation = np.sqrt(np.square(deviation).mean())
    return np.maximum(mean.mean() + level_deviation * (distances - mean) / deviation, 0)


def measure(detector, X):
    """Return the distance maps of both levels."""
    measured = [detector._find_measure()(maps) for _, maps in ArrayMaps().iter_maps(X)]
    return [np.concatenate(level) for level in zip(*measured, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_images", [30, 4])
def test_distances_are_brought_to_the_scale_of_their_level_by_images_left_out(kind, n_images):
    X, new = square_maps(n_images), square_maps(5, seed=1)
    X[:, :2] *= 5  # at some places images vary more, and their tied distances with them
    detector = papers_detector(ArrayMaps(), gaussian=kind, standardize=True).fit(X)
    plain = papers_detector(ArrayMaps(), gaussian=kind)
    fold = np.arange(n_images) % 5
    unseen = [np.empty((n_images, side, side)) for side in SIDES]
    for number in range(5 if n_images > 5 else n_images):
        others = clone(plain).fit(X[fold != number])
        for level, distances in zip(unseen, measure(others, X[fold == number]), strict=True):
            level[fold == number] = distances
    expected = [lift(*pair) for pair in zip(measure(plain.fit(X), new), unseen, strict=True)]
    rtol = 2e-2 if (kind, n_images) == ("tied", 4) else 3e-3  # a term of its intensity depends on the pivot
    scores = -np.mean([level.max(axis=(1, 2)) for level in expected], axis=0)
    np.testing.assert_allclose(detector.score_samples(new), scores, rtol=rtol)
    upsampled = np.mean([upsample(level.astype(np.float32), 16, 16) for level in expected], axis=0)
    np.testing.assert_allclose(detector.score_maps(new), upsampled, rtol=5 * rtol)


@pytest.mark.parametrize("n_folds", [3, 40])  # with more than 32 folds, what a fold has learnt is worked out anew
def test_out_of_fold_each_image_is_brought_to_scale_by_others(n_folds):
    X = square_maps(40)
    fold = np.arange(40) % n_folds
    detector = papers_detector(ArrayMaps(), standardize=True)
    scores, in_sample = detector.fit_score_out_of_fold(X, fold)
    plain, unseen = papers_detector(ArrayMaps()), [np.empty((40, side, side)) for side in SIDES]
    for number in range(n_folds):
        for level, distances in zip(
            unseen, measure(clone(plain).fit(X[fold != number]), X[fold == number]), strict=True
        ):
            level[fold == number] = distances
    for number in range(n_folds):
        mine = fold == number
        lifted = [lift(level[mine], level[~mine]) for level in unseen]
        np.testing.assert_allclose(
            scores[mine], -np.mean([level.max(axis=(1, 2)) for level in lifted], axis=0), rtol=3e-3
        )
    np.testing.assert_allclose(in_sample, detector.score_samples(X), rtol=1e-5)
    expected = [lift(level, left_out) for level, left_out in zip(measure(plain.fit(X), X), unseen, strict=True)]
    np.testing.assert_allclose(in_sample, -np.mean([level.max(axis=(1, 2)) for level in expected], axis=0), rtol=3e-3)


def test_a_place_where_nothing_varies_does_not_shout():
    unseen = DistanceSums()
    distances = np.random.default_rng(0).normal(10, 1, size=(50, 4, 4)).astype(np.float32)
    distances[:, 0, 0] = 1.0
    unseen.add([distances])
    (standard,) = unseen.standards()
    odd = np.full((1, 4, 4), 1.1, np.float32)
    assert standard(odd)[0, 0, 0] < distances.mean() + 1.1 * 0.1 * 10 * distances.std()
    same = DistanceSums()
    same.add([np.ones((5, 4, 4), np.float32)])
    np.testing.assert_array_equal(same.standards()[0](odd), odd)


def test_streams_and_pairs_of_images_are_not_standardized():
    X = square_maps()
    detector = SpatialMahalanobisDetector(ArrayMaps())
    with pytest.raises(ValueError, match=r"partial_fit cannot standardize .*standardize=False"):
        detector.partial_fit(X)
    detector.fit(X)
    with pytest.raises(ValueError, match="partial_fit cannot standardize distances"):
        detector.set_params(standardize=False).partial_fit(X)
    with pytest.raises(ValueError, match=r"n_samples = 2 .* too few .*standardize=False"):
        SpatialMahalanobisDetector(ArrayMaps()).fit(X[:2])


def test_by_default_the_levels_at_an_eighth_and_a_sixteenth_are_taken():
    assert SpatialMahalanobisDetector()._make_default_features().levels == [4, 5, 6]
    assert PatchNeighborsDetector()._make_default_features().levels == [4, 6]


def test_features_must_make_maps():
    with pytest.raises(TypeError, match="features must be a DeepFeatureTransformer"):
        SpatialMahalanobisDetector(NPCA()).fit(square_maps())


def test_anomalous_images_are_left_out():
    X = square_maps()
    y = np.where(np.arange(30) % 5 == 0, -1, 1)
    labelled = papers_detector(ArrayMaps()).fit(np.where(y[:, None, None, None] == -1, 100 * X, X), y)
    np.testing.assert_allclose(
        labelled.score_samples(X), papers_detector(ArrayMaps()).fit(X[y == 1]).score_samples(X), rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learnt_can_be_read(kind):
    X = square_maps()
    detector = papers_detector(ArrayMaps(), gaussian=kind).fit(X)
    axes = (0, 1, 2) if kind == "global" else 0
    np.testing.assert_allclose(detector.location_[0], X.mean(axis=axes, dtype=float), atol=1e-5)
    shrinkage, kept = detector.shrinkage_[0], detector.n_components_[0]
    assert np.shape(shrinkage) == np.shape(kept) == ((4, 4) if kind == "local" else ())
    assert np.all(kept == 3)


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_the_sums_once_and_give_the_same_scores(kind, tmp_path):
    X = square_maps()
    detector = papers_detector(ArrayMaps(), gaussian=kind).fit(X)
    joblib.dump(detector, tmp_path / "detector.joblib")
    loaded = joblib.load(tmp_path / "detector.joblib")
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))
    np.testing.assert_array_equal(loaded.partial_fit(X).score_samples(X), detector.partial_fit(X).score_samples(X))


# Maps of real networks


def test_pooled_features_are_means_of_maps(photographs):
    extractor = DeepFeatureTransformer(LITE0, levels=[2, 7], batch_size=3)
    pooled = extractor.fit_transform(photographs).to_numpy()
    for rows, (fine, coarse) in extractor.iter_maps(photographs, rows=[5, 0, 7, 1]):
        means = np.hstack([fine.mean(axis=(1, 2)), coarse.mean(axis=(1, 2))])
        np.testing.assert_allclose(means, pooled[rows], rtol=1e-4, atol=1e-5)
        assert fine.shape[1:3] == (112, 112)
        assert fine.flags.c_contiguous


@pytest.mark.parametrize(
    ("rows", "message"), [([8], "must lie in 0..7"), ([-1], "must lie in 0..7"), ([0.5], "positions of images")]
)
def test_rows_that_are_none_are_refused(photographs, rows, message):
    with pytest.raises(ValueError, match=message):
        next(DeepFeatureTransformer(LITE0, levels=[4], image_size=64).iter_maps(photographs, rows))


def test_a_mask_says_which_images(photographs):
    extractor = DeepFeatureTransformer(LITE0, levels=[4], image_size=64)
    rows, _ = next(extractor.iter_maps(photographs, np.arange(8) % 3 == 0))
    np.testing.assert_array_equal(rows, [0, 3, 6])


def test_tokens_of_patches_lie_in_rows(photographs):
    extractor = DeepFeatureTransformer("deit_tiny_distilled_patch16_224", levels=[3], weights=None, image_size=96)
    with pytest.warns(UserWarning, match="random"):
        extractor.fit(photographs)
    with pytest.warns(UserWarning, match="random"):
        (_, (maps,)) = next(extractor.iter_maps(photographs))
    assert maps.shape == (8, 6, 6, 192)
    caught = []
    model = _network.load_network(find_source(extractor.backbone, None), "cpu")._model
    handle = model.blocks[2].register_forward_hook(lambda _module, _inputs, out: caught.append(out.numpy().copy()))
    with pytest.warns(UserWarning, match="random"):
        next(extractor.iter_maps(photographs))
    handle.remove()
    np.testing.assert_array_equal(maps[:, 1, 4], caught[0][:, 2 + 6 + 4])  # two tokens stand in front


def test_levels_without_places_are_refused(photographs):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 8, stride=8)
            self.flat = torch.nn.Flatten()

        def forward(self, x):
            return self.flat(self.conv(x))

    backbone = Backbone(Net(), levels=["conv", "flat"], image_size=32)
    extractor = DeepFeatureTransformer(backbone).fit(photographs)
    with pytest.raises(BackboneError, match=r"Levels \[2\] of Net are vectors"):
        next(extractor.iter_maps(photographs))
    assert next(extractor.set_params(levels=[1]).fit(photographs).iter_maps(photographs))[1][0].shape == (8, 4, 4, 4)


def test_later_modules_may_change_a_level_in_place(photographs):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.last = torch.nn.Conv2d(3, 4, 8, stride=8), torch.nn.ReLU(), torch.nn.Identity()

        def forward(self, x):
            return self.last(torch.relu_(self.conv(x)))

    extractor = DeepFeatureTransformer(Backbone(Net(), levels=["conv", "last"], image_size=32)).fit(photographs)
    _, (before, after) = next(extractor.iter_maps(photographs))
    assert before.min() < 0 == after.min()


def test_an_image_that_cannot_be_used_has_no_score_and_no_label(photographs, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path, image in zip(paths, photographs, strict=True):
        Image.fromarray(image).save(path)
    features = DeepFeatureTransformer(LITE0, levels=[5], image_size=64, on_bad_image="nan", batch_size=2)
    detector = SpatialMahalanobisDetector(features).fit(paths)
    whole = detector.score_samples(paths)
    paths[3].write_text("no image")
    with pytest.warns(ImageWarning, match=r"3\.png"):
        scores = detector.score_samples(paths)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), [3])
    np.testing.assert_allclose(np.delete(scores, 3), np.delete(whole, 3), rtol=1e-4)
    with pytest.warns(ImageWarning), pytest.raises(ValueError, match="Images 3 have no score"):
        detector.predict(paths)
    with pytest.raises(ImageError, match=r"3\.png"):
        clone(detector).fit(paths)


def test_a_scratch_is_found_where_it_is(cells):
    images = np.stack([np.asarray(Image.open(path).convert("L").resize((128, 128))) for path in cells[0][:40]])
    features = DeepFeatureTransformer(LITE0, levels=[3, 4, 5], image_size=128)
    for detector in (
        SpatialMahalanobisDetector(features),
        SpatialMahalanobisDetector(features, gaussian="global"),
        PatchNeighborsDetector(features, coreset=0.05),
    ):
        detector.fit(images[:39])
        scratched = images[39:].copy()
        scratched[0, 70:74, 20:60] = 255
        change = detector.score_maps(scratched)[0] - detector.score_maps(images[39:])[0]
        row, column = np.unravel_index(change.argmax(), change.shape)
        assert 60 <= row < 84
        assert 12 <= column < 68
