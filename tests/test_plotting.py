"""The displays draw the numbers that they are given, on scales that can be compared."""

import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from scipy import stats
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgad import NPCA, DeepFeatureTransformer, FPRThreshold, FPRThresholdCV, MahalanobisDetector, plotting
from skgad.exceptions import DependencyError, ImageError, WorkingPointWarning
from skgad.plotting import (
    AnomalyMapDisplay,
    FPRCalibrationDisplay,
    FPRCurveDisplay,
    LevelAUROCDisplay,
    ScoreHistogramDisplay,
)
from skgad.spatial import SpatialMahalanobisDetector

mpl.use("agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Mapper:
    """A detector of skgad.spatial, as far as a display can see: the map is the image's distance to grey."""

    def __init__(self, **fitted):
        vars(self).update(fitted)
        self.seen = []

    def score_maps(self, images):
        self.seen.extend(images)
        return np.stack([spot() for _ in images]).astype(np.float32)


def spot(size=20, height=8.0):
    """A map with a bump right of its centre; its values fall linearly in the distance from there."""
    rows, columns = np.mgrid[:size, :size]
    return np.maximum(0, height - np.hypot(rows - 9, columns - 13))


def grey(height=40, width=90, value=128):
    return np.full((height, width), value, dtype=np.uint8)


def features(n_samples, shift=0.0, seed=0):
    values = np.random.default_rng(seed).normal(size=(n_samples, 6)) + shift * np.repeat([0, 1, 2], 2)
    return pd.DataFrame(values, columns=[f"level{level}__{index}" for level in (5, 6, 7) for index in (0, 1)])


@pytest.fixture
def judged():
    """A fitted detector, and images to judge, with their labels."""
    X = pd.concat([features(80, seed=1), features(20, shift=0.8, seed=2)], ignore_index=True)
    return MahalanobisDetector().fit(features(150)), X, np.repeat([1, -1], [80, 20])


def vertices(contours):
    return np.vstack([path.vertices for path in contours.get_paths()])


# AnomalyMapDisplay


def test_scale_does_not_depend_on_the_image():
    limits = [
        AnomalyMapDisplay.from_predictions(grey(), anomaly_map, threshold=3.0).map_.get_clim()
        for anomaly_map in (spot(), 100 * spot(), np.full((20, 20), 0.1))
    ]
    assert limits == [(0, 6)] * 3


def test_same_distance_has_the_same_colour_in_every_image():
    one, other = (AnomalyMapDisplay.from_predictions(grey(), spot(height=h), threshold=3.0).map_ for h in (4.0, 9.0))
    np.testing.assert_array_equal(one.to_rgba(np.arange(8.0)), other.to_rgba(np.arange(8.0)))


def test_overlay_is_clear_at_zero_and_the_panel_never():
    overlay, panel = (
        AnomalyMapDisplay.from_predictions(grey(), spot(), threshold=3.0, alpha=0.4, kind=kind).map_
        for kind in ("overlay", "panels")
    )
    np.testing.assert_allclose(overlay.to_rgba([0.0, 3.0, 6.0])[:, 3], [0, 0.1, 0.4], atol=0.002)
    np.testing.assert_allclose(panel.to_rgba([0.0, 6.0])[:, 3], 1)


def test_without_threshold_and_vmax_nothing_is_drawn():
    with pytest.raises(ValueError, match=r"neither a threshold nor vmax.*FPRThresholdCV.*vmax=") as error:
        AnomalyMapDisplay.from_predictions(grey(), spot())
    assert not plt.get_fignums(), error
    display = AnomalyMapDisplay.from_predictions(grey(), spot(), vmax=12)
    assert display.map_.get_clim() == (0, 12)
    assert (display.contours_, display.legend_) == ([], None)


def test_map_covers_the_whole_image_whatever_its_shape():
    for shape in ((40, 90), (90, 40), (1, 7)):
        display = AnomalyMapDisplay.from_predictions(grey(*shape), spot(), threshold=3.0)
        image, anomaly_map = display.ax_.images
        assert anomaly_map.get_extent() == image.get_extent() == [-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5]
        assert display.ax_.get_xlim() == (-0.5, shape[1] - 0.5)
        assert display.ax_.get_ylim() == (shape[0] - 0.5, -0.5)


def test_contour_lies_where_the_map_crosses_the_threshold():
    display = AnomalyMapDisplay.from_predictions(grey(40, 80), spot(), threshold=3.0)
    x, y = vertices(display.contours_[0]).T
    distance = np.hypot((y + 0.5) / 2 - 9.5, (x + 0.5) / 4 - 13.5)  # from the bump, in pixels of the map
    np.testing.assert_allclose(distance, 5, atol=0.05)  # a cone, interpolated linearly: off by 1/(8 * 5)


def test_contour_reaches_the_border_of_the_image():
    anomaly_map = np.repeat(np.arange(4.0), 4).reshape(4, 4)
    display = AnomalyMapDisplay.from_predictions(grey(40, 80), anomaly_map, threshold=1.5)
    x, y = vertices(display.contours_[0]).T
    assert (x.min(), x.max()) == (-0.5, 79.5)
    np.testing.assert_allclose(y, 19.5)


def test_map_covers_the_box_that_is_given():
    display = AnomalyMapDisplay.from_predictions(grey(40, 80), spot(), threshold=3.0, box=(10, 20, 50, 60))
    assert display.map_.get_extent() == [9.5, 49.5, 59.5, 19.5]
    assert (display.ax_.get_xlim(), display.ax_.get_ylim()) == ((-0.5, 79.5), (39.5, -0.5))  # all of the image is seen
    x, y = vertices(display.contours_[0]).T
    distance = np.hypot((y + 0.5 - 20) / 2 - 9.5, (x + 0.5 - 10) / 2 - 13.5)
    np.testing.assert_allclose(distance, 5, atol=0.05)
    (frame,) = display.frames_
    assert frame.get_bbox().extents.tolist() == [9.5, 19.5, 49.5, 59.5]
    assert "border of the map" in [text.get_text() for text in display.legend_.get_texts()]
    assert AnomalyMapDisplay.from_predictions(grey(40, 80), spot(), threshold=3.0).frames_ == []


def test_box_is_found_on_the_detector_or_in_what_calibrated_it():
    class Cropper(Mapper):
        def find_box(self, height, width):
            return width / 4, 0, width / 2, height

    for detector in (Cropper(pixel_threshold_=3.0), Mapper(estimator_=Cropper(pixel_threshold_=3.0))):
        assert AnomalyMapDisplay.from_estimator(detector, grey(40, 80)).box == (20, 0, 40, 40)
    assert AnomalyMapDisplay.from_estimator(Mapper(pixel_threshold_=3.0), grey(40, 80)).box == (0, 0, 80, 40)


@pytest.mark.parametrize(
    "box", [(0, 0, 10), (10, 0, 10, 5), (0, 5, 10, 5), (90, 0, 99, 5), (-9, 0, 0, 5), (0, 0, np.inf, 5), "all!"]
)
def test_bad_boxes_are_refused(box):
    with pytest.raises(ValueError, match=r"box must be .*\(left, top, right, bottom\)"):
        AnomalyMapDisplay(grey(40, 90), spot(), box=box)


def masked(values):
    return np.ma.masked_array(values, mask=np.zeros(np.shape(values), bool))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("anomaly_map", lambda: AnomalyMapDisplay(grey(), masked(spot()))),
        ("mask", lambda: AnomalyMapDisplay(grey(), spot(), mask=masked(spot() > 3))),
        ("box", lambda: AnomalyMapDisplay(grey(), spot(), box=masked([0, 0, 9, 9]))),
        ("scores", lambda: ScoreHistogramDisplay.from_predictions([1, -1], masked([-1.0, -2.0]))),
        ("distances", lambda: LevelAUROCDisplay.from_predictions([1, -1], masked([[1.0], [2.0]]))),
        ("aurocs", lambda: LevelAUROCDisplay(["level1"], masked([0.5]))),
        ("p_values", lambda: FPRCalibrationDisplay.from_predictions(masked([0.1, 0.2]), 10)),
    ],
)
def test_masked_arrays_are_refused(name, make):
    with pytest.raises(ValueError, match=rf"{name} is a masked array.*{name}\.filled\(value\)"):
        make()


