import numpy as np
import pandas as pd
import pytest
from crepes.martingales import semi_online_p_values
from joblib import dump, load
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector, make_line
from skgad._images._relighting import relight
from skgad.monitoring import ConformalTestMartingale, FeatureDrift, LineMonitor
from skgad.monitoring._bets import count_experts, left_to_start, log_gains, starting_at
from skgad.monitoring._timeline import Timeline


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# The bets


@pytest.mark.parametrize("defect_share", [0, 0.02, 0.05, 0.2])
def test_no_bet_gains_on_average_from_uniform_p_values(defect_share):
    grid = (np.arange(2_000_000) + 0.5) / 2_000_000
    means = np.exp(log_gains(grid, defect_share)).mean(axis=0)
    assert len(means) == count_experts(defect_share)
    assert means.max() < 1.001
    assert (means > 0.98).sum() >= 9  # fair, where nothing is given away to defects; the grid misses a pole


@pytest.mark.parametrize("share", [0.005, 0.02])
def test_no_bet_gains_from_defects_up_to_the_share_that_rank_lowest(share):
    p = (np.arange(400_000) + 0.5) / 400_000
    normal = share + (1 - share) * p  # among others of which a share are defects
    means = (1 - share) * np.exp(log_gains(normal, 0.02)).mean(axis=0)
    means += share * np.exp(log_gains(share * p, 0.02)).mean(axis=0)
    assert means.max() < 1.001


def test_the_capital_that_is_left_and_that_started_is_one():
    numbers = np.arange(5000)
    np.testing.assert_allclose(starting_at(numbers).sum() + left_to_start(5000), 1)
    assert (starting_at(numbers) > 0).all()


# The martingale


def test_p_values_are_ranks_among_the_calibration_and_all_before():
    calibration, new = draw(40), draw(60, seed=1)
    martingale = ConformalTestMartingale(random_state=0).fit(calibration).observe(new)
    for at, (score, p_value) in enumerate(zip(new, martingale.p_values_, strict=True)):
        before = np.concatenate([calibration, new[:at]])
        n_below = (before < score).sum()
        assert n_below / (len(before) + 1) <= p_value <= (n_below + 1) / (len(before) + 1)


def test_p_values_agree_with_crepes():
    scores = draw(300)
    ours = ConformalTestMartingale(random_state=0).fit(scores[:1]).observe(scores[1:]).p_values_
    theirs = semi_online_p_values(-scores, seed=0)[1:]  # nonconformity: higher is more anomalous
    assert (np.abs(ours - theirs) * np.arange(2, 301) <= 1).all()  # of one rank: each draws its own place within it


def naive_martingale(p_values, defect_share=0.02):
    """The mean over experts and starting points of products, and what has not started."""
    gains = np.exp(log_gains(p_values, defect_share))
    values = []
    for now in range(1, len(p_values) + 1):
        started = sum(starting_at(start) * gains[start:now].prod(axis=0).mean() for start in range(now))
        values.append(started + left_to_start(now))
    return np.array(values)


def test_values_are_those_of_a_naive_mixture_over_bets_and_starts():
    martingale = ConformalTestMartingale(random_state=0).fit(draw(50)).observe(draw(40, seed=1) - 1)
    np.testing.assert_allclose(np.exp(martingale.log_values_), naive_martingale(martingale.p_values_), rtol=1e-10)


def test_shiryaev_roberts_sums_over_starts_and_alarms_at_the_run_length():
    martingale = ConformalTestMartingale(run_length=500, random_state=0).fit(draw(50)).observe(draw(60, seed=1) - 1)
    gains = np.exp(log_gains(martingale.p_values_, 0.02))
    naive = [sum(gains[start:now].prod(axis=0).mean() for start in range(now)) for now in range(1, 61)]
    np.testing.assert_allclose(np.exp(martingale.log_values_), naive, rtol=1e-10)
    assert martingale.alarm_at_ == np.argmax(np.array(naive) >= 500)


@pytest.mark.parametrize("defects", [0, 0.02])
def test_false_alarms_stay_within_alpha(defects):
    alarms = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        new = rng.standard_t(3, size=400)
        new[rng.random(400) < defects] -= 100
        martingale = ConformalTestMartingale(alpha=0.1, random_state=seed).fit(rng.standard_t(3, size=80))
        alarms += martingale.observe(new).alarm_at_ is not None
    assert stats.binomtest(alarms, 120, 0.1, alternative="greater").pvalue > 0.01


