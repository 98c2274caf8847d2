"""Regions, masks and boxes in the photograph's own pixels, for every rule of resizing."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.exceptions import NotFittedError

from skgad import DeepFeatureTransformer, FPRThresholdCV
from skgad._images._sequence import measure_image
from skgad.deep import MaskedImage
from skgad.exceptions import ImageError, WorkingPointWarning
from skgad.plotting import RegionsDisplay
from skgad.spatial import SpatialMahalanobisDetector, regions_to_coco
from skgad.spatial._found_regions import find_regions, lay_over

from .conftest import LITE0

RULES = {
    "bilinear": {"image_size": 128},
    "antialias": {"image_size": (96, 192), "resize": "antialias"},
    "timm": {"image_size": 128, "resize": "timm"},
    "tiles": {"tiles": (64, 32)},
    "resized tiles": {"image_size": (96, 320), "tiles": (64, 32)},
}


@pytest.fixture(scope="module")
def images():
    """Photographs of 60 x 200 pixels."""
    return np.random.default_rng(0).integers(110, 140, size=(20, 60, 200, 3), dtype=np.uint8)


def holed(images):
    """The first one with a hole at columns 116 to 125, rows 24 to 33; the second with two more."""
    spoilt = images[:2].copy()
    spoilt[0, 24:34, 116:126] = 0
    spoilt[1, 10:20, 80:90] = 0
    spoilt[1, 35:47, 120:132] = 0
    return spoilt


@pytest.fixture(scope="module", params=RULES)
def inspector(request, images):
    features = DeepFeatureTransformer(LITE0, levels=[3, 4], **RULES[request.param])
    detector = SpatialMahalanobisDetector(features, gaussian="global", shared=True, pixel_fpr=1e-4)
    return FPRThresholdCV(detector, fpr=0.1).fit(images)


def test_a_hole_is_boxed_where_it_is(inspector, images, tmp_path):
    """Of arrays, of files, and of files that a camera turned."""
    spoilt = holed(images)
    Image.fromarray(spoilt[0]).save(tmp_path / "plain.png")
    turned = Image.fromarray(np.rot90(spoilt[0]).copy())
    exif = turned.getexif()
    exif[274] = 6  # a quarter turn clockwise undoes it
    turned.save(tmp_path / "turned.png", exif=exif)
    regions = inspector.regions([spoilt[0], tmp_path / "plain.png", tmp_path / "turned.png"])
    for image in (0, 1, 2):
        first = regions[regions["image"] == image].iloc[0]
        assert abs(first["x"] - 121) < 5
        assert abs(first["y"] - 29) < 5
        assert first["left"] < 121 < first["right"]
        assert first["top"] < 29 < first["bottom"]
    assert (regions[["left", "top"]] >= 0).all(axis=None)
    assert regions["right"].max() <= 200
    assert regions["bottom"].max() <= 60


def test_masks_are_written_in_the_photographs_own_pixels(inspector, images, tmp_path):
    spoilt = holed(images)
    for number, photograph in enumerate(spoilt):
        Image.fromarray(photograph).save(tmp_path / f"{number}.png")
    paths = inspector.save_masks([tmp_path / "0.png", tmp_path / "1.png"], tmp_path / "masks")
    assert paths == [str(tmp_path / "masks" / f"{number}_mask.png") for number in (0, 1)]
    masks = [np.asarray(Image.open(path)) for path in paths]
    assert all(mask.shape == (60, 200) and set(np.unique(mask)) == {0, 255} for mask in masks)
    y, x = ndimage.center_of_mass(masks[0])
    assert abs(x - 121) < 8
    assert abs(y - 29) < 8


def test_regions_are_those_of_the_map():
    """By flood fill over the eight neighbours, in a box of half the photograph's resolution."""
    rng = np.random.default_rng(0)
    anomaly_map = rng.uniform(size=(12, 18)).astype(np.float32)
    found = find_regions(anomaly_map, 0.8, (10.0, 20.0, 46.0, 44.0), (100, 100))
    unseen = {(int(r), int(c)) for r, c in np.argwhere(anomaly_map > 0.8)}
    expected = []
    while unseen:
        waiting, region = [unseen.pop()], []
        while waiting:
            row, column = waiting.pop()
            region.append((row, column))
            near = {(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)} & unseen
            unseen -= near
            waiting += near
        rows, columns = np.array(region).T
        expected.append(
            [
                10 + 2 * columns.min(), 20 + 2 * rows.min(), 12 + 2 * columns.max(), 22 + 2 * rows.max(),
                11 + 2 * columns.mean(), 21 + 2 * rows.mean(), 4 * len(region), anomaly_map[rows, columns].max(),
            ]
        )  # fmt: skip
    np.testing.assert_allclose(found, sorted(expected, key=lambda row: -row[7]), rtol=1e-6)


def test_what_lies_in_the_padding_is_no_region():
    anomaly_map = np.zeros((10, 10))
    anomaly_map[0, 0] = anomaly_map[5, 5] = 9
    found = find_regions(anomaly_map, 1.0, (-20.0, -20.0, 80.0, 80.0), (60, 60))
    np.testing.assert_allclose(found[:, :4], [[30, 30, 40, 40]])


def test_p_values_and_areas_are_those_of_the_maps(inspector, images):
    spoilt = holed(images)
    regions = inspector.regions(spoilt)
    with pytest.warns(WorkingPointWarning, match="20 normal images"):
        p_values = inspector.p_value_maps(spoilt)
    detector = inspector.estimator_
    for image in (0, 1):
        first = regions[regions["image"] == image].iloc[0]
        assert first["p_value"] == pytest.approx(p_values[image].min())
    wide = inspector.regions(spoilt, min_area=50)
    assert (wide["area"] >= 50).all()
    assert len(wide) == (regions["area"] >= 50).sum()
    assert (regions["peak"] > detector.pixel_threshold_).all()
    assert list(inspector.regions(images[:0:-1][:1])) == list(regions)