def test_map_on_one_side_of_the_threshold_has_no_contour():
    for height in (0.1, 30.0):
        display = AnomalyMapDisplay.from_predictions(grey(), np.full((9, 9), height), threshold=3.0)
        assert display.contours_ == []


@pytest.mark.parametrize(
    "form",
    [lambda m: m, lambda m: m.astype(int), lambda m: np.uint8(255) * m, lambda m: Image.fromarray(np.uint8(255) * m)],
    ids=["bool", "0 and 1", "0 and 255", "PIL"],
)
def test_outline_follows_the_mask_whatever_its_size_and_form(form):
    mask = np.zeros((10, 30), dtype=bool)
    mask[2:5, 12:18] = True
    display = AnomalyMapDisplay.from_predictions(grey(40, 90), spot(), threshold=3.0, mask=form(mask))
    x, y = vertices(display.outlines_[0]).T  # a pixel of the mask covers three by four of the image
    assert (x.min(), x.max()) == (12 * 3 - 0.5, 18 * 3 - 0.5)
    assert (y.min(), y.max()) == (2 * 4 - 0.5, 5 * 4 - 0.5)
    assert [text.get_text() for text in display.legend_.get_texts()] == ["threshold 3", "ground truth"]


def test_images_and_masks_are_read_from_files(tmp_path):
    mask = np.zeros((40, 90), dtype=np.uint8)
    mask[5:9, 5:9] = 255
    Image.fromarray(grey()).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    display = AnomalyMapDisplay.from_predictions(
        tmp_path / "image.png", spot(), mask=str(tmp_path / "mask.png"), threshold=3.0
    )
    np.testing.assert_array_equal(display.image, np.full((40, 90, 3), 128))
    np.testing.assert_array_equal(display.mask, mask == 255)
    with pytest.raises(ImageError, match=r"missing.png.*no such file"):
        AnomalyMapDisplay(tmp_path / "missing.png", spot())
    with pytest.raises(ImageError, match=r"mask.*missing.png.*no such file"):
        AnomalyMapDisplay(grey(), spot(), mask=tmp_path / "missing.png")


