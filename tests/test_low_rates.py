"""Metrics of images, at thresholds that were calibrated, and of pixels at very low rates: against brute force."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics

from skgad.metrics import aupimo_scores, image_scores, pixel_f1_score, pixel_scores, pro_auc_score


@pytest.fixture
def judged():
    """Labels and scores of 60 images, some of them tied."""
    rng = np.random.default_rng(0)
    y = np.where(rng.uniform(size=60) < 0.4, -1, 1)
    return y, np.round(rng.normal(size=60) + y, 1)


@pytest.fixture
def pictures():
    """Masks and maps of eight images of different sizes, the last three anomalous."""
    rng = np.random.default_rng(1)
    masks, maps = [None] * 5, [rng.normal(size=(40, 30 + 5 * number)) for number in range(5)]
    for number in range(3):
        mask = np.zeros((40, 35), dtype=bool)
        mask[5 : 12 + number, 3:20] = True
        masks.append(mask)
        maps.append(rng.normal(size=mask.shape) + 1.5 * mask)
    return masks, maps


def test_figures_of_images_are_scikit_learns(judged):
    y, scores = judged
    found = image_scores(y, scores, threshold=-0.25, max_fpr=0.1)
    anomalous, called = y == -1, scores < -0.25
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(anomalous, -scores))
    assert found.average_precision == pytest.approx(metrics.average_precision_score(anomalous, -scores))
    assert found.f1 == pytest.approx(metrics.f1_score(anomalous, called))
    assert found.recall == pytest.approx(metrics.recall_score(anomalous, called))
    assert found.precision == pytest.approx(metrics.precision_score(anomalous, called))
    assert found.fpr == pytest.approx((called & ~anomalous).sum() / (~anomalous).sum())
    assert (found.n_normal, found.n_anomalous) == ((y == 1).sum(), (y == -1).sum())


def test_the_best_thresholds_are_found_by_trying_all(judged):
    y, scores = judged
    anomalous = y == -1
    rates = []
    for threshold in np.append(np.unique(scores), np.inf):
        called = scores < threshold
        rates.append(
            (
                metrics.f1_score(anomalous, called),
                called[~anomalous].mean(),
                called[anomalous].mean(),
            )
        )
    f1, fpr, tpr = np.transpose(rates)
    for max_fpr in (0.02, 0.1, 0.5, 1):
        found = image_scores(y, scores, max_fpr=max_fpr)
        assert found.tpr == pytest.approx(tpr[fpr <= max_fpr].max())
        assert found.f1_max == pytest.approx(f1.max())
        assert "f1" not in found


def test_a_threshold_is_the_detectors():
    """An image at the threshold is normal, as ``predict`` has it."""
    found = image_scores([1, -1, -1], [-1.0, -1.0, -2.0], threshold=-1.0)
    assert (found.fpr, found.recall, found.precision) == (0.0, 0.5, 1.0)
    nothing = image_scores([1, -1], [0.0, 0.0], threshold=-5)
    assert nothing.recall == nothing.f1 == 0
    assert np.isnan(nothing.precision)


@pytest.mark.parametrize(
    ("y", "scores", "options", "message"),
    [
        ([1, 1], [0.0, 1.0], {}, "All 2 images are normal"),
        ([-1, -1], [0.0, 1.0], {}, "All 2 images are anomalous"),
        ([0, 1], [0.0, 1.0], {}, r"y\[0\] is 0"),
        ([1, -1], [0.0, np.nan], {}, r"scores\[1\] is nan"),
        ([1, -1], [0.0], {}, "a number for each of the 2"),
        ([1, -1], [0.0, 1.0], {"threshold": np.nan}, "threshold must be"),
        ([1, -1], [0.0, 1.0], {"max_fpr": 0}, "max_fpr must be"),
    ],
)
def test_what_tells_nothing_is_refused(y, scores, options, message):
    with pytest.raises(ValueError, match=message):
        image_scores(y, scores, **options)


def naive_aupimo(masks, maps, low, high):
    """Every threshold, every image, and trapezoids over the logarithm of the rate, one after the other."""
    normal = [one.ravel() for mask, one in zip(masks, maps, strict=True) if mask is None]
    thresholds = np.unique(np.concatenate(normal))[::-1]
    rates = np.array([np.mean([(one >= threshold).mean() for one in normal]) for threshold in thresholds])
    scores = []
    for mask, one in zip(masks, maps, strict=True):
        if mask is None:
            scores.append(np.nan)
            continue
        shares = np.array([(one[mask] >= threshold).mean() for threshold in thresholds])
        area, ends = 0.0, (np.log(low), np.log(high))
        for (x0, x1), (y0, y1) in zip(pairwise(np.log(rates)), pairwise(shares), strict=True):
            left, right = max(x0, ends[0]), min(x1, ends[1])
            if left < right:
                at = [y0 + (y1 - y0) * (x - x0) / (x1 - x0) for x in (left, right)]
                area += (right - left) * sum(at) / 2
        area += max(0.0, np.log(rates[0]) - ends[0]) * shares[0]
        scores.append(area / (ends[1] - ends[0]))
    return np.array(scores)


@pytest.mark.parametrize("bounds", [(1e-3, 1e-2), (2e-2, 0.3), (0.1, 1.0)])
def test_aupimo_is_that_of_brute_force(pictures, bounds):
    masks, maps = pictures
    found = aupimo_scores(masks, iter(maps), fpr_bounds=bounds)
    np.testing.assert_allclose(found.scores, naive_aupimo(masks, maps, *bounds), rtol=1e-9)
    assert found.mean == pytest.approx(np.nanmean(found.scores))
    assert (found.n_normal_images, found.n_anomalous_images) == (5, 3)


def test_aupimo_of_many_pixels_keeps_quantiles():
    rng = np.random.default_rng(0)
    masks, maps = [None, np.ones((400, 400), dtype=bool)], [rng.normal(size=(400, 400)) for _ in range(2)]
    masks[1][0, 0] = False
    found = aupimo_scores(masks, maps, fpr_bounds=(1e-3, 1e-2)).mean
    assert found == pytest.approx(naive_aupimo_of(masks, maps, 1e-3, 1e-2), abs=2 / 65536)


def naive_aupimo_of(masks, maps, low, high):
    """The same for one normal and one anomalous image, by order statistics."""
    normal, values = np.sort(maps[0].ravel())[::-1], np.sort(maps[1][masks[1]])
    rates = np.arange(1, len(normal) + 1) / len(normal)
    shares = 1 - np.searchsorted(values, normal, side="left") / len(values)
    at = np.linspace(np.log(low), np.log(high), 100_001)
    return np.trapezoid(np.interp(at, np.log(rates), shares), at) / np.log(high / low)


@pytest.mark.parametrize(
    ("choose", "bounds", "message"),
    [
        (slice(5), (1e-2, 1e-1), "All 5 images are normal"),
        (slice(5, 8), (1e-2, 1e-1), "All 3 images are anomalous"),
        (slice(8), (1e-5, 1e-4), "too few pixels"),
        (slice(8), (1e-1, 1e-2), "0 < low < high"),
        (slice(8), 0.1, "0 < low < high"),
    ],
)
def test_aupimo_refuses_what_tells_nothing(pictures, choose, bounds, message):
    masks, maps = (part[choose] for part in pictures)
    with pytest.raises(ValueError, match=message):
        aupimo_scores(masks, maps, fpr_bounds=bounds)


def test_f1_of_pixels_is_scikit_learns(pictures):
    masks, maps = pictures
    truth = np.concatenate(
        [np.zeros(one.size, bool) if mask is None else mask.ravel() for mask, one in zip(*pictures, strict=True)]
    )
    values = np.concatenate([one.ravel() for one in maps])
    expected = metrics.f1_score(truth, values > 1.2)
    assert pixel_f1_score(masks, iter(maps), 1.2) == pytest.approx(expected)
    precision, recall, _ = metrics.precision_recall_curve(truth, values)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    found = pixel_scores(masks, maps)
    assert found.f1_max == pytest.approx(best)
    assert found.f1_max_error == 0
    assert found.pro_auc_5 == pro_auc_score(masks, maps, max_fpr=0.05)


def test_f1_of_no_anomalous_pixel_is_refused(pictures):
    with pytest.raises(ValueError, match="No pixel is anomalous"):
        pixel_f1_score([None], [np.zeros((3, 3))], 1.0)
    with pytest.raises(ValueError, match="threshold must be"):
        pixel_f1_score(*pictures, threshold=np.inf)
