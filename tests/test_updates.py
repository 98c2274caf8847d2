"""A calibrated detector goes on: more normal images, another rate, a rate in each category."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.exceptions import WorkingPointWarning
from skgad.model_selection import LevelSelector

DETECTORS = [
    MahalanobisDetector(),
    MahalanobisDetector(levels="joint"),
    make_pipeline(LevelSelector([1, 2]), NPCA(0.3), MahalanobisDetector()),
    make_pipeline(LevelSelector([2]), MahalanobisDetector()),
]


def draw(n_samples, times=1, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (4 * times, 6 * times)
    mixing = np.random.default_rng(9).normal(size=(sum(sizes), sum(sizes)))
    names = [f"level{level}__{i:04d}" for level, size in enumerate(sizes, 1) for i in range(size)]
    return pd.DataFrame((rng.normal(size=(n_samples, sum(sizes))) @ mixing).astype(np.float32), columns=names)


def assert_same(one, other, new, rtol=1e-9):
    np.testing.assert_allclose(one.out_of_fold_scores_, other.out_of_fold_scores_, rtol=rtol)
    np.testing.assert_allclose(one.decision_function(new), other.decision_function(new), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(one.p_values(new), other.p_values(new))
    for name in ("offset_", "n_groups_", "fpr_interval_", "inflation_"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("times", [1, 15])
def test_an_update_is_a_fit_on_all_images(detector, times):
    X, new = draw(60, times), draw(40, times, seed=1)
    expected = FPRThresholdCV(detector, fpr=0.1).fit(X)
    updated = FPRThresholdCV(detector, fpr=0.1).fit(X[:30])
    before = updated.estimator_
    updated = pickle.loads(pickle.dumps(updated)).update(X[30:31]).update(X[31:])
    assert_same(updated, expected, new)
    assert before is not updated.estimator_


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("times", [1, 15])
def test_what_is_forgotten_leaves_a_fit_on_the_others(detector, times):
    X, new = draw(60, times), draw(40, times, seed=1)
    left = np.delete(np.arange(60), [0, 7, 59])
    expected = FPRThresholdCV(detector, fpr=0.1).fit(X.iloc[left])
    forgetful = FPRThresholdCV(detector, fpr=0.1).fit(X[:40]).update(X[40:]).forget([59, 0, 7])
    assert_same(forgetful, expected, new)


def test_a_frozen_detector_forgets_of_its_calibration():
    X = draw(90)
    frozen = FrozenEstimator(MahalanobisDetector().fit(X[:40]))
    expected = FPRThresholdCV(frozen, fpr=0.1).fit(X[60:])
    assert_same(FPRThresholdCV(frozen, fpr=0.1).fit(X[40:]).forget(range(20)), expected, X[:10])


def test_groups_and_categories_are_forgotten_with_their_images():
    X, groups, kinds = draw(80), np.arange(80) // 2, np.repeat(["a", "b"], 40)
    frozen = FrozenEstimator(MahalanobisDetector().fit(draw(40, seed=3)))
    left = np.delete(np.arange(80), np.arange(10))
    one = FPRThresholdCV(frozen, fpr=0.1).fit(X, groups=groups, categories=kinds).forget(range(10))
    other = FPRThresholdCV(frozen, fpr=0.1).fit(X.iloc[left], groups=groups[left], categories=kinds[left])
    assert one.offsets_ == other.offsets_
    assert one.n_groups_ == other.n_groups_ == 35


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 0], "different positions"),
        ([0.5], "different positions"),
        ([[0]], "different positions"),
        ([-1], r"rows must lie in 0\.\.59; got -1"),
        ([60], r"rows must lie in 0\.\.59"),
        (range(60), "No image would be left"),
        (range(55), "cannot be reached with n_samples = 5"),
    ],
)
def test_what_cannot_be_forgotten_is_refused_and_changes_nothing(rows, message):
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(draw(60))
    before = detector.out_of_fold_scores_.copy()
    with pytest.raises(ValueError, match=message):
        detector.forget(rows)
    np.testing.assert_array_equal(detector.out_of_fold_scores_, before)
    np.testing.assert_array_equal(detector.forget([]).out_of_fold_scores_, before)
    refitted = FPRThresholdCV(LocalOutlierFactor(novelty=True), fpr=0.1).fit(draw(60).to_numpy())
    with pytest.raises(ValueError, match="was calibrated by refits"):
        refitted.forget([0])


def test_an_update_is_of_normal_images_in_any_container():
    X, y = draw(60), np.where(np.arange(60) < 50, 1, -1)
    expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X[:50])
    for make in (lambda part: part, lambda part: pl.from_pandas(part), lambda part: part.to_numpy()):
        detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1)
        if make(X) is not X and not hasattr(make(X), "columns"):
            expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X[:50].to_numpy())
        updated = detector.fit(make(X[:30])).update(make(X[30:]), y[30:])
        np.testing.assert_allclose(updated.out_of_fold_scores_, expected.out_of_fold_scores_, rtol=1e-9)


def test_a_frozen_detector_is_calibrated_on_more_images_with_their_groups():
    frozen = FrozenEstimator(LocalOutlierFactor(novelty=True).fit(draw(50, seed=3).to_numpy()))
    X, new, groups = draw(80).to_numpy(), draw(40, seed=1).to_numpy(), np.repeat(np.arange(40), 2)
    expected = FPRThresholdCV(frozen, fpr=0.1).fit(X, groups=groups)
    updated = FPRThresholdCV(frozen, fpr=0.1).fit(X[:51], groups=groups[:51])  # group 25 has an image in each part
    assert_same(updated.update(X[51:], groups=groups[51:]), expected, new)
    with pytest.raises(ValueError, match="fit had groups: give those of these images"):
        updated.update(X)
    with pytest.raises(ValueError, match="groups came, and fit had none"):
        FPRThresholdCV(frozen, fpr=0.1).fit(X).update(X, groups=groups)


def test_images_go_through_an_extractor_once_and_no_pixels_are_kept(photographs, monkeypatch):
    images = photographs * 5
    counted = []
    transform = DeepFeatureTransformer.transform
    monkeypatch.setattr(
        DeepFeatureTransformer, "transform", lambda self, X: counted.append(len(X)) or transform(self, X)
    )
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[5, 6], image_size=32)
    line = FPRThresholdCV(make_pipeline(extractor, MahalanobisDetector(levels="joint")), fpr=0.2)
    line.fit(images[:-3]).update(images[-3:])
    assert counted == [len(images) - 3, 3]
    assert line.n_groups_ == len(images)


def test_what_was_calibrated_by_refits_takes_no_update_and_is_unchanged():
    X = draw(60).to_numpy()
    detector = FPRThresholdCV(LocalOutlierFactor(novelty=True), fpr=0.1).fit(X)
    with pytest.raises(ValueError, match=r"by refits, or on many machines, and keeps no features: fit it anew"):
        detector.update(X)
    updated = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X)
    scores = updated.score_samples(X)
    with pytest.raises(ValueError, match="NaN"):
        updated.update(X * np.nan)
    with pytest.raises(ValueError, match=r"X has other columns than those that were learnt: \(9,\) of them"):
        updated.update(X[:, :9])
    np.testing.assert_array_equal(updated.score_samples(X), scores)
    assert updated.n_groups_ == 60


def test_a_threshold_that_the_detector_has_left_behind_is_warned_of():
    X = draw(60)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X)
    detector.estimator_.partial_fit(X[:5])
    with pytest.warns(WorkingPointWarning, match=r"has 65 images in it, and the threshold rests on 60.*update\(X\)"):
        detector.predict(X)


def test_kept_rows_are_no_larger_than_they_came():
    X = draw(100, 60)
    detector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.1).fit(X)
    assert len(pickle.dumps(detector)) < 1.2 * X.to_numpy().nbytes + 2 * 8 * X.shape[1] * 8 + 50_000


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(60), 2)])
def test_another_rate_equals_a_fit_at_that_rate(groups):
    X, new = draw(120), draw(300, seed=1)
    moved = FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=5).fit(X, groups=groups).set_fpr(0.05)
    anew = FPRThresholdCV(MahalanobisDetector(), fpr=0.05, cv=5).fit(X, groups=groups)
    assert_same(moved, anew, new)
    assert moved.summary() == anew.summary()
    assert moved.fpr == 0.05
    n = 120 if groups is None else 60
    with pytest.raises(ValueError, match=rf"fpr=0.001 cannot be reached with n_.* = {n} .*at least 999"):
        moved.set_fpr(0.001)
    assert_same(moved, anew, new)


def products(sizes, seed=0):
    """Return rows of products that differ in spread, and which they are of."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(list(sizes), list(sizes.values()))
    spread = {"screw": 1.0, "nut": 2.0, "bolt": 0.5}
    return rng.normal(size=(len(kinds), 4)) * np.array([spread[kind] for kind in kinds])[:, np.newaxis], kinds