def test_every_form_of_an_image_looks_the_same():
    expected = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    for image in (expected, expected / 255, expected.astype(np.uint16) * 257, Image.fromarray(expected)):
        np.testing.assert_array_equal(AnomalyMapDisplay(image, spot()).image, expected)


def test_normal_image_has_neither_contour_nor_outline():
    display = AnomalyMapDisplay.from_predictions(grey(), spot(height=2), threshold=3.0, mask=np.zeros((40, 90)))
    assert (display.contours_, display.outlines_, display.legend_) == ([], [], None)


def test_panels_show_the_image_the_outlines_and_the_map():
    mask = np.eye(40, 90, dtype=bool)
    display = AnomalyMapDisplay.from_predictions(grey(), spot(), threshold=3.0, mask=mask, kind="panels")
    assert [len(ax.images) for ax in display.ax_] == [1, 1, 2]
    assert [lines.axes for lines in display.contours_] == list(display.ax_[1:])
    assert [lines.axes for lines in display.outlines_] == list(display.ax_[1:])
    assert display.colorbar_.ax.get_ylabel() == "distance"


def test_axes_of_the_caller_are_used():
    figure, axes = plt.subplots(2, 3)
    panels = AnomalyMapDisplay.from_predictions(grey(), spot(), threshold=3.0, kind="panels", ax=axes[0])
    overlay = AnomalyMapDisplay.from_predictions(grey(), spot(), threshold=3.0, colorbar=False, ax=axes[1, 0])
    assert panels.figure_ is overlay.figure_ is figure
    assert overlay.ax_ is axes[1, 0]
    assert overlay.colorbar_ is None
    for kind, ax, count in (("panels", axes[0, 0], 1), ("overlay", axes, 6)):
        with pytest.raises(ValueError, match=rf"axes are drawn, but ax holds {count}.*an array of three"):
            overlay.plot(ax, kind=kind)


def test_threshold_is_found_on_the_detector_or_in_what_calibrated_it():
    assert AnomalyMapDisplay.from_estimator(Mapper(pixel_threshold_=3.0), grey()).threshold == 3
    calibrated = Mapper(estimator_=Mapper(pixel_threshold_=4.0))
    assert AnomalyMapDisplay.from_estimator(calibrated, grey()).threshold == 4
    assert AnomalyMapDisplay.from_estimator(calibrated, grey(), threshold=5.0).threshold == 5
    with pytest.raises(ValueError, match="neither a threshold nor vmax"):
        AnomalyMapDisplay.from_estimator(Mapper(), grey())