def test_ranks_among_the_calibration_alone_would_not_do():
    """The reason for ranks among earlier images: the luck of a calibration is taken for a change."""
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        calibration, new = np.sort(rng.normal(size=100)), rng.normal(size=3000)
        p_values = (np.searchsorted(calibration, new) + rng.random(3000)) / 101
        martingale = ConformalTestMartingale(alpha=0.1, random_state=seed).fit(calibration)
        alarms += martingale._bet(p_values).max() > np.log(10)
    assert stats.binomtest(alarms, 20, 0.1, alternative="greater").pvalue < 1e-3


def test_a_change_is_found_soon_and_its_beginning_too():
    martingale = ConformalTestMartingale(random_state=0).fit(draw(300)).observe(draw(500, seed=1))
    assert martingale.alarm_at_ is None
    martingale.observe(draw(100, seed=2) - 3)
    assert 500 <= martingale.alarm_at_ <= 515
    assert 490 <= martingale.change_at_ <= 505
    assert martingale.n_seen_ == 600


def test_it_does_not_matter_how_many_come_at_once():
    new = draw(300, seed=1) - 0.5
    whole = ConformalTestMartingale(random_state=0).fit(draw(100)).observe(new)
    parts = ConformalTestMartingale(random_state=0).fit(draw(100))
    values = np.concatenate([parts.observe(some).log_values_ for some in np.split(new, [1, 50, 51])])
    np.testing.assert_array_equal(values, whole.log_values_)
    assert parts.alarm_at_ == whole.alarm_at_
    pd.testing.assert_frame_equal(parts.history(), whole.history())


def test_memory_is_bounded_and_p_values_stay_uniform(monkeypatch):
    monkeypatch.setattr("skgad.monitoring._martingale._MOST", 50)
    martingale = ConformalTestMartingale(random_state=0).fit(draw(200)).observe(draw(4000, seed=1))
    assert [len(pool) for pool in martingale._pools.values()] == [50]
    assert stats.kstest(martingale.p_values_, "uniform").pvalue > 0.01
    lag = np.corrcoef(martingale.p_values_[1:], martingale.p_values_[:-1])[0, 1]
    assert abs(lag) < 3 / np.sqrt(4000)
    assert len(martingale.history()) <= 1000
    assert martingale.history()["log_value"].max() == pytest.approx(martingale.log_values_.max())


