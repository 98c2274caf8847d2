import inspect
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label
from sklearn.metrics import average_precision_score, roc_auc_score

from skgad import metrics
from skgad.metrics import (
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores,
    pro_auc_score,
    pro_curve,
)
from skgad.metrics._areas import area_up_to, average_precision
from skgad.metrics._pixels import _rank
from skgad.metrics._tally import PixelTally

FIGURES = ["roc_auc", "average_precision", "pro_auc"]


def draw(n_images=6, size=(17, 13), seed=0, n_values=None):
    """Maps that are a little higher in the regions; every third image is normal; `n_values` makes ties."""
    rng = np.random.default_rng(seed)
    masks = rng.random((n_images, *size)) < 0.15
    masks[::3] = False
    maps = rng.normal(size=masks.shape) + masks
    return masks, maps if n_values is None else np.round(maps * n_values / 6)


def naive_pro_curve(masks, maps):
    """One threshold after the other, one region after the other; the regions are scikit-image's."""
    masks = [np.asarray(mask, dtype=bool) for mask in masks]
    regions = [label(mask, connectivity=2) for mask in masks]
    n_normal = sum((~mask).sum() for mask in masks)
    values = np.unique(np.concatenate([np.ravel(one) for one in maps]))[::-1]
    points = [(0.0, 0.0, np.inf)]
    for threshold in values:
        overlaps = [
            (one >= threshold)[labels == number].mean()
            for one, labels in zip(maps, regions, strict=True)
            for number in range(1, labels.max() + 1)
        ]
        false = sum(((one >= threshold) & ~mask).sum() for one, mask in zip(maps, masks, strict=True))
        points.append((false / n_normal, np.mean(overlaps), threshold))
    return np.array(points).T


def naive_area(x, y, stop):
    """Trapezoid by trapezoid, the last one cut."""
    area = 0.0
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        if x0 < stop and x1 > x0:
            end = min(x1, stop)
            area += (end - x0) * (y0 + (y0 + (y1 - y0) * (end - x0) / (x1 - x0))) / 2
    return area / stop


def figures(masks, maps, **settings):
    scores = pixel_scores(masks, maps, **settings)
    return np.array([scores[name] for name in FIGURES])


def coarse_figures(masks, maps, max_cells, max_fpr=0.3):
    """Return the three figures and their bounds from few cells."""
    ranking = _rank(masks, maps, max_cells=max_cells)
    fpr = ranking.normal / ranking.normal[-1]
    return np.array(
        [
            area_up_to(fpr, ranking.anomalous / ranking.anomalous[-1]),
            average_precision(ranking.normal, ranking.anomalous),
            area_up_to(fpr, ranking.overlap, max_fpr),
        ]
    ).T


@pytest.mark.parametrize("n_values", [None, 3, 40])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pixel_figures_are_scikit_learns_on_flat_pixels(n_values, dtype):
    masks, maps = draw(n_values=n_values)
    maps = maps.astype(dtype)
    flat, values = masks.ravel(), maps.ravel().astype(float)
    assert pixel_roc_auc_score(masks, maps) == pytest.approx(roc_auc_score(flat, values), abs=1e-13)
    assert pixel_average_precision_score(masks, maps) == pytest.approx(average_precision_score(flat, values), abs=1e-13)


@pytest.mark.parametrize("n_values", [None, 3, 40])
def test_pro_is_the_naive_loop_over_thresholds_and_regions(n_values):
    masks, maps = draw(n_values=n_values)
    expected = naive_pro_curve(masks, maps)
    fpr, pro, thresholds = pro_curve(masks, maps)
    kept = np.isin(expected[2], thresholds)
    np.testing.assert_allclose([fpr, pro], expected[:2, kept], atol=1e-13)
    np.testing.assert_array_equal(thresholds, expected[2, kept])
    for max_fpr in (1e-3, 0.05, 0.3, 1):
        want = naive_area(*expected[:2], max_fpr)
        assert pro_auc_score(masks, maps, max_fpr=max_fpr) == pytest.approx(want, abs=1e-13)
        assert naive_area(fpr, pro, max_fpr) == pytest.approx(want, abs=1e-13)


def test_one_pass_gives_what_each_function_gives():
    masks, maps = draw()
    scores = pixel_scores(masks, maps, max_fpr=0.1)
    assert scores.roc_auc == pixel_roc_auc_score(masks, maps)
    assert scores.average_precision == pixel_average_precision_score(masks, maps)
    assert scores.pro_auc == pro_auc_score(masks, maps, max_fpr=0.1)
    assert [scores[f"{name}_error"] for name in FIGURES] == [0, 0, 0]
    assert (scores.n_anomalous_pixels, scores.n_normal_pixels) == (masks.sum(), (~masks).sum())