def test_calibrated_detectors_in_space_are_drawn():
    random = np.random.default_rng(0)
    images = random.integers(100, 130, size=(10, 40, 60, 3), dtype=np.uint8)
    features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3, 4], image_size=64)
    detector = FPRThresholdCV(SpatialMahalanobisDetector(features, gaussian="global"), fpr=0.2, cv=5).fit(images)
    display = AnomalyMapDisplay.from_estimator(detector, images[3])
    np.testing.assert_array_equal(display.anomaly_map, detector.score_maps(images[3:4])[0])
    assert display.map_.get_clim() == (0, 2 * detector.estimator_.pixel_threshold_)


def test_detector_sees_the_image_as_it_was_given(tmp_path):
    Image.fromarray(grey()).save(tmp_path / "image.png")
    detector = Mapper(pixel_threshold_=3.0)
    display = AnomalyMapDisplay.from_estimator(detector, tmp_path / "image.png")
    assert detector.seen == [tmp_path / "image.png"]
    np.testing.assert_array_equal(display.anomaly_map, spot().astype(np.float32))


def test_several_images_are_refused_before_the_network_runs():
    detector = Mapper(pixel_threshold_=3.0)
    for images in ([grey(), grey()], np.zeros((2, 9, 9, 3), dtype=np.uint8)):
        with pytest.raises(ImageError, match=r"image holds 2 images.*image=images\[0\]"):
            AnomalyMapDisplay.from_estimator(detector, images)
    assert detector.seen == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anomaly_map": -spot()}, r"anomaly_map holds -\d.* at row .*pass -anomaly_map"),
        ({"anomaly_map": np.full((3, 3), np.nan)}, "holds nan at row 0, column 0"),
        ({"anomaly_map": spot()[None]}, r"shape \(1, 20, 20\).*score_maps"),
        ({"threshold": -1}, "threshold must be a positive distance"),
        ({"threshold": np.inf}, "threshold must be a positive distance"),
        ({"vmax": 0}, "vmax must be a positive distance"),
        ({"mask": np.full((4, 4), 7)}, "mask > 0"),
        ({"mask": np.zeros((4, 4, 3))}, r"mask must have shape .*\(4, 4, 3\)"),
        ({"mask": np.ma.masked_array(np.zeros((4, 4)))}, r"mask is a masked array.*filled"),
        ({"anomaly_map": np.ma.masked_array(np.zeros((4, 4)))}, r"anomaly_map is a masked array.*filled"),
        ({"alpha": 60}, r"alpha must be a share in \[0, 1\]; got 60"),
        ({"kind": "mosaic"}, r"kind must be one of \('overlay', 'panels'\); got 'mosaic'"),
    ],
)
def test_bad_maps_name_the_item_and_the_remedy(change, message):
    options = {"anomaly_map": spot(), "threshold": 3.0} | change
    with pytest.raises(ValueError, match=message):
        AnomalyMapDisplay.from_predictions(grey(), **options)


def test_detector_without_maps_is_refused():
    with pytest.raises(TypeError, match=r"no score_maps.*skgad.spatial.*from_predictions"):
        AnomalyMapDisplay.from_estimator(MahalanobisDetector(), grey())


# ScoreHistogramDisplay


def test_bars_are_numpys_counts_on_common_bins(judged):
    detector, X, y = judged
    display = ScoreHistogramDisplay.from_estimator(detector, X, y, bins=12)
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(display.bin_edges_, np.histogram_bin_edges(scores, 12))
    for bars, label in ((display.normal_bars_, 1), (display.anomalous_bars_, -1)):
        counts = np.histogram(scores[y == label], display.bin_edges_)[0]
        assert [bar.get_height() for bar in bars] == counts.tolist()
        np.testing.assert_allclose([bar.get_x() for bar in bars], display.bin_edges_[:-1])
    assert display.all_bars_ is None


def test_densities_have_area_one(judged):
    display = ScoreHistogramDisplay.from_estimator(*judged, density=True)
    for bars in (display.normal_bars_, display.anomalous_bars_):
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)


def test_false_alarms_and_misses_are_those_of_predict(judged):
    detector, X, y = judged
    detector = FPRThresholdCV(FrozenEstimator(detector), fpr=0.1).fit(features(60, seed=5))
    display = ScoreHistogramDisplay.from_estimator(detector, X, y)
    called = detector.predict(X)
    false_alarms, misses = ((called == -1) & (y == 1)).sum(), ((called == 1) & (y == -1)).sum()
    assert min(false_alarms, misses) > 1
    assert display.threshold_line_.get_label().endswith(f": {false_alarms} false alarms, {misses} misses")
    assert display.threshold_line_.get_xdata() == [detector.offset_] * 2