def test_each_category_keeps_the_rate_that_a_threshold_for_all_does_not():
    X, kinds = products({"screw": 552, "nut": 30})
    new, new_kinds = products({"screw": 4000, "nut": 4000}, seed=1)
    alone, each = FPRThresholdCV(MahalanobisDetector(), fpr=0.1), FPRThresholdCV(MahalanobisDetector(), fpr=0.1)
    mixed = alone.fit(X).predict(new)
    apart = each.fit(X, categories=kinds).predict(new, categories=new_kinds)
    assert (mixed[new_kinds == "nut"] == -1).mean() > 0.5
    for kind, n in (("screw", 552), ("nut", 30)):
        low, high = stats.beta.ppf([0.001, 0.999], (n + 1) // 10, n + 1 - (n + 1) // 10)
        assert low < (apart[new_kinds == kind] == -1).mean() < high


def test_categories_decide_p_values_thresholds_and_the_summary():
    X, kinds = products({"screw": 60, "nut": 40})
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X, categories=kinds)
    new, new_kinds = products({"nut": 50, "screw": 50}, seed=1)
    p, decision = detector.p_values(new, categories=new_kinds), detector.decision_function(new, categories=new_kinds)
    np.testing.assert_array_equal(decision < 0, p <= 0.1)
    np.testing.assert_array_equal(detector.predict(new, categories=new_kinds) == -1, p <= 0.1)
    own = detector.out_of_fold_scores_[kinds == "nut"]
    expected = [(1 + (own <= score).sum()) / 41 for score in detector.score_samples(new[:50])]
    np.testing.assert_allclose(p[:50], expected)
    assert detector.offsets_ == {
        kind: np.sort(detector.out_of_fold_scores_[kinds == kind])[k] for kind, k in (("nut", 3), ("screw", 5))
    }
    assert "nut: anomalous below" in detector.summary()
    assert "(40 images)" in detector.summary()
    np.testing.assert_array_equal(detector.fit_predict(X, categories=kinds), detector.predict(X, categories=kinds))
    moved = FPRThresholdCV(MahalanobisDetector(), fpr=0.2).fit(X, categories=kinds).set_fpr(0.1)
    assert moved.offsets_ == detector.offsets_
    assert not hasattr(detector.fit(X), "offsets_")