def test_one_value_everywhere_is_chance():
    masks, maps = draw()
    fpr, pro, thresholds = pro_curve(masks, np.full(maps.shape, 7.0))
    assert (fpr.tolist(), pro.tolist(), thresholds.tolist()) == ([0, 1], [0, 1], [np.inf, 7])
    np.testing.assert_allclose(figures(masks, maps * 0), [0.5, masks.mean(), 0.15], atol=1e-13)


def test_the_mask_itself_is_perfect_and_its_opposite_useless():
    masks, _ = draw()
    np.testing.assert_allclose(figures(masks, masks), 1, atol=1e-13)
    assert pixel_roc_auc_score(masks, -masks.astype(float)) == 0
    assert pro_auc_score(masks, -masks.astype(float)) == 0


def test_every_region_counts_the_same_whatever_its_size():
    mask = np.zeros((20, 20), dtype=bool)
    mask[:10, :10] = mask[15, 15] = True
    found_large, found_small = mask.astype(float), mask.astype(float)
    found_large[15, 15] = found_small[:10, :10] = -1.0
    assert pro_auc_score([mask], [found_large]) == pytest.approx(0.5, abs=1e-12)
    assert pro_auc_score([mask], [found_small]) == pytest.approx(0.5, abs=1e-12)
    assert pixel_roc_auc_score([mask], [found_large]) > 0.99
    assert pixel_roc_auc_score([mask], [found_small]) < 0.01


def test_diagonal_neighbours_are_one_region():
    mask = np.zeros((5, 5))
    mask[0, 0] = mask[1, 1] = mask[2, 2] = mask[4, 4] = 1
    found = np.zeros((5, 5))
    found[4, 4] = 1
    fpr, pro, _ = pro_curve([mask], [found])
    assert pro[np.flatnonzero(fpr == 0)].tolist() == [0, 0.5]


def test_regions_do_not_reach_over_images():
    column = np.ones((2, 1))
    found = [np.array([[1.0], [1.0]]), np.array([[0.0], [0.0]])]
    _, pro, _ = pro_curve([column, column, None], [*found, np.full((1, 1), 0.5)])
    assert pro.tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize(
    "rescale", [np.exp, np.arctan, lambda x: x**3, lambda x: 5 * x - 1e4], ids=["exp", "arctan", "cube", "line"]
)
def test_only_the_order_of_the_values_matters(rescale):
    masks, maps = draw()
    np.testing.assert_allclose(figures(masks, rescale(maps)), figures(masks, maps), atol=1e-13)


def test_minus_the_map_turns_the_roc_curve_around():
    masks, maps = draw(n_values=40)
    assert pixel_roc_auc_score(masks, -maps) == pytest.approx(1 - pixel_roc_auc_score(masks, maps), abs=1e-13)


@pytest.mark.parametrize("max_cells", [2, 5, 37, 200, 2**20])
def test_order_and_batches_of_images_do_not_matter(max_cells):
    masks, maps = draw(n_images=12)
    expected = coarse_figures(masks, maps, max_cells)
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_allclose(coarse_figures(masks[order], maps[order], max_cells), expected, atol=1e-13)
    rows = [1, len(maps) * maps.shape[1], maps.shape[2]]  # one image of all: only the regions could differ
    whole = coarse_figures(masks.reshape(rows), maps.reshape(rows), max_cells)
    np.testing.assert_allclose(whole[:, :2], expected[:, :2], atol=1e-13)


def test_generators_lists_arrays_and_other_forms_of_masks_are_equal():
    masks, maps = draw()
    expected = figures(masks, maps)
    forms = [[None if not mask.any() else mask for mask in masks], masks * np.uint8(255), masks.astype(float)]
    for form in forms:
        np.testing.assert_array_equal(figures(form, list(maps)), expected)
    np.testing.assert_array_equal(figures((mask for mask in masks), (one for one in maps)), expected)
    np.testing.assert_array_equal(figures(masks.tolist(), maps.tolist()), expected)


def test_a_generator_may_write_each_map_over_the_last():
    masks, maps = draw()
    buffer = np.empty(maps.shape[1:])

    def reuse():
        for one in maps:
            buffer[:] = one
            yield buffer

    np.testing.assert_array_equal(figures(masks, reuse()), figures(masks, maps))


def test_the_callers_arrays_stay_as_they_are():
    masks, maps = draw()
    masks.flags.writeable = maps.flags.writeable = False
    pixel_scores(masks, maps)


def test_sizes_may_differ_from_image_to_image():
    first, second = draw(size=(8, 9)), draw(size=(3, 30), seed=1)
    masks, maps = [*first[0], *second[0]], [*first[1], *second[1]]
    values = np.concatenate([np.ravel(one) for one in maps])
    flat = np.concatenate([np.ravel(one) for one in masks])
    assert pixel_roc_auc_score(masks, maps) == pytest.approx(roc_auc_score(flat, values), abs=1e-13)
    assert pro_auc_score(masks, maps) == pytest.approx(naive_area(*naive_pro_curve(masks, maps)[:2], 0.3), abs=1e-13)