def test_score_at_the_threshold_is_normal():
    for y, words in (([1, -1], "0 false alarms, 1 miss"), (None, "0 of 2 called anomalous")):
        display = ScoreHistogramDisplay.from_predictions(y, [-2.0, -2.0], threshold=-2.0)
        assert display.threshold_line_.get_label() == f"threshold -2: {words}"


def test_without_labels_there_is_one_histogram(judged):
    detector, X, _ = judged
    display = ScoreHistogramDisplay.from_estimator(detector, X)
    assert sum(bar.get_height() for bar in display.all_bars_) == len(X)
    assert display.normal_bars_ is display.anomalous_bars_ is None


def test_threshold_is_found_at_the_end_of_a_pipeline_and_in_foreign_detectors(judged):
    _, X, y = judged
    for detector in (IsolationForest(random_state=0), MahalanobisDetector()):
        line = make_pipeline(StandardScaler(), detector).fit(X)
        assert ScoreHistogramDisplay.from_estimator(line, X, y).threshold == line[-1].offset_
    assert ScoreHistogramDisplay.from_estimator(line, X, y, threshold=-9.0).threshold == -9
    assert ScoreHistogramDisplay.from_predictions(y, np.arange(100.0)).threshold_line_ is None


@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        ([1, -1], [0.0, np.nan], r"scores\[1\] is nan"),
        ([1, -1], [0.0], "1 scores but 2 labels"),
        ([1], [[0.0]], r"got shape \(1, 1\)"),
    ],
)
def test_bad_scores_name_the_item(y, scores, message):
    with pytest.raises(ValueError, match=message):
        ScoreHistogramDisplay.from_predictions(y, scores)


def test_threshold_of_a_histogram_is_finite():
    with pytest.raises(ValueError, match=r"threshold must be a finite score.*nan"):
        ScoreHistogramDisplay([0.0], threshold=np.nan)


def test_detector_without_scores_is_refused():
    with pytest.raises(TypeError, match=r"no score_samples.*from_predictions"):
        ScoreHistogramDisplay.from_estimator(StandardScaler(), features(3))


# LevelAUROCDisplay


def test_heights_are_scikit_learns_auroc(judged):
    detector, X, y = judged
    display = LevelAUROCDisplay.from_estimator(detector, X, y, n_bootstraps=0)
    distances = detector.transform(X)
    expected = [roc_auc_score(y, -distances[name]) for name in distances]
    expected.append(roc_auc_score(y, detector.score_samples(X)))
    assert display.names == ["level5", "level6", "level7", "sum"]
    assert display.points_.get_ydata().tolist() == expected
    assert [text.get_text() for text in display.texts_] == [f"{auroc:.3f}" for auroc in expected]
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == ["5", "6", "7", "sum"]
    assert display.interval_lines_ is None


def test_intervals_are_quantiles_of_a_stratified_bootstrap(judged):
    detector, X, y = judged
    display = LevelAUROCDisplay.from_estimator(detector, X, y, n_bootstraps=50, random_state=3)
    distances = detector.transform(X).to_numpy()
    distances = np.column_stack([distances, distances.sum(axis=1)])
    random = np.random.RandomState(3)
    areas = []
    for _ in range(50):
        rows = np.concatenate([80 + random.randint(20, size=20), random.randint(80, size=80)])
        areas.append([roc_auc_score(y[rows], -column[rows]) for column in distances.T])
    np.testing.assert_allclose(display.intervals, np.quantile(areas, [0.025, 0.975], axis=0).T)
    ends = [segment[:, 1] for segment in display.interval_lines_.get_segments()]
    np.testing.assert_array_equal(ends, display.intervals)


def test_tied_distances_count_half():
    display = LevelAUROCDisplay.from_predictions([1, 1, -1, -1], np.ones((4, 1)), random_state=0, n_bootstraps=20)
    assert (display.names, display.aurocs, display.intervals.tolist()) == (["0"], [0.5], [[0.5, 0.5]])