def test_each_category_is_ranked_among_its_own():
    calibration, kinds = draw(200), np.repeat(["a", "b"], 100)
    calibration[100:] += 50
    new = draw(100, seed=1)
    new[50:] += 50
    martingale = ConformalTestMartingale(random_state=0).fit(calibration, categories=kinds)
    martingale.observe(new, categories=np.repeat(["a", "b"], 50))
    alone = ConformalTestMartingale(random_state=0).fit(calibration[:100]).observe(new[:50])
    np.testing.assert_array_equal(martingale.p_values_[:50], alone.p_values_)
    with pytest.raises(ValueError, match="category 'c' had no images in the calibration"):
        martingale.observe([0.0], categories=["c"])
    with pytest.raises(ValueError, match="fit had categories: give them"):
        martingale.observe([0.0])
    with pytest.raises(ValueError, match="categories came, and fit had none"):
        alone.observe([0.0], categories=["a"])
    with pytest.raises(ValueError, match="one for each of the 2 scores"):
        martingale.observe([0.0, 1.0], categories=["a"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0}, "alpha must be a share"),
        ({"alpha": 2}, "alpha must be a share"),
        ({"run_length": 1}, "run_length must be a number of images"),
        ({"run_length": 10.5}, "run_length must be a number of images"),
        ({"defect_share": -0.1}, "defect_share must be a share"),
        ({"defect_share": 0.5}, "below 0.5"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        ConformalTestMartingale(**parameters).fit([0.0])


def test_bad_scores_change_nothing():
    martingale = ConformalTestMartingale(random_state=0).fit(draw(30)).observe(draw(5, seed=1))
    before = martingale.get_state()
    for bad, message in (([0.0, np.nan], "score 1 is nan"), ([[0.0]], r"shape \(n_samples,\)")):
        with pytest.raises(ValueError, match=message):
            martingale.observe(bad)
    for key, value in martingale.get_state().items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(ValueError, match="no scores of the calibration"):
        ConformalTestMartingale().fit([])


# What moved


def named(X, levels=(1, 7), cells=("",)):
    blocks = [f"level{level}__" + (f"{cell}__" if cell else "") for level in levels for cell in cells]
    width = X.shape[1] // len(blocks)
    return pd.DataFrame(X, columns=[f"{block}{index:04d}" for block in blocks for index in range(width)])


@pytest.mark.parametrize(("n_samples", "n_features"), [(200, 20), (60, 90)])
def test_p_values_of_means_are_near_uniform(n_samples, n_features):
    scales = draw(n_features, n_features, seed=9) * np.logspace(0, -1.5, n_features)
    p_values = []
    for seed in range(60):
        rows = draw(n_samples + 40, n_features, seed=seed) @ scales
        drift = FeatureDrift().fit(rows[:n_samples]).observe(rows[n_samples:])
        p_values.append(drift.table()["p_value"][0])
    assert np.mean(np.array(p_values) < 0.05) < 0.15
    assert 0.35 < np.mean(p_values) < 0.65


def test_the_shift_is_the_mahalanobis_distance_of_the_mean():
    X, new = draw(300, 6), draw(50, 6, seed=1) + 0.3
    table = FeatureDrift().fit(named(X)).observe(named(new)).table()
    for row, columns in zip(table.itertuples(), (slice(0, 3), slice(3, 6)), strict=True):
        detector = MahalanobisDetector().fit(X[:, columns])
        expected = -detector.score_samples(new[:, columns].mean(axis=0, keepdims=True))[0]
        assert row.shift == pytest.approx(expected)
    assert table["n_samples"].tolist() == [50, 50]


def test_what_moved_is_named_by_level_and_place():
    cells = ("g1r0c0", "g2r0c0", "g2r0c1")
    X, new = named(draw(200, 24), cells=cells), named(draw(64, 24, seed=1), cells=cells)
    new.loc[:, [name for name in new if name.startswith("level7__g2r0c1")]] += 1
    table = FeatureDrift().fit(X).observe(new).table()
    assert table.loc[table["p_value"] < 1e-6, ["level", "cell"]].to_numpy().tolist() == [["level7", "g2r0c1"]]


def test_since_counts_the_bins_that_begin_then():
    X, new = draw(200, 4), draw(160, 4, seed=1)
    drift = FeatureDrift().fit(X).observe(new)
    assert drift.table(since=65)["n_samples"].tolist() == [80]
    alone = FeatureDrift().fit(X).observe(new[80:])
    assert drift.table(since=65)["shift"][0] == pytest.approx(alone.table()["shift"][0])
    assert drift.table(since=10_000)["n_samples"].tolist() == [16]
    with pytest.raises(ValueError, match="since must be a non-negative int"):
        drift.table(since=-1)


def test_merged_streams_are_one():
    X, new = draw(200, 4), draw(300, 4, seed=1)
    here, there = (FeatureDrift().fit(X).observe(part) for part in (new[:100], new[100:]))
    whole = FeatureDrift().fit(X).observe(new)
    assert here.merge(there).n_seen_ == 300
    pd.testing.assert_frame_equal(here.table(), whole.table())
    with pytest.raises(ValueError, match="not fitted on the same normal rows"):
        here.merge(FeatureDrift().fit(X[1:]))


def test_a_timeline_holds_all_rows_in_few_bins():
    timeline, rows = Timeline(2), draw(20_000, 2)
    for at in range(0, len(rows), 100):
        timeline.add(rows[at : at + 100], at)
    assert len(timeline.counts) < 9 * np.log2(len(rows) / 16)
    assert timeline.counts.sum() == len(rows)
    np.testing.assert_allclose(timeline.sums.sum(axis=0), rows.sum(axis=0))
    ends = np.append(timeline.starts[1:], len(rows))
    np.testing.assert_array_equal(ends - timeline.starts, timeline.counts)
    for start, end, total in zip(timeline.starts, ends, timeline.sums, strict=True):
        np.testing.assert_allclose(total, rows[start:end].sum(axis=0), atol=1e-9)


def test_many_merged_timelines_have_few_bins():
    timeline = Timeline(2)
    for seed in range(200):
        other = Timeline(2)
        other.add(draw(5, 2, seed=seed), 0)
        timeline.merge(other)
    assert timeline.counts.sum() == 1000
    assert len(timeline.counts) < 60


def test_images_of_any_form_can_be_altered(line, textures):
    monitor = LineMonitor(line, random_state=0).observe(textures[80:100])
    as_floats = (textures[80:100] / 255).astype(np.float32)
    expected = monitor.compare_alterations(textures[80:100])
    found = monitor.compare_alterations(as_floats)
    found, expected = (table.set_index("alteration")["cosine"].sort_index() for table in (found, expected))
    pd.testing.assert_series_equal(found, expected, atol=1e-3)
    grey = np.repeat(textures[80:100].mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    of_grey = set(monitor.compare_alterations(grey)["alteration"])
    assert set(expected.index) - of_grey == {"warmer", "cooler"}


def test_similarity_is_the_cosine_of_whitened_shifts():
    X = draw(400, 5) @ draw(5, 5, seed=3)
    drift = FeatureDrift().fit(X).observe(X[:100] + 2.0)
    detector = MahalanobisDetector().fit(X)
    moved = X[:100].mean(axis=0) + 2.0 - X.mean(axis=0)
    inverse = np.linalg.inv(detector.covariance_[0])
    directions = draw(3, 5, seed=4)
    expected = directions @ inverse @ moved
    expected /= np.sqrt(moved @ inverse @ moved * np.einsum("ij,jk,ik->i", directions, inverse, directions))
    np.testing.assert_allclose(drift.similarity(directions), expected)
    np.testing.assert_allclose(drift.similarity([moved, -moved, 0 * moved]), [1, -1, 0], atol=1e-12)


def test_places_that_are_the_same_for_all_images_are_left_out():
    cells = ("g1r0c0", "g2r0c0")
    X = named(draw(60, 16), cells=cells)
    X.loc[:, [name for name in X if "g2r0c0" in name and "level1" in name]] = 0.5
    table = FeatureDrift().fit(X).observe(X[:20] + 0.1).table()
    assert list(zip(table["level"], table["cell"], strict=True)) == [
        ("level1", "g1r0c0"),
        ("level7", "g1r0c0"),
        ("level7", "g2r0c0"),
    ]
    drift = FeatureDrift().fit(X).observe(X[:20] + 0.1)
    assert drift.similarity(X[:1] * 0 + 0.1).shape == (1,)
    with pytest.raises(ValueError, match="nothing that could move"):
        FeatureDrift().fit(np.ones((20, 3)))


def test_drift_refuses_what_it_cannot_tell():
    with pytest.raises(ValueError, match="FeatureDrift needs at least 10 normal rows to learn from; got n_samples = 9"):
        FeatureDrift().fit(draw(9, 3))
    with pytest.raises(ValueError, match="Nothing was observed"):
        FeatureDrift().fit(draw(20, 3)).table()
    assert FeatureDrift().fit(draw(20, 3)).history().empty


# A line's monitor


@pytest.fixture(scope="module")
def textures():
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, size=(140, 8, 8, 3))
    return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def line(textures):
    return make_line("tf_efficientnet_lite0", fpr=0.05, image_size=64).fit(textures[:80])


def test_a_line_says_when_and_what(line, textures):
    monitor = LineMonitor(line, random_state=0).observe(textures[80:110])
    assert "30 images, no alarm" in monitor.describe()
    darker = [relight(image, 0.6) for image in textures[110:140]]
    monitor.observe(darker)
    assert 30 <= monitor.alarm_at_ < 60
    assert monitor.n_seen_ == 60
    table = monitor.compare_alterations(darker)
    assert table["alteration"][0] == "darker"
    assert "everywhere" in monitor.describe(darker)
    assert "darker" in monitor.describe(darker)
    moved = monitor.what_moved()
    assert (np.diff(moved["shift"] / moved["chance"]) <= 0).all()


def test_features_that_are_there_give_the_same(line, textures):
    images = textures[80:100]
    one = LineMonitor(line, random_state=0).observe(images)
    features = line[:-1].transform(images)
    other = LineMonitor(line, random_state=0).observe_features(features, line[-1].score_samples(features))
    np.testing.assert_array_equal(one.martingale_.log_values_, other.martingale_.log_values_)
    pd.testing.assert_frame_equal(one.what_moved(), other.what_moved())


@pytest.mark.parametrize("form", ["npca", "frozen", "whole pipeline inside", "folds"])
def test_any_calibrated_detector_can_be_watched(form, textures):
    X, new = draw(120, 6), draw(60, 6, seed=1)
    detectors = {
        "npca": lambda: FPRThresholdCV(make_pipeline(NPCA(0.9), MahalanobisDetector()), fpr=0.05).fit(X),
        "frozen": lambda: FPRThresholdCV(FrozenEstimator(MahalanobisDetector().fit(X[:60])), fpr=0.05).fit(X[60:]),
        "folds": lambda: FPRThresholdCV(MahalanobisDetector(), cv=5, fpr=0.05).fit(X),
    }
    if form == "whole pipeline inside":
        extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3], image_size=64)
        detector = FPRThresholdCV(make_pipeline(extractor, MahalanobisDetector()), fpr=0.05).fit(textures[:60])
        X, new = textures[:60], textures[60:90]
    else:
        detector = detectors[form]()
    monitor = LineMonitor(detector, random_state=0).observe(new)
    expected = ConformalTestMartingale(random_state=0).fit(detector.out_of_fold_scores_)
    np.testing.assert_allclose(
        monitor.martingale_.log_values_, expected.observe(detector.score_samples(new)).log_values_
    )
    if form in ("frozen", "folds"):
        with pytest.raises(ValueError, match="keeps no features"):
            monitor.what_moved()
        monitor = LineMonitor(detector, normal=X, random_state=0).observe(new)
    assert monitor.what_moved()["n_samples"].eq(len(new)).all()


