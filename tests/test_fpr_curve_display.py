"""The curve of rates is drawn as it was calibrated, and the threshold in use is found on it."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skgad import FPRThresholdCV, MahalanobisDetector
from skgad._calibration._bands import rate_curve
from skgad.plotting import FPRCurveDisplay

mpl.use("agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=99)


@pytest.fixture
def detector():
    rng = np.random.default_rng(0)
    fitted = MahalanobisDetector().fit(rng.normal(size=(200, 3)))
    return FPRThresholdCV(FrozenEstimator(fitted), fpr=0.05).fit(rng.normal(size=(99, 3)))


def read_band(display):
    """Return the corners of the band's lower and upper edge, as drawn."""
    path = display.band_.get_paths()[0].vertices
    return {tuple(corner) for corner in path.round(12).tolist()}


def test_what_is_drawn_is_the_curve(scores):
    curve = rate_curve(scores)
    display = FPRCurveDisplay.from_curve(curve, threshold=curve.thresholds[4])
    np.testing.assert_array_equal(display.line_.get_xdata(), curve.fpr)
    np.testing.assert_array_equal(display.line_.get_ydata(), curve.fpr)
    corners = read_band(display)
    for bound in (curve.low, curve.high):
        assert {(round(x, 12), round(y, 12)) for x, y in zip(curve.fpr, bound, strict=True)} <= corners
    assert display.line_.get_drawstyle() == "steps-post"  # between two rates the lower one's threshold is in use
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "log")
    assert display.ax_.get_xlim() == (0.01, 0.2)
    assert display.tpr_line_ is None


def test_true_positive_rates_are_what_each_rate_that_is_asked_for_finds(detector):
    rng = np.random.default_rng(1)
    X, y = np.vstack([rng.normal(size=(30, 3)), 1.5 + rng.normal(size=(20, 3))]), np.repeat([1, -1], [30, 20])
    display = FPRCurveDisplay.from_estimator(detector, X, y)
    for at in range(0, 99, 9):
        refitted = FPRThresholdCV(detector.estimator, fpr=display.fpr[at])
        refitted.fit(np.random.default_rng(0).normal(size=(299, 3))[200:])
        assert display.tpr[at] == (refitted.predict(X[30:]) == -1).mean()
    np.testing.assert_array_equal(display.tpr_line_.get_ydata(), display.tpr)
    assert display.n_anomalous == 20
    assert display.ax_[1].get_ylabel() == "share of 20 anomalies found"


def test_an_anomaly_at_the_threshold_is_not_found():
    curve = [-2.0, -1.0], [1 / 3, 2 / 3], [0, 0.1], [0.8, 0.9]
    display = FPRCurveDisplay.from_curve(curve, [-1, -1, 1], [-2.0, -1.5, -5.0], max_fpr=1)
    assert display.tpr.tolist() == [0, 1]


def test_the_threshold_in_use_is_marked_where_its_rate_lies(detector):
    display = FPRCurveDisplay.from_estimator(detector)
    (line,) = display.threshold_lines_
    assert line.get_xdata() == [0.05, 0.05]
    low, high = display.low[4], display.high[4]
    label = f"threshold {detector.offset_:.3g}: 0.05 asked for, {low:.2g} to {high:.2g} may come"
    assert label in [text.get_text() for text in display.legend_.get_texts()]


def test_a_threshold_between_two_has_the_rate_of_the_upper_one(scores):
    curve = rate_curve(scores)
    between = curve.thresholds[[6, 7]].mean()
    assert FPRCurveDisplay.from_curve(curve, threshold=between).threshold_lines_[0].get_xdata()[0] == curve.fpr[7]
    with pytest.raises(ValueError, match=r"threshold=99.0 is none of this curve: the highest"):
        FPRCurveDisplay.from_curve(curve, threshold=99.0)


def test_a_band_on_one_side_says_at_most(scores):
    curve = rate_curve(scores, side="upper")
    display = FPRCurveDisplay.from_curve(curve, threshold=curve.thresholds[4])
    assert display.threshold_lines_[0].get_label().endswith(f"0.05 asked for, at most {curve.high[4]:.2g} comes")