@pytest.mark.filterwarnings(f"ignore::{WorkingPointWarning.__module__}.{WorkingPointWarning.__name__}")
def test_levels_are_found_in_every_usual_chain(judged):
    _, X, y = judged
    normal = features(150)
    chain = make_pipeline(NPCA(0.5), MahalanobisDetector()).fit(normal)
    expected = LevelAUROCDisplay.from_estimator(chain, X, y, n_bootstraps=0).aurocs
    paper = make_pipeline(*[step for _, step in chain.steps], FPRThreshold()).fit(normal)
    calibrated = FPRThresholdCV(chain, fpr=0.1).fit(normal)
    line = make_pipeline("passthrough", calibrated)
    for estimator in (paper[:-1], calibrated, line):
        aurocs = LevelAUROCDisplay.from_estimator(estimator, X, y, n_bootstraps=0).aurocs
        np.testing.assert_allclose(aurocs, expected)
    with pytest.raises(TypeError, match=r"FPRThreshold.*no transform.*pipe\[:-1\]"):
        LevelAUROCDisplay.from_estimator(paper, X, y)


def test_polars_and_prefixed_levels_keep_their_names(judged):
    detector, X, y = judged
    distances = detector.transform(X).add_prefix("left__")
    for frame in (distances, pl.from_pandas(distances)):
        display = LevelAUROCDisplay.from_predictions(y, frame, n_bootstraps=0)
        assert display.names == ["left__level5", "left__level6", "left__level7", "sum"]
        assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == display.names


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (features(4).abs(), "6 columns for 3 levels: are they features"),
        (pd.DataFrame({"chi2": [1.0, 2.0, -1.0, 4.0]}), "hold -1 in row 2, column 'chi2'.*other sign"),
        (np.full((4, 2), np.nan), "hold nan in row 0, column '0'"),
        (np.ones((3, 2)), r"with 4 rows; got \(3, 2\)"),
        (np.ones(4), r"got \(4,\)"),
    ],
)
def test_bad_distances_name_the_item(distances, message):
    with pytest.raises(ValueError, match=message):
        LevelAUROCDisplay.from_predictions([1, 1, -1, -1], distances)


def test_both_kinds_of_images_are_needed():
    with pytest.raises(ValueError, match=r"needs both normal.*y holds \[1\]"):
        LevelAUROCDisplay.from_predictions([1, 1], np.ones((2, 1)))


# FPRCalibrationDisplay


def test_rates_are_the_shares_that_each_target_calls_anomalous():
    fitted, calibration, new = MahalanobisDetector().fit(features(100)), features(59, seed=1), features(80, seed=2)
    detector = FPRThresholdCV(FrozenEstimator(fitted), fpr=0.1).fit(calibration)
    display = FPRCalibrationDisplay.from_estimator(detector, new)
    np.testing.assert_array_equal(display.targets[:4] * 60, [1, 2, 3, 4])
    for at in range(0, len(display.targets), 7):
        refitted = FPRThresholdCV(FrozenEstimator(fitted), fpr=display.targets[at]).fit(calibration)
        assert display.rates[at] == (refitted.predict(new) == -1).mean()
    np.testing.assert_array_equal(display.line_.get_ydata(), display.rates)


def test_band_holds_both_draws():
    display = FPRCalibrationDisplay.from_predictions(np.ones(40), 59)
    random = np.random.default_rng(0)
    for at in (0, 5, 20, 58):
        k = round(display.targets[at] * 60)
        rates = random.beta(k, 60 - k, size=200_000)
        shares = random.binomial(40, rates) / 40
        assert (shares < display.low[at]).mean() < 0.026
        assert (shares <= display.low[at]).mean() > 0.024
        assert (shares > display.high[at]).mean() < 0.026
        assert (shares >= display.high[at]).mean() > 0.024


def test_band_goes_to_the_beta_law_with_many_images():
    display = FPRCalibrationDisplay.from_predictions(np.ones(20_000), 99)
    at = np.argmin(abs(display.targets - 0.1))
    assert display.targets[at] == 0.1
    np.testing.assert_allclose([display.low[at], display.high[at]], stats.beta.interval(0.95, 10, 90), atol=0.002)