def test_a_line_with_maps_has_the_alarm_alone(textures):
    line = make_line("tf_efficientnet_lite0", fpr=0.1, image_size=64, maps=True).fit(textures[:30])
    monitor = LineMonitor(line, random_state=0).observe(textures[30:50])
    assert monitor.drift_ is None
    assert monitor.n_seen_ == 20
    with pytest.raises(ValueError, match=r"makes none \(with maps\)"):
        monitor.what_moved()


def test_what_cannot_be_watched_is_refused():
    X = draw(60, 3)
    with pytest.raises(TypeError, match="ends in FPRThresholdCV"):
        LineMonitor(MahalanobisDetector().fit(X))
    grouped = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X, groups=np.arange(60) // 2)
    with pytest.raises(ValueError, match="calibrated with groups"):
        LineMonitor(grouped)
    plain = LineMonitor(FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X)).observe(X[:5])
    with pytest.raises(ValueError, match="takes features, not images"):
        plain.compare_alterations([np.zeros((8, 8, 3), dtype=np.uint8)])


def test_observing_is_all_or_nothing():
    X = draw(60, 3)
    monitor = LineMonitor(FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X), random_state=0).observe(X[:5])
    with pytest.raises(ValueError, match="score 0 is nan"):
        monitor.observe_features(X[:1], [np.nan])
    with pytest.raises(ValueError, match="NaN"):
        monitor.observe(np.full((1, 3), np.nan))
    assert (monitor.n_seen_, monitor.drift_.n_seen_) == (5, 5)