def test_an_update_knows_the_categories():
    X, kinds = products({"screw": 60, "nut": 40})
    order = np.random.default_rng(0).permutation(100)
    X, kinds = X[order], kinds[order]
    expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X, categories=kinds)
    updated = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X[:70], categories=kinds[:70])
    updated.update(X[70:], categories=kinds[70:])
    assert updated.offsets_ == pytest.approx(expected.offsets_)
    with pytest.raises(ValueError, match="give categories="):
        updated.update(X)


def test_categories_that_are_missing_new_or_small_are_refused_by_name():
    X, kinds = products({"screw": 60, "nut": 8})
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1)
    with pytest.raises(ValueError, match=r"'nut' \(8\).*at least 9 of each.*small_categories='pool'"):
        detector.fit(X, categories=kinds)
    detector.set_params(small_categories="pool").fit(X, categories=kinds)
    assert "nut: anomalous below" in detector.summary()
    assert "too few of its own (8 images)" in detector.summary()
    detector.predict(X[:1], categories=["bolt"])  # by all images
    strict = FPRThresholdCV(MahalanobisDetector(), fpr=0.2).fit(X, categories=kinds)
    with pytest.raises(ValueError, match=r"categories\[0\] is 'bolt': there was no calibration image"):
        strict.predict(X[:1], categories=["bolt"])
    with pytest.raises(ValueError, match=r"set for each category: give categories="):
        strict.predict(X)
    with pytest.raises(ValueError, match=r"set for all images together"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X).predict(X, categories=kinds)
    with pytest.raises(ValueError, match="small_categories must be 'raise' or 'pool'; got None"):
        detector.set_params(small_categories=None).fit(X, categories=kinds)


def test_categories_go_through_a_pipeline_by_metadata_routing():
    X, kinds = products({"screw": 60, "nut": 40})
    expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X, categories=kinds)
    with sklearn.config_context(enable_metadata_routing=True):
        line = make_pipeline(LevelSelector(), FPRThresholdCV(MahalanobisDetector(), fpr=0.1))
        line.fit(X, categories=kinds)
        found = line.predict(X, categories=kinds), line.decision_function(X, categories=kinds)
    np.testing.assert_array_equal(found[0], expected.predict(X, categories=kinds))
    np.testing.assert_allclose(found[1], expected.decision_function(X, categories=kinds))