def test_band_holds_what_it_says_for_split_calibration():
    at, rates = 5, []  # a target of 6/60
    for seed in range(1000):
        scores = np.random.default_rng(seed).normal(size=59 + 100)
        p_values = (1 + (scores[:59] <= scores[59:, np.newaxis]).sum(axis=1)) / 60
        rates.append((p_values <= 6 / 60).mean())
    display = FPRCalibrationDisplay.from_predictions(p_values, 59)
    assert display.rates[at] == rates[-1]
    inside = (display.low[at] <= np.array(rates)) & (np.array(rates) <= display.high[at])
    assert stats.binomtest(inside.sum(), 1000, 0.95, alternative="less").pvalue > 0.001
    assert inside.mean() < 0.98  # counts are whole: a band of 95 % holds a little more


def test_few_targets_are_all_there():
    for n_calibration in (1, 59, 200):
        display = FPRCalibrationDisplay.from_predictions([0.5], n_calibration)
        expected = np.arange(1, n_calibration + 1) / (n_calibration + 1)
        np.testing.assert_array_equal(display.targets, expected)


def test_many_targets_are_thinned_but_not_the_small_ones():
    display = FPRCalibrationDisplay.from_predictions(np.ones(10), 50_000)
    assert len(display.targets) <= 200
    np.testing.assert_allclose(display.targets[:10] * 50_001, np.arange(1, 11))
    assert display.targets[-1] == 50_000 / 50_001


def test_anomalous_images_are_left_out(judged):
    detector, X, y = judged
    detector = FPRThresholdCV(detector, fpr=0.1).fit(features(60, seed=4))
    labelled = FPRCalibrationDisplay.from_estimator(make_pipeline("passthrough", detector), X, y)
    normal = FPRCalibrationDisplay.from_estimator(detector, X[y == 1])
    np.testing.assert_array_equal(labelled.rates, normal.rates)
    assert labelled.n_heldout == 80
    with pytest.raises(ValueError, match="Every label in y is -1"):
        FPRCalibrationDisplay.from_estimator(detector, X, -np.ones(100))
    with pytest.raises(ValueError, match="100 samples but y 3 labels"):
        FPRCalibrationDisplay.from_estimator(detector, X, [1, 1, -1])


def test_groups_are_what_the_calibration_counts():
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(features(120), groups=np.repeat(np.arange(40), 3))
    assert FPRCalibrationDisplay.from_estimator(detector, features(30, seed=1)).n_calibration == 40


def test_logarithmic_axes_show_the_smallest_rate():
    display = FPRCalibrationDisplay.from_predictions(np.full(500, 0.001), 999, log=True, max_fpr=0.1)
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "log")
    assert display.ax_.get_xlim() == display.ax_.get_ylim() == (0.0005, 0.1)
    with pytest.raises(ValueError, match=r"max_fpr=0.0001 lies below"):
        display.plot(log=True, max_fpr=0.0001)


@pytest.mark.parametrize(
    ("p_values", "n_calibration", "message"),
    [
        ([0.5, 0.0], 9, r"p_values\[1\] is 0.0"),
        ([np.nan], 9, r"p_values\[0\] is nan"),
        ([], 9, r"shape \(0,\)"),
        ([0.5], 0, "n_calibration must be .* got 0"),
        ([0.5], 9.5, "n_calibration must be .* got 9.5"),
    ],
)
def test_bad_p_values_name_the_item(p_values, n_calibration, message):
    with pytest.raises(ValueError, match=message):
        FPRCalibrationDisplay.from_predictions(p_values, n_calibration)
    with pytest.raises(ValueError, match=r"max_fpr must be a share.*1.5"):
        FPRCalibrationDisplay.from_predictions([0.5], 9, max_fpr=1.5)


def test_detector_without_p_values_is_refused(judged):
    with pytest.raises(TypeError, match=r"no p-values.*FPRThresholdCV\(FrozenEstimator"):
        FPRCalibrationDisplay.from_estimator(*judged)


# All of them


def find_constructor(cls):
    names = {
        FPRCurveDisplay: "from_curve",
        plotting.ExplanationDisplay: "from_parts",
        plotting.TrainingDisplay: "from_history",
        plotting.DriftDisplay: "from_history",
        plotting.RegionsDisplay: "from_regions",
    }
    return getattr(cls, names.get(cls, "from_predictions"))