def test_categories_of_the_line_are_those_of_the_monitor():
    X, kinds = draw(120, 3), np.repeat(["a", "b"], 60)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X, categories=kinds)
    monitor = LineMonitor(detector, random_state=0).observe(X[:4], categories=["a", "b", "b", "a"])
    assert monitor.n_seen_ == 4
    with pytest.raises(ValueError, match="fit had categories"):
        monitor.observe(X[:1])
    assert monitor.n_seen_ == monitor.drift_.n_seen_ == 4


@pytest.mark.parametrize("categories", [None, np.repeat(["a", "b"], 60)])
def test_state_goes_on_where_it_was(categories, tmp_path):
    X, new = draw(120, 3), draw(100, 3, seed=1) - 0.5
    kinds = None if categories is None else np.resize(["a", "b"], 100)

    def parts(rows):
        return {"categories": None if kinds is None else kinds[rows]}

    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(X, categories=categories)
    whole = LineMonitor(detector, random_state=0).observe(new, **parts(slice(None)))
    first = LineMonitor(detector, random_state=0).observe(new[:40], **parts(slice(40)))
    first.save_state(tmp_path / "state.npz")
    second = LineMonitor(detector, random_state=5).load_state(tmp_path / "state.npz")
    second.observe(new[40:], **parts(slice(40, None)))
    np.testing.assert_array_equal(second.martingale_.log_values_, whole.martingale_.log_values_[40:])
    pd.testing.assert_frame_equal(second.martingale_.history(), whole.martingale_.history())
    pd.testing.assert_frame_equal(second.what_moved(), whole.what_moved())
    assert (second.alarm_at_, second.change_at_) == (whole.alarm_at_, whole.change_at_)
    dump(second, tmp_path / "monitor.joblib")
    assert load(tmp_path / "monitor.joblib").describe() == second.describe()