@settings(max_examples=150, deadline=None)
@given(
    maps=hnp.arrays(np.float64, (2, 4, 5), elements=st.floats(allow_nan=False, allow_infinity=False)),
    masks=hnp.arrays(bool, (2, 4, 5)),
)
def test_exact_for_any_finite_numbers(maps, masks):
    masks[0, 0, 0], masks[0, 0, 1] = True, False
    found = pixel_scores(masks, maps)
    order = np.unique(maps, return_inverse=True)[1].ravel()  # roc_auc_score itself stumbles over huge differences
    assert found.roc_auc == pytest.approx(roc_auc_score(masks.ravel(), order), abs=1e-12)
    assert found.average_precision == pytest.approx(average_precision_score(masks.ravel(), order), abs=1e-12)
    assert found.pro_auc == pytest.approx(naive_area(*naive_pro_curve(masks, maps)[:2], 0.3), abs=1e-12)
    assert set(pro_curve(masks, maps)[2][1:]) <= set(maps.ravel())


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000), max_cells=st.integers(2, 300), scale=st.sampled_from([1e-3, 1.0, 1e6]))
def test_the_error_stays_within_its_bound(seed, max_cells, scale):
    masks, maps = draw(n_images=3, size=(12, 12), seed=seed)
    masks[0, 0, 0] = True
    maps = maps * scale + 10
    found, bounds = coarse_figures(masks, maps, max_cells)
    assert (np.abs(found - figures(masks, maps)) <= bounds + 1e-12).all()


def test_every_point_is_exact_however_few_the_cells():
    masks, maps = draw(n_images=12)
    ranking = _rank(masks, maps, max_cells=30)
    assert not ranking.exact
    assert 10 < len(ranking.thresholds) <= 31
    fpr, pro, _ = np.array(
        [
            [(maps[~masks] >= threshold).mean(), (maps[masks] >= threshold).sum(), threshold]
            for threshold in ranking.thresholds
        ]
    ).T
    np.testing.assert_allclose(ranking.normal / ranking.normal[-1], fpr, atol=1e-13)
    np.testing.assert_array_equal(ranking.anomalous, pro)


def test_many_values_are_reported_with_a_bound_that_holds():
    rng = np.random.default_rng(0)
    masks = rng.random((6, 512, 512)) < 0.02
    maps = rng.normal(20, 3, size=masks.shape) + masks
    scores = pixel_scores(masks, maps)
    order = [roc_auc_score(masks.ravel(), maps.ravel()), average_precision_score(masks.ravel(), maps.ravel())]
    for name, expected in zip(FIGURES, order, strict=False):
        assert 0 < scores[f"{name}_error"] < 1e-4
        assert abs(scores[name] - expected) <= scores[f"{name}_error"]


def test_memory_does_not_grow_with_the_number_of_images():
    def peak(n_images):
        rng, tally = np.random.default_rng(0), PixelTally(2**12)
        tracemalloc.start()
        for _ in range(n_images):
            tally.add(rng.normal(size=2**12), rng.normal(1, size=64), np.full(64, 1 / 64))
        tally.rank()
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(200) < 1.1 * peak(20)


MASK, MAP = np.eye(4), np.arange(16.0).reshape(4, 4)