def test_groups_have_rates_but_no_band(scores):
    curve = rate_curve(scores, np.arange(99) // 3)
    display = FPRCurveDisplay.from_curve(curve, threshold=curve.thresholds[4])
    assert display.band_ is None
    assert display.threshold_lines_[0].get_label().endswith(f": {curve.fpr[4]:.2g} asked for")


def test_the_coverage_is_named(detector, scores):
    for display in (
        FPRCurveDisplay.from_curve(rate_curve(scores, coverage=0.995), coverage=0.995),
        FPRCurveDisplay.from_estimator(detector, coverage=0.995),
    ):
        assert display.band_.get_label() == "99.5 % band around all rates at once"
    np.testing.assert_array_equal(display.high, detector.rate_curve(coverage=0.995).high)


def test_the_detector_is_found_at_the_end_of_a_pipeline(detector):
    X, y = np.random.default_rng(2).normal(size=(9, 3)), np.repeat([1, -1], [4, 5])
    doubled = make_pipeline(FunctionTransformer(lambda X: 2 * X), detector)
    for chain, seen in ((doubled, 2 * X), (make_pipeline(detector), X)):
        display = FPRCurveDisplay.from_estimator(chain, X, y)
        np.testing.assert_array_equal(display.tpr, FPRCurveDisplay.from_estimator(detector, seen, y).tpr)
        assert FPRCurveDisplay.from_estimator(chain).tpr is None


def test_two_axes_are_drawn_with_true_positive_rates_and_one_without(scores):
    curve = rate_curve(scores)
    plain = FPRCurveDisplay.from_curve(curve)
    found = FPRCurveDisplay.from_curve(curve, [-1], [0.0], threshold=curve.thresholds[0])
    assert len(found.threshold_lines_) == 2
    _, axes = plt.subplots(2)
    assert found.plot(axes).figure_ is axes[0].figure
    for display, ax, n_axes in ((plain, axes, 1), (found, axes[0], 2)):
        with pytest.raises(ValueError, match=rf"{n_axes} axes are drawn, but ax holds {3 - n_axes}"):
            display.plot(ax)


@pytest.mark.parametrize(("n_samples", "expected"), [(99, "0.01 0.02 0.05 0.1 0.2"), (9999, "0.0001 0.001 0.01 0.1")])
def test_ticks_are_plain_numbers(n_samples, expected):
    curve = rate_curve(np.arange(float(n_samples)), np.arange(n_samples))  # as groups: a band takes its time
    display = FPRCurveDisplay.from_curve(curve)
    display.figure_.canvas.draw()
    start, end = display.ax_.get_xlim()
    ticks = zip(display.ax_.get_xticks(), display.ax_.get_xticklabels(), strict=True)
    labels = [label.get_text() for tick, label in ticks if start <= tick <= end]
    assert " ".join(labels) == expected


def test_a_missing_curve_names_the_remedy():
    with pytest.raises(TypeError, match=r"no rate_curve.*FPRThresholdCV\(FrozenEstimator"):
        FPRCurveDisplay.from_estimator(MahalanobisDetector())


CURVE = {"thresholds": [-2.0, -1.0], "fpr": [0.1, 0.2], "low": [0, 0.1], "high": [0.3, 0.4]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"high": [0.3]}, r"one value for each threshold.*'high': \(1,\)"),
        ({"tpr": [0.3]}, r"one value for each threshold.*'tpr': \(1,\)"),
        ({name: [] for name in CURVE}, "of which there is at least one"),
        ({"thresholds": [-1.0, -2.0]}, "thresholds must be finite and ascend"),
        ({"thresholds": [-1.0, np.inf]}, "thresholds must be finite and ascend"),
        ({"fpr": [0.1, 0.1]}, "fpr must be finite and ascend"),
        ({"fpr": [0, 0.1]}, r"fpr must lie in \(0, 1\]; got 0 to 0.1"),
        ({"threshold": np.nan}, "threshold=nan is none of this curve"),
    ],
)
def test_arrays_that_make_no_curve_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FPRCurveDisplay(**CURVE | change)


@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        ([-1], None, "scores and y come together"),
        (None, [0.0], "scores and y come together"),
        ([1, 1], [0.0, 1.0], r"Every label in y is \+1 .*leave out y and scores"),
        ([1, -1], [0.0], r"2 labels in y, but scores have shape \(1,\)"),
        ([1, -1], [0.0, np.nan], r"scores\[1\] is NaN"),
        ([0, 1], [0.0, 1.0], "as_labels"),
    ],
)
def test_images_come_with_labels_some_of_them_anomalous(y, scores, message):
    with pytest.raises(ValueError, match=message):
        FPRCurveDisplay.from_curve(CURVE.values(), y, scores)


@pytest.mark.parametrize("max_fpr", [0, 0.1, 1.5, np.nan])
def test_an_end_of_the_axis_that_shows_nothing_is_refused(max_fpr):
    with pytest.raises(ValueError, match=r"max_fpr must lie above .* 0.1, and be at most 1; got"):
        FPRCurveDisplay(**CURVE).plot(max_fpr=max_fpr)