def test_a_state_of_another_line_or_a_damaged_one_is_refused(tmp_path):
    X = draw(120, 3)
    one, other = (FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(part) for part in (X, X[:100]))
    path = tmp_path / "state.npz"
    LineMonitor(one).observe(X[:10]).save_state(path)
    with pytest.raises(ValueError, match="state of another line"):
        LineMonitor(other).load_state(path)
    with pytest.raises(ValueError, match="other parameters"):
        LineMonitor(one, alpha=0.05).load_state(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="damaged"):
        LineMonitor(one).load_state(path)
    with pytest.raises(FileNotFoundError):
        LineMonitor(one).load_state(tmp_path / "none.npz")


def test_words_name_levels_and_places():
    cells = ("g1r0c0", "g2r0c0", "g2r0c1")
    detector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.1).fit(named(draw(200, 36), (1, 2, 7), cells))

    def describe(*touched):
        new = named(draw(60, 36, seed=1), (1, 2, 7), cells)
        for name in new:
            if name.startswith(touched):
                new[name] += 2
        return LineMonitor(detector, random_state=0).observe(new).describe()

    assert "beyond chance: levels 1 and 2, everywhere." in describe("level1", "level2")
    assert "beyond chance: level 7, upper right only." in describe("level7__g2r0c1")
    assert "beyond chance: all levels, everywhere." in describe("level")
    assert "beyond chance: levels 1 and 7, in 2 of 9 places." in describe("level1__g2r0c0", "level7__g2r0c1")


# Its picture


def test_the_display_draws_what_was_observed():
    import matplotlib.pyplot as plt

    from skgad.plotting import DriftDisplay

    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(named(draw(120, 6)))
    monitor = LineMonitor(detector, random_state=0).observe(named(draw(100, 6, seed=1)))
    display = DriftDisplay.from_estimator(monitor)
    assert display.alarm_line_ is None
    np.testing.assert_allclose(display.line_.get_ydata(), monitor.martingale_.history()["log_value"] / np.log(10))
    assert display.threshold_line_.get_ydata()[0] == pytest.approx(2)
    display = DriftDisplay.from_estimator(monitor.observe(named(draw(100, 6, seed=2) + 2)))
    assert display.alarm_line_.get_xdata()[0] == monitor.alarm_at_
    assert [label.get_text() for label in display.ax_[1].get_yticklabels()] == ["level 1", "level 7"]
    history = monitor.drift_.history()
    np.testing.assert_allclose(display.mesh_.get_array()[0], history.loc[history["level"] == "level1", "ratio"])
    display = DriftDisplay(history=monitor.martingale_.history(), log_threshold=4.6).plot(plt.subplots()[1])
    assert display.mesh_ is None
    plt.close("all")
    with pytest.raises(TypeError, match="pass a LineMonitor"):
        DriftDisplay.from_estimator(detector)
    with pytest.raises(ValueError, match="nothing was observed"):
        DriftDisplay.from_estimator(LineMonitor(detector))
    with pytest.raises(ValueError, match="it has no log_value"):
        DriftDisplay(history=history.rename(columns={"start": "n_seen"}), log_threshold=1.0)