@pytest.mark.parametrize(
    ("masks", "maps", "message"),
    [
        ([MASK, MASK], [MAP, np.where(MAP == 6, np.nan, MAP)], r"maps\[1\] holds nan at row 1, column 2.*finite"),
        ([MASK], [np.where(MAP == 15, np.inf, MAP)], r"maps\[0\] holds inf at row 3, column 3"),
        ([MASK], [MAP[:3]], r"masks\[0\] has shape \(4, 4\), but maps\[0\] has \(3, 4\).*Resize the map"),
        ([np.stack([MASK] * 3, axis=-1)], [MAP], r"masks\[0\] has shape \(4, 4, 3\)"),
        ([None, MASK * 7], [MAP, MAP], r"masks\[1\] must hold booleans.*masks > 127"),
        ([MASK + (MAP == 1) * 254], [MAP], r"masks\[0\] must hold"),
        ([1 - 2 * MASK], [MAP], r"masks\[0\] must hold"),
        ([np.where(MASK, np.nan, 0)], [MAP], r"masks\[0\] must hold"),
        ([MAP], [MASK], "masks come before maps"),
        (["000_mask.png"], [MAP], r"masks\[0\] is a path, '000_mask.png'.*convert"),
        (MASK, MAP, r"maps\[0\] must be an array.*A single map goes into a list"),
        ([MASK], [[MAP]], r"maps\[0\] must be an array.*chain.from_iterable"),
        ([MASK], [MAP + 1j], r"maps\[0\] must be an array of real numbers"),
        ([MASK], [MAP, MAP], "masks ends after 1 images, but maps goes on"),
        ((one for one in [MASK, MASK]), [MAP], "maps ends after 1 images, but masks goes on"),
        ([None, MASK * 0], [MAP, MAP], "None of the 32 pixels is anomalous.*Give the masks"),
        ([], [], "None of the 0 pixels"),
        ([MASK * 0 + 255], [MAP], "All 16 pixels are anomalous.*Add normal images"),
        ([MASK], [np.ma.masked_array(MAP, MAP > 9)], r"maps\[0\] is a masked array.*filled"),
        ([np.ma.masked_array(MASK)], [MAP], r"masks\[0\] is a masked array"),
        ([MASK], [[[1.0, 2.0], [3.0]]], r"maps\[0\] cannot be made an array: .*inhomogeneous"),
        ([torch.eye(4, requires_grad=True)], [MAP], r"masks\[0\] cannot be made an array: .*grad"),
        (np.ma.masked_array([MASK]), [MAP], r"masks\[0\] is a masked array"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name_and_position(masks, maps, message):
    with pytest.raises(ValueError, match=message):
        pixel_scores(masks, maps)


SCORES = [pixel_scores, pixel_roc_auc_score, pixel_average_precision_score, pro_auc_score, pro_curve]


@pytest.mark.parametrize("score", [pro_auc_score, pixel_scores])
def test_any_kind_of_number_is_a_rate(score):
    for one in (np.int64(1), np.float64(1), 1):
        np.testing.assert_equal(score([MASK], [MAP], max_fpr=one), score([MASK], [MAP], max_fpr=1.0))


@pytest.mark.parametrize("score", SCORES)
def test_labels_that_agree_change_nothing(score):
    masks, maps = draw()
    y = np.where(masks.any(axis=(1, 2)), -1, 1)
    for labels in (y, y.tolist(), y.astype(float), y.astype(object)):
        np.testing.assert_equal(score(masks, maps, y=labels), score(masks, maps))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("masks", "y", "message"),
    [
        ([MASK, None, None], [-1, 1, -1], r"masks\[2\] is None, but y\[2\] is -1.*leave the image out"),
        ([MASK, MASK * 0], [-1, -1], r"masks\[1\] marks no pixel, but y\[1\] is -1"),
        ([None, MASK], [1, 1], r"masks\[1\] marks 4 anomalous pixels, but y\[1\] is \+1.*same order"),
        ([MASK, None], [-1], "y ends after 1 images, but masks goes on"),
        ([MASK, None], [-1, 1, 1], "masks ends after 2 images, but y goes on"),
        ([MASK, None], [1, 0], r"y\[1\] is .*0.*\+1 \(normal\) or -1.*as_labels"),
        ([MASK, None], [-1, None], r"y\[1\] is None"),
        ([MASK, None], [-1, np.nan], r"y\[1\] is .*nan"),
        ([MASK, None], np.array([-1, True], dtype=object), r"y\[1\] is True"),
        ([MASK, None], ["bad", "good"], r"y\[0\] is .*'bad'"),
        ([MASK, None], [True, False], "y must hold a label for each image"),
        ([MASK, None], [[-1], [1]], "y must hold a label for each image"),
        ([MASK, None], -1, "y must hold a label for each image"),
        ([MASK, None], np.ma.masked_array([-1, 1]), "y is a masked array"),
        ([MASK, None], [[-1], [1, 1]], "y cannot be made an array: .*inhomogeneous"),
    ],
)
def test_masks_must_agree_with_labels(score, masks, y, message):
    with pytest.raises(ValueError, match=message):
        score(masks, [MAP] * len(masks), y=y)


@pytest.mark.parametrize(
    ("masks", "maps"), [("masks", [MAP]), (None, [MAP]), ([MASK], 3), ({"a": MASK}, [MAP]), ([None], {1.0})]
)
def test_what_holds_no_images_is_refused(masks, maps):
    with pytest.raises(TypeError, match="must be a sequence or an iterable of images"):
        pixel_scores(masks, maps)


@pytest.mark.parametrize("max_fpr", [0, 1.1, True, "0.3", np.nan, None])
def test_max_fpr_is_a_share_and_is_checked_before_any_image_is_read(max_fpr):
    unread = (pytest.fail("read") for _ in range(1))
    for score in (pro_auc_score, pixel_scores):
        with pytest.raises(ValueError, match=r"max_fpr must be a share in \(0, 1\]"):
            score(unread, unread, max_fpr=max_fpr)


def test_public_functions_are_documented():
    for name in metrics.__all__:
        assert {"Returns", "Raises", "Examples"} <= set(inspect.getdoc(getattr(metrics, name)).split())