def draw(name, **options):
    """Draw one of each, from the same inputs each time."""
    y, distances = np.repeat([1, -1], 5), np.arange(1.0, 21).reshape(10, 2)
    inputs = {
        "AnomalyMapDisplay": (grey(), spot()),
        "TrainingDisplay": (
            pd.DataFrame({"epoch": [0, 1], "loss": [3.0, 2.0], "criterion": np.nan, "kept": [0.0, 1.0]}),
        ),
        "DriftDisplay": (pd.DataFrame({"n_seen": [1, 2, 3], "log_value": [0.0, 1.0, 6.0]}),),
        "ExplanationDisplay": (pd.DataFrame({"image": 0, "level": ["level1", "level2"], "contribution": [3.0, -1.0]}),),
        "RegionsDisplay": (
            grey(),
            pd.DataFrame([{"left": 8.0, "top": 9.0, "right": 20.0, "bottom": 16.0, "peak": 9.5, "p_value": 0.01}]),
        ),
        "ScoreHistogramDisplay": (y, -distances[:, 0]),
        "LevelAUROCDisplay": (y, distances),
        "FPRCalibrationDisplay": (np.linspace(0.1, 1, 10), 9),
        "FPRCurveDisplay": (np.linspace([-9, 0.01, 0, 0.2], [-1, 0.3, 0.1, 0.6], 9).T,),
    }[name]
    if name == "AnomalyMapDisplay":
        options |= {"threshold": 3.0, "mask": np.eye(40, 90, dtype=np.uint8)}
    if name == "DriftDisplay":
        options |= {"log_threshold": 4.6, "alarm_at": 2, "change_at": 1}
    copies = [np.copy(value) for value in (*inputs, *options.values())]
    display = find_constructor(getattr(plotting, name))(*inputs, **options)
    for value, copy in zip((*inputs, *options.values()), copies, strict=True):
        np.testing.assert_array_equal(value, copy, err_msg="a display changed its inputs")
    return display


@pytest.mark.parametrize("name", plotting.__all__)
def test_display_draws_again_and_leaves_its_inputs(name):
    display = draw(name)
    first = display.figure_
    assert display.plot() is display
    assert display.figure_ is not first
    figure, ax = plt.subplots()
    display.plot(ax)
    assert (display.ax_, display.figure_) == (ax, figure)
    for drawn in (first, figure):
        drawn.canvas.draw()


@pytest.mark.parametrize("name", plotting.__all__)
def test_everything_is_named_and_nothing_cut_off(name):
    display = draw(name)
    display.figure_.canvas.draw()
    box, whole = display.figure_.get_tightbbox(), display.figure_.bbox_inches
    assert whole.padded(0.01).contains(box.x0, box.y0)
    assert whole.padded(0.01).contains(box.x1, box.y1)
    assert all(text.get_text() for text in display.legend_.get_texts())


@pytest.mark.parametrize("name", plotting.__all__)
def test_missing_matplotlib_is_named_with_its_remedy(name, monkeypatch):
    display = draw(name)
    for module in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, module, None)
    cls = type(display)
    nothing = [None] * (1 if name in ("TrainingDisplay", "DriftDisplay") else 2)
    options = {"log_threshold": None} if name == "DriftDisplay" else {}
    calls = {
        "plot": display.plot,
        find_constructor(cls).__name__: lambda: find_constructor(cls)(*nothing, **options),
        "from_estimator": lambda: cls.from_estimator(*nothing, **({"y": None} if cls is LevelAUROCDisplay else {})),
    }
    for method, call in calls.items():
        with pytest.raises(DependencyError, match=rf"{name}.{method} needs matplotlib.*pip install matplotlib"):
            call()


@pytest.mark.parametrize("y", [np.repeat([1, 0], [80, 20]), np.repeat([True, False], [80, 20]), ["good"] * 100])
def test_foreign_labels_are_refused(judged, y):
    detector, X, _ = judged
    calibrated = FPRThresholdCV(FrozenEstimator(detector), fpr=0.1).fit(features(60, seed=5))
    for cls in (ScoreHistogramDisplay, LevelAUROCDisplay, FPRCalibrationDisplay):
        with pytest.raises(ValueError, match=r"Labels must be .* \+1 .*as_labels"):
            cls.from_estimator(calibrated, X, y)
    with pytest.raises(ValueError, match="as_labels"):
        ScoreHistogramDisplay.from_predictions(y, np.zeros(100))
    with pytest.raises(ValueError, match="as_labels"):
        LevelAUROCDisplay.from_predictions(y, np.zeros((100, 2)))
