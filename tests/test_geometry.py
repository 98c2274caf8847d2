"""Where the square that a network sees lies in its photograph, against timm's own transform, and in what is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from skgad import DeepFeatureTransformer
from skgad._images._geometry import cropped_box, whole_box
from skgad.deep._resizing import resize
from skgad.plotting import AnomalyMapDisplay
from skgad.spatial import SpatialMahalanobisDetector

from .conftest import LITE0

SHAPES = [(60, 200), (200, 60), (101, 77), (64, 64)]


def ramps(height, width):
    """A photograph that says of each pixel which column and row it is."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.full_like(rows, 255)], axis=-1)


def box_of(square):
    """The box that a square of resized ramps shows: straight lines along its middle, but where it is padded or ends."""
    columns, rows, inside = square.numpy().astype(float)
    middle = len(inside) // 2
    edges = []
    for line, is_inside in ((columns[middle], inside[middle]), (rows[:, middle], inside[:, middle])):
        places = np.flatnonzero(is_inside == 255)[4:-4]
        slope, start = np.polyfit(places, line[places], 1)
        edges.append((start - slope / 2 + 0.5, start + slope * (len(line) - 0.5) + 0.5))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_box_is_what_timms_transform_shows(crop_mode, crop_pct, shape):
    transform = create_transform(
        (3, 96, 96), interpolation="bilinear", crop_pct=crop_pct, crop_mode=crop_mode, mean=(0, 0, 0), normalize=False
    )
    square = transform(Image.fromarray(ramps(*shape)))
    np.testing.assert_allclose(
        cropped_box(*shape, 96, crop_pct, crop_mode), box_of(square), atol=0.55
    )  # bytes round a half up


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_box_of_the_other_rules_is_the_whole_image(shape, antialias):
    square = resize(ramps(*shape), 96, antialias=antialias)
    square[2] = square[2].round()
    np.testing.assert_allclose(whole_box(*shape), box_of(square), atol=0.1)


@pytest.mark.parametrize("rule", ["bilinear", "antialias", "timm"])
def test_extractor_says_what_its_own_resizer_shows(rule):
    extractor = DeepFeatureTransformer(LITE0, levels=[3], image_size=64, resize=rule)
    square = extractor._resolve().resize(ramps(60, 200))
    square[2] = square[2].round()
    np.testing.assert_allclose(extractor.find_box(60, 200), box_of(torch.as_tensor(square)), atol=0.5)


def photograph(height, width, seed, hole=None):
    """Grey noise, and a black hole in some rows and columns."""
    image = np.random.default_rng(seed).integers(110, 146, size=(height, width, 3)).astype(np.uint8)
    if hole is not None:
        image[hole] = 0
    return image


def fitted(height, width, rule):
    features = DeepFeatureTransformer(LITE0, levels=[2, 3], image_size=96, resize=rule)
    detector = SpatialMahalanobisDetector(
        features, gaussian="global", neighborhood=1, standardize=False, pixel_fpr=0.001
    )
    detector.fit([photograph(height, width, seed) for seed in range(10)])
    return detector.calibrate_pixels([photograph(height, width, seed) for seed in range(20, 30)])


def peak_of(display):
    """The column and row of the photograph at which the largest distance is drawn."""
    left, right, bottom, top = display.map_.get_extent()
    row, column = np.unravel_index(display.anomaly_map.argmax(), display.anomaly_map.shape)
    n_rows, n_columns = display.anomaly_map.shape
    return left + (column + 0.5) * (right - left) / n_columns, top + (row + 0.5) * (bottom - top) / n_rows


HOLES = [((60, 200), np.s_[20:30, 115:125]), ((200, 60), np.s_[85:95, 35:45]), ((80, 80), np.s_[15:25, 50:60])]


@pytest.mark.parametrize(("shape", "hole"), HOLES, ids=["wide", "tall", "square"])
@pytest.mark.parametrize("rule", ["bilinear", "antialias", "timm"])
def test_a_hole_is_drawn_where_it_is(rule, shape, hole):
    detector, image = fitted(*shape, rule), photograph(*shape, 50, hole)
    truth = np.zeros(shape, bool)
    truth[hole] = True
    display = AnomalyMapDisplay.from_estimator(detector, image, mask=truth)
    x, y = peak_of(display)
    assert hole[1].start - 3 <= x < hole[1].stop + 3
    assert hole[0].start - 3 <= y < hole[0].stop + 3
    drawn, outlined = (
        np.vstack([path.vertices for path in lines[0].get_paths()]) for lines in (display.contours_, display.outlines_)
    )
    np.testing.assert_allclose(np.median(drawn, axis=0), np.median(outlined, axis=0), atol=6)
    square = Image.fromarray(truth).resize((96, 96), Image.Resampling.NEAREST, box=detector.find_box(*shape))
    assert np.asarray(square)[detector.predict_masks([image])[0]].mean() > 0.3  # a map meets a mask in its box


def test_a_turned_photograph_is_drawn_as_it_is_seen(tmp_path):
    shape, hole = HOLES[0]
    seen = Image.fromarray(photograph(*shape, 50, hole))
    exif = seen.getexif()
    exif[0x0112] = 6  # stored a quarter turn to the left of how it is to be seen
    seen.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    display = AnomalyMapDisplay.from_estimator(fitted(*shape, "timm"), tmp_path / "turned.png")
    assert display.image.shape == (60, 200, 3)
    x, y = peak_of(display)
    assert 112 <= x < 128
    assert 17 <= y < 33