@pytest.mark.parametrize("box", [(0.0, 0.0, 40.0, 20.0), (-4.0, 3.0, 36.0, 17.0)])
def test_a_map_is_laid_over_its_photograph(box):
    """Against SciPy's interpolation at the centres of the photograph's pixels."""
    anomaly_map = np.random.default_rng(0).uniform(size=(7, 10))
    left, top, right, bottom = box
    y, x = np.mgrid[:20, :40] + 0.5
    rows, columns = (y - top) / (bottom - top) * 7 - 0.5, (x - left) / (right - left) * 10 - 0.5
    expected = ndimage.map_coordinates(anomaly_map, [rows, columns], order=1, mode="nearest")
    expected[(y < top) | (y > bottom) | (x < left) | (x > right)] = 0
    np.testing.assert_allclose(lay_over(anomaly_map, box, (20, 40)), expected, atol=1e-6)


def test_coco_has_the_regions_and_the_images(inspector, images, tmp_path):
    Image.fromarray(holed(images)[0]).save(tmp_path / "0.png")
    photographs = [tmp_path / "0.png", MaskedImage(images[1], np.ones((60, 200)))]
    regions = inspector.regions(photographs)
    found = json.loads(json.dumps(regions_to_coco(regions, photographs)))
    assert [image["file_name"] for image in found["images"]] == [str(tmp_path / "0.png"), "image0001"]
    assert all((image["width"], image["height"]) == (200, 60) for image in found["images"])
    assert len(found["annotations"]) == len(regions)
    for one, region in zip(found["annotations"], regions.itertuples(), strict=True):
        left, top, width, height = one["bbox"]
        assert (left + width, top + height) == pytest.approx((region.right, region.bottom))
        assert one["image_id"] == region.image + 1
    with pytest.raises(ValueError, match="pass those that they were found in"):
        regions_to_coco(regions.assign(image=7), photographs)


def test_regions_need_a_threshold_and_images_that_can_be_used(images, tmp_path):
    features = DeepFeatureTransformer(LITE0, levels=[4], image_size=64, on_bad_image="nan")
    detector = SpatialMahalanobisDetector(features, standardize=False).fit(images[:8])
    with pytest.raises(NotFittedError, match="call regions of that"):
        detector.regions(images)
    detector.calibrate_pixels(images[8:])
    with pytest.raises(ImageError, match="image 1"):
        detector.regions([images[0], tmp_path / "none.png"])
    with pytest.raises(ValueError, match="min_area must be a non-negative number"):
        detector.regions(images, min_area=-1)


def test_masks_of_one_name_are_refused_before_anything_is_written(inspector, images, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(images[0]).save(tmp_path / folder / "0.png")
    with pytest.raises(ValueError, match="the mask 0_mask"):
        inspector.save_masks([tmp_path / "a" / "0.png", tmp_path / "b" / "0.png"], tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_a_display_draws_boxes_where_regions_are(inspector, images):
    spoilt = holed(images)[:1]
    display = RegionsDisplay.from_estimator(inspector, spoilt[0])
    regions = inspector.regions(spoilt)
    assert len(display.boxes_) == len(display.labels_) == len(regions)
    for box, region in zip(display.boxes_, regions.itertuples(), strict=True):
        middle = box.get_x() + box.get_width() / 2 + 0.5, box.get_y() + box.get_height() / 2 + 0.5
        assert middle == pytest.approx(((region.left + region.right) / 2, (region.top + region.bottom) / 2))
        assert box.get_width() >= region.right - region.left


def test_a_display_refuses_what_belongs_to_another_image(images):
    regions = regions_of(right=250.0)
    with pytest.raises(ValueError, match="reach to"):
        RegionsDisplay.from_regions(images[0], regions)
    with pytest.raises(ValueError, match="2 images"):
        RegionsDisplay.from_regions(images[0], regions_of().loc[[0, 0]].assign(image=[0, 1]))
    with pytest.raises(ValueError, match="lacks peak"):
        RegionsDisplay.from_regions(images[0], regions_of().drop(columns="peak"))
    with pytest.raises(TypeError, match="has no regions"):
        RegionsDisplay.from_estimator(object(), images[0])


def regions_of(right=20.0):
    import pandas as pd

    row = {"image": 0, "left": 8.0, "top": 2.0, "right": right, "bottom": 6.0, "x": 14.0, "y": 4.0, "area": 40.0}
    return pd.DataFrame([{**row, "peak": 9.5, "p_value": 0.01}])


@pytest.mark.parametrize("kind", ["array", "grey", "file", "turned", "pillow", "masked"])
def test_sizes_are_those_of_the_decoded_image(images, tmp_path, kind):
    picture = Image.fromarray(images[0])
    if kind in ("file", "turned"):
        exif = picture.getexif()
        exif[274] = 8 if kind == "turned" else 3
        picture.save(tmp_path / "0.jpg", exif=exif)
    item = {
        "array": images[0],
        "grey": images[0, :, :, 0],
        "file": tmp_path / "0.jpg",
        "turned": tmp_path / "0.jpg",
        "pillow": picture,
        "masked": MaskedImage(images[0], np.ones((60, 200))),
    }[kind]
    assert measure_image([item], 0) == ((200, 60) if kind == "turned" else (60, 200))
