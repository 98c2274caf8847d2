"""Regions of interest: what they leave out is neither learnt nor scored, nor does it change what is."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from skgad import DeepFeatureTransformer, FPRThresholdCV
from skgad._gaussian._place_gaussians import estimate_places
from skgad._gaussian._places import PlaceSums
from skgad.deep import FineTuner, MaskedImage
from skgad.exceptions import BackboneError, ImageError, ImageWarning, WeightsError, WeightsWarning
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector, SpatialSubspaceDetector
from skgad.spatial._maps import LargestPixels

from .conftest import LITE0

ROI = np.zeros((64, 96), dtype=bool)
ROI[:48, 10:70] = True


def net(**options):
    return DeepFeatureTransformer(LITE0, **{"levels": [4, 6], "image_size": 64, **options})


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(80, 140, size=(24, 64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def disturbed(images):
    """The same images, with other things outside of the region of interest."""
    others = images.copy()
    others[:, ~ROI] = np.random.default_rng(1).integers(0, 256, size=(24, (~ROI).sum(), 3))
    return others


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pool": "max"},
        {"grid": 2},
        {"image_size": (64, 96)},
        {"image_size": None, "tiles": (64, 0)},
        {"resize": "timm"},
    ],
)
def test_features_do_not_depend_on_what_is_ignored(images, disturbed, options):
    features = net(roi=ROI, **options).fit(images[:4])
    np.testing.assert_array_equal(features.transform(disturbed[:4]), features.transform(images[:4]))
    assert np.isfinite(features.transform(images[:4])).all(axis=None)


@pytest.mark.parametrize(
    "detector",
    [
        SpatialMahalanobisDetector(),
        SpatialMahalanobisDetector(gaussian="tied", n_components=5, standardize=False),
        SpatialMahalanobisDetector(gaussian="global"),
        PatchNeighborsDetector(coreset=0.1),
    ],
    ids=["local", "tied", "global", "patches"],
)
@pytest.mark.parametrize("options", [{}, {"image_size": None, "tiles": (64, 0)}], ids=["whole", "tiles"])
def test_maps_and_scores_do_not_depend_on_what_is_ignored(images, disturbed, detector, options):
    detector = detector.set_params(features=net(roi=ROI, **options)).fit(images)
    scores, maps = detector.score_samples(images[:3]), detector.score_maps(images[:3])
    np.testing.assert_array_equal(detector.score_samples(disturbed[:3]), scores)
    np.testing.assert_array_equal(detector.score_maps(disturbed[:3]), maps)
    height, width = maps.shape[1:]
    ignored = np.asarray(Image.fromarray(~ROI).resize((width, height), Image.Resampling.NEAREST))
    assert (maps[:, ignored] == 0).mean() > 0.9
    assert (maps[:, ~ignored] > 0).mean() > 0.75  # of what is of interest to all levels


def test_a_mean_is_that_over_what_is_left(images):
    """By hand: the map of the painted image, weighted by the share of each location that is of interest."""
    features = net(levels=[4], roi=ROI, image_size=(64, 96)).fit(images[:1])
    painted = images[:1].copy()
    painted[:, ~ROI] = 127
    (_, (level,)), *_ = net(levels=[4], image_size=(64, 96)).iter_maps(painted)
    weights = ROI.reshape(8, 8, 12, 8).mean(axis=(1, 3))
    expected = (level[0] * weights[..., np.newaxis]).sum(axis=(0, 1)) / weights.sum()
    np.testing.assert_allclose(features.transform(images[:1]).to_numpy()[0], expected, rtol=1e-4, atol=1e-5)


def test_a_mask_of_an_image_counts_as_one_of_the_set(images):
    of_the_set = net(roi=ROI).fit_transform(images[:3])
    of_each = net().fit_transform([MaskedImage(image, ROI) for image in images[:3]])
    np.testing.assert_array_equal(of_each, of_the_set)
    of_the_first = net().fit_transform([MaskedImage(images[0], ROI), images[1]])
    np.testing.assert_allclose(of_the_first.iloc[0], of_the_set.iloc[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_the_first.iloc[1], net().fit_transform(images[1:2]).iloc[0], rtol=1e-4, atol=1e-4)


def test_masks_of_images_may_differ_and_intersect_that_of_the_set(images):
    left = np.zeros_like(ROI)
    left[:, :40] = True
    both = net(roi=ROI).fit(images[:1]).transform([MaskedImage(images[0], left)])
    np.testing.assert_allclose(both, net(roi=ROI & left).fit_transform(images[:1]), rtol=1e-4, atol=1e-4)
    rng = np.random.default_rng(2)
    masks = [rng.uniform(size=ROI.shape) < 2 for _ in images]
    for mask, row in zip(masks, rng.integers(0, 48, size=24), strict=True):
        mask[row : row + 16] = False
    masked = [MaskedImage(image, mask) for image, mask in zip(images, masks, strict=True)]
    detector = SpatialMahalanobisDetector(net()).fit(masked)
    assert np.isfinite(detector.score_samples(masked[:4])).all()
    found = detector.score_maps(masked[:1])[0]
    assert 0.1 < (found == 0).mean() < 0.5


def test_a_file_is_a_mask(images, tmp_path):
    Image.fromarray(255 * ROI.astype(np.uint8)).save(tmp_path / "roi.png")
    expected = net(roi=ROI).fit_transform(images[:2])
    np.testing.assert_array_equal(net(roi=tmp_path / "roi.png").fit_transform(images[:2]), expected)
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    of_files = net().fit_transform([MaskedImage(tmp_path / "0.png", str(tmp_path / "roi.png"))])
    np.testing.assert_allclose(
        of_files, expected[:1], rtol=1e-4, atol=1e-4
    )  # batches of one and of two round otherwise


def test_thresholds_count_the_pixels_of_interest():
    maps = np.random.default_rng(0).normal(size=(5, 20, 30)).astype(np.float32)
    maps[:, 11:] = np.nan
    largest = LargestPixels(maps.size, Fraction(1, 10))
    for one in maps:
        largest.add(one[np.newaxis])
    there = np.sort(maps[:, :11].ravel())
    assert largest.threshold() == there[-len(there) // 10]
    np.testing.assert_array_equal(largest.peaks(), np.sort(maps[:, :11].max(axis=(1, 2))))


def test_regions_lie_where_something_is_of_interest(images):
    inspector = FPRThresholdCV(SpatialMahalanobisDetector(net(roi=ROI)), fpr=0.1).fit(images)
    spoilt = images[:1].copy()
    spoilt[0, 50:64, 76:96] = 255  # outside
    assert not len(inspector.regions(spoilt)) or inspector.regions(spoilt)["peak"].max() < 20
    spoilt[0, 20:30, 30:40] = 255
    first = inspector.regions(spoilt).iloc[0]
    assert 25 < first["x"] < 45
    assert 15 < first["y"] < 35


def test_a_cache_knows_regions_from_others(images, tmp_path):
    plain, masked = net(cache=tmp_path / "c"), net(cache=tmp_path / "c", roi=ROI)
    first = plain.fit_transform(images[:2]), masked.fit_transform(images[:2])
    assert np.abs(first[0].to_numpy() - first[1].to_numpy()).max() > 0.01
    of_each = net(cache=tmp_path / "c").fit_transform([MaskedImage(image, ROI) for image in images[:2]])
    np.testing.assert_array_equal(of_each, first[1])
    np.testing.assert_array_equal(net(cache=tmp_path / "c").fit_transform(images[:2]), first[0])


def test_another_region_than_that_of_the_fit_is_refused(images):
    features = net(roi=ROI).fit(images[:1])
    with pytest.raises(WeightsError, match="Fitted with roi"):
        features.set_params(roi=~ROI).transform(images[:1])


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (np.ones((63, 96)), "64 x 96 pixels, and its region of interest 63 x 96"),
        (np.zeros((64, 96)), "nothing is left to learn"),
        (np.full((64, 96), 2), "booleans, or only 0 and 1"),
        (np.ones(5), "must have shape"),
        (np.ma.ones((64, 96)), "masked array"),
        ("nowhere.png", "no such file"),
    ],
)
def test_what_is_no_region_is_refused(images, roi, message):
    with pytest.raises((ValueError, ImageError), match=message):
        net(roi=roi).fit_transform(images[:1])
    with pytest.raises(ImageError, match="image 1.*(nothing is left|" + message + ")"):
        net().fit_transform([images[0], MaskedImage(images[1], roi)])


def test_a_bad_mask_of_one_image_gives_a_row_of_nan(images):
    masked = [MaskedImage(images[0], ROI), MaskedImage(images[1], ROI[:5])]
    with pytest.warns(ImageWarning, match="5 x 96"):
        found = net(on_bad_image="nan").fit_transform(masked)
    assert np.isnan(found).any(axis=1).tolist() == [False, True]


def test_a_mask_that_is_none_is_named_with_a_cache_as_well(images, tmp_path):
    masked = [MaskedImage(images[0], ROI), MaskedImage(images[1], np.full(ROI.shape, 7))]
    with pytest.raises(ImageError, match="image 1: roi must hold booleans"):
        net(cache=tmp_path / "c").fit_transform(masked)
    with pytest.warns(ImageWarning, match="image 1: roi must hold"):
        found = net(cache=tmp_path / "c", on_bad_image="nan").fit_transform(masked)
    assert np.isnan(found).any(axis=1).tolist() == [False, True]


def test_a_cell_without_anything_of_interest_is_refused(images):
    with pytest.raises(ImageError, match="image 0: nothing of cell g4r0c3 is of interest"):
        net(levels=[4], grid=4, roi=ROI).fit_transform(images[:1])


def test_tiles_without_anything_of_interest_are_left_out(images):
    small = np.zeros_like(ROI)
    small[:30, :30] = True
    features = net(roi=small, image_size=None, tiles=(32, 0)).fit(images[:1])
    assert features.find_tiling().cells == ["tr0c0"]
    assert features.transform(images[:1]).filter(regex="tr0c1").empty


def test_networks_without_locations_have_no_regions(images):
    features = DeepFeatureTransformer("test_vit", weights=None, roi=ROI, levels="all")
    with pytest.warns(WeightsWarning, match="random"):
        found = features.fit_transform(images[:1])  # tokens have places
    assert np.isfinite(found).all(axis=None)
    vectors = DeepFeatureTransformer("hiera_tiny_224", weights=None, roi=ROI, levels=[1])
    with pytest.warns(WeightsWarning, match="random"), pytest.raises(BackboneError, match="no region of interest"):
        vectors.fit_transform(images[:1])


def test_a_tuner_refuses_regions_and_other_engines(images):
    with pytest.raises(ValueError, match="whole images, and features has roi"):
        FineTuner(net(roi=ROI)).fit(images[:4])
    with pytest.raises(ValueError, match="whole images, and features has engine"):
        FineTuner(net(engine="openvino")).fit(images[:4])
    with pytest.raises(ImageError, match="image 0 has a region of interest"):
        FineTuner(net(), max_epochs=0, validation=None).fit([MaskedImage(image, ROI) for image in images[:4]])


@pytest.mark.parametrize("kind", ["tied", "local", "global"])
def test_sums_leave_out_what_is_not_there(kind):
    """Against sums of what is there, place by place."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(40, 2, 3, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=(2, 3, 4))
    maps = maps.astype(np.float32)
    there = rng.uniform(size=maps.shape[:3]) < 0.8
    there[:, 1, 2] = False
    holey = np.where(there[..., np.newaxis], maps, np.nan)
    sums = PlaceSums.begin(holey[:5], kind)
    sums.add(holey[:10])
    rest = sums.empty()
    rest.add(holey[10:])
    gaussian = estimate_places(sums.merge(rest))
    rows = [maps[:, r, c][there[:, r, c]].astype(float) for r in (0, 1) for c in (0, 1, 2)]
    if kind == "global":
        rows = [np.concatenate(rows)]
    means = [part.mean(axis=0) for part in rows if len(part)]
    np.testing.assert_allclose(sums.merge(rest).mean[: len(means)], means, rtol=1e-4, atol=1e-5)
    distances = gaussian.distances(holey[:3])
    np.testing.assert_array_equal(np.isnan(distances), ~there[:3])
    if kind == "tied":
        pooled = np.concatenate([part - mean for part, mean in zip(rows, means, strict=False)])
    centred = [part - mean for part, mean in zip(rows, means, strict=False)]
    sample = pooled if kind == "tied" else centred[0]
    covariance = sample.T @ sample / len(sample)
    shrinkage = np.ravel(gaussian.shrinkage)[0]
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 4 * np.eye(4)
    image = int(np.argmax(there[:3, 0, 0]))
    step = maps[image, 0, 0] - means[0]
    expected = np.sqrt(step @ np.linalg.solve(shrunk, step))
    np.testing.assert_allclose(distances[image, 0, 0], expected, rtol=1e-3)


@pytest.mark.parametrize(
    "detector", [SpatialMahalanobisDetector(), SpatialSubspaceDetector(), PatchNeighborsDetector()]
)
def test_a_region_smaller_than_a_location_leaves_nothing(images, detector):
    tiny = np.zeros_like(ROI)
    tiny[30:33, 30:33] = True
    with pytest.raises(ValueError, match="in the region of interest for the better part"):
        detector.set_params(features=net(roi=tiny)).fit(images[:4])


def test_what_no_normal_image_shows_has_no_score(images):
    left, right = np.zeros_like(ROI), np.zeros_like(ROI)
    left[:, :40], right[:, 60:] = True, True
    detector = SpatialMahalanobisDetector(net()).fit([MaskedImage(image, left) for image in images[:5]])
    assert np.isnan(detector.score_samples([MaskedImage(images[5], right)])).all()
    with pytest.raises(ValueError, match="no score"):
        detector.predict([MaskedImage(images[5], right)])
