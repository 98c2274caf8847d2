"""The protocol against a twin written out by hand; cells that resume; tables, published figures, intervals."""

import re
import sys
import types
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import erf
from scipy.stats import chi2
from sklearn.base import BaseEstimator
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgad import NPCA, LevelwiseTransformer, MahalanobisDetector
from skgad.benchmark import (
    Bootstrap,
    Category,
    Cell,
    Result,
    average_categories,
    evaluate,
    load_mvtec,
    load_packaged,
    make_detector,
    make_folds,
    measure_aurocs,
    measure_working_points,
    published,
    run_tables,
)
from skgad.benchmark import _store as store_module
from skgad.benchmark._command import _make_parser, main
from skgad.benchmark._cost import measured
from skgad.benchmark._data import MVTEC_AD, find_gaps
from skgad.benchmark._features import Extractor
from skgad.benchmark._methods import find_kept, score_augmented, score_compressions, score_gaussians
from skgad.benchmark._published import EFFICIENTNETS, TRAINED
from skgad.benchmark._tables import LAYOUTS, build_table
from skgad.exceptions import WeightsError

LITE0 = "tf_efficientnet_lite0"
B4 = "tf_efficientnet_b4.aa_in1k"
TABLES = ("*.md", "table*.csv", "compare*.csv", "findings*.csv", "settings.json")


@pytest.fixture(scope="module")
def category(cells):
    """Forty normal cells to learn from, twenty and ten to judge by."""
    paths, y = cells
    test = np.r_[40:60, 60:70]
    return Category("cells", np.sort(paths[:40]), paths[test], y[test])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def features(category, cache):
    return Extractor(LITE0, cache=cache).extract(category)


@pytest.fixture(scope="module")
def run(category, cache, tmp_path_factory):
    """The cells of Tables I and III."""
    out = tmp_path_factory.mktemp("run")
    return evaluate([category], {LITE0: ["gaussians", "compressions"]}, out=out, cache=cache)


@pytest.fixture
def folders(tmp_path):
    """Two categories in the layout of MVTec AD, of images of noise; defects are brighter."""
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        for kind, count in (("train/good", 8), ("test/good", 4), ("test/bright", 4)):
            folder = tmp_path / "sets" / name / kind
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 128, size=(32, 32, 3)) + (60 if kind == "test/bright" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    return tmp_path / "sets"


def fabricate(distances, y, *, backbone=B4, category="bottle", fold=0, method="Mahalanobis", level="7", dof=3):
    result = Result([method], [level], np.array([dof]), np.asarray(distances, dtype=float)[np.newaxis], 0.0, 0.0)
    return Cell(backbone, category, fold, "gaussians", np.asarray(y), result)


def read_tables(out):
    return {path.name: path.read_bytes() for pattern in TABLES for path in out.glob(pattern) if path.name != "costs.md"}


# The protocol


def naive_distances(train, test, covariance):
    centred = test - train.mean(axis=0)
    if covariance == "ledoit_wolf":
        model = LedoitWolf().fit(train)
        return np.sqrt([row @ np.linalg.inv(model.covariance_) @ row for row in test - model.location_])
    if covariance == "diagonal":
        centred = StandardScaler().fit(train).transform(test)  # a constant feature counts in its own unit
    return np.sqrt(np.square(centred).sum(axis=1))


def naive_compressed(train, test, method):
    mean = train.mean(axis=0)
    _, singular, axes = np.linalg.svd(train - mean, full_matrices=False)
    ratios = np.cumsum(singular**2) / np.sum(singular**2)
    name, percent, _ = method.split()
    share = float(percent) / 100
    if name == "PCA":
        axes = axes[: 1 + next(k for k, ratio in enumerate(ratios) if ratio > share)]
    else:
        axes = axes[max(next(k for k, ratio in enumerate(ratios) if ratio > 1 - share) - 1, 0) :]
    return naive_distances((train - mean) @ axes.T, (test - mean) @ axes.T, "ledoit_wolf")


@pytest.mark.parametrize("method", ["L2", "SED", "Mahalanobis", "PCA 99 %", "PCA 95 %", "NPCA 1 %", "NPCA 0.01 %"])
def test_aurocs_equal_those_of_a_naive_protocol(run, category, features, method):
    kinds = {"L2": "identity", "SED": "diagonal", "Mahalanobis": "ledoit_wolf"}
    figures = measure_aurocs(run.cells)
    for level in ("1", "2", "3"):  # fewer features than images: no direction is arbitrary
        columns = [name for name in features.train if name.startswith(f"level{level}__")]
        train, test = features.train[columns].to_numpy(float), features.test[columns].to_numpy(float)
        expected = []
        for learnt, _ in KFold(5, shuffle=True, random_state=0).split(train):
            if method in kinds:
                distances = naive_distances(train[learnt], test, kinds[method])
            else:
                distances = naive_compressed(train[learnt], test, method)
            expected.append(100 * roc_auc_score(category.y_test == -1, distances))
        ours = figures[(figures["method"] == method) & (figures["level"] == level)].sort_values("fold")
        np.testing.assert_allclose(ours["value"], expected, atol=1e-9)


def test_sum_divides_averaged_distances_by_the_root_of_the_width(features):
    rows = {(row.method, row.level): row for row in score_gaussians(features.train, features.test)}
    numbers = [str(number) for number in range(1, 10)]
    for method in ("L2", "SED"):
        widths = [sum(name.startswith(f"level{number}__") for name in features.train) for number in numbers]
        expected = sum(
            rows[method, number].distances / np.sqrt(width) for number, width in zip(numbers, widths, strict=True)
        )
        np.testing.assert_allclose(rows[method, "sum"].distances, expected)
    expected = sum(rows["Mahalanobis", number].distances for number in numbers)
    np.testing.assert_allclose(rows["Mahalanobis", "sum"].distances, expected)


def test_one_decomposition_gives_what_each_estimator_of_skgad_gives(features):
    rows = {(row.method, row.level): row for row in score_compressions(features.train, features.test)}
    lines = {
        "NPCA 1 %": NPCA(0.01, rule="published"),
        "NPCA 0.1 %": NPCA(0.001, rule="published"),
        "NPCA 0.01 %": NPCA(0.0001, rule="published"),
    }
    for method, step in lines.items():
        line = make_pipeline(step, MahalanobisDetector()).fit(features.train)
        ours = rows[method, "sum"].distances
        np.testing.assert_allclose(ours, -line.score_samples(features.test), rtol=1e-4)
        assert rows[method, "7"].n_features == line[0].n_components_[6]
    for method, share in (("PCA 99 %", 0.99), ("PCA 95 %", 0.95)):
        step = LevelwiseTransformer(PCA(share, svd_solver="full"))
        line = make_pipeline(step, MahalanobisDetector()).fit(features.train)
        np.testing.assert_allclose(rows[method, "sum"].distances, -line.score_samples(features.test), rtol=1e-4)


def test_published_rule_keeps_from_one_before_the_crossing():
    variances = np.array([90.0, 8.5, 1.0, 0.4, 0.1])  # cumulative shares .9, .985, .995, .999, 1
    assert find_kept(variances, "leading", 0.99) == slice(0, 3)
    assert find_kept(variances, "trailing", 0.99) == slice(1, 5)
    assert find_kept(variances, "trailing", 0.5) == slice(0, 5)  # k = 0 keeps everything


def test_folds_learn_from_four_fifths():
    held_out = [np.setdiff1d(np.arange(23), learnt) for learnt in make_folds(23)]
    assert sorted(np.concatenate(held_out)) == list(range(23))
    expected = np.random.RandomState(0).permutation(23)[:5]  # KFold shuffles once, and takes stretches
    np.testing.assert_array_equal(held_out[0], np.sort(expected))


# Means, errors, rates, intervals


def test_folds_are_averaged_before_categories():
    values = {"bottle": [80.0, 90.0, 100.0], "cable": [50.0, 50.0, 56.0], "pill": [70.0, 71.0, 72.0]}
    rows = [(B4, name, fold, "L2", "7", 5, one) for name, many in values.items() for fold, one in enumerate(many)]
    frame = pd.DataFrame(rows, columns=["backbone", "category", "fold", "method", "level", "n_features", "value"])
    (row,) = average_categories(frame).itertuples()
    means = np.array([90.0, 52.0, 71.0])
    assert row.mean == pytest.approx(71.0)
    assert row.sem == pytest.approx(np.sqrt(np.square(means - 71.0).sum() / 2) / np.sqrt(3))
    assert row.n_categories == 3


def test_working_points_are_those_of_the_chi_square_law():
    rng = np.random.default_rng(0)
    distances, y = np.sqrt(rng.chisquare(12, size=400)) + np.repeat([0.0, 1.0], 200), np.repeat([1, -1], 200)
    figures = measure_working_points([fabricate(distances, y, dof=12)]).set_index("level")["value"]
    for n in range(1, 6):
        threshold = np.sqrt(chi2.ppf(erf(n / np.sqrt(2)), 12))
        assert figures[f"{n} sigma fpr"] == pytest.approx(100 * np.mean(distances[:200] > threshold))
        assert figures[f"{n} sigma tpr"] == pytest.approx(100 * np.mean(distances[200:] > threshold))
    assert figures["auroc"] == pytest.approx(100 * roc_auc_score(y == -1, distances))


def test_bootstrap_draws_weigh_images_alike_for_all_methods():
    rng = np.random.default_rng(0)
    y = np.repeat([1, -1], [12, 9])
    first, second = (rng.integers(0, 6, size=21) + 2 * (y == -1) for _ in range(2))  # with ties
    cells = [fabricate(one, y, fold=fold) for fold, one in enumerate((first, second))]
    bootstrap = Bootstrap(cells, n_draws=50)
    place = (B4, "Mahalanobis", "7")
    draws = np.random.default_rng([0, 0])
    normal = draws.multinomial(12, np.full(12, 1 / 12), size=50)
    anomalous = draws.multinomial(9, np.full(9, 1 / 9), size=50)
    weights = np.vstack([np.ones(21), np.hstack([normal, anomalous])])
    expected = [
        100 * np.mean([roc_auc_score(y == -1, one, sample_weight=row) for one in (first, second)]) for row in weights
    ]
    np.testing.assert_allclose(bootstrap.values[place][0], expected)
    mean, low, high = bootstrap.mean(place)
    assert mean == pytest.approx(expected[0])
    assert (low, high) == pytest.approx(tuple(np.quantile(expected[1:], [0.025, 0.975])))


def test_difference_of_equal_methods_has_no_width():
    y = np.repeat([1, -1], 10)
    distances = np.random.default_rng(0).normal(size=20)
    cells = [fabricate(distances, y, category=name) for name in ("bottle", "pill")]
    cells += [fabricate(2 * distances, y, category=name, method="double") for name in ("bottle", "pill")]
    mean, low, high, by_category = Bootstrap(cells, n_draws=20).difference(
        (B4, "Mahalanobis", "7"), (B4, "double", "7")
    )
    assert (mean, low, high) == (0, 0, 0)
    assert by_category == {"bottle": 0, "pill": 0}


# Published figures


def test_published_means_follow_from_published_categories():
    columns = [
        ("tf_efficientnet_b4.aa_in1k", "Mahalanobis, augmented"),
        ("tf_efficientnet_b4.aa_in1k", "NPCA 1 %, augmented"),
        ("tf_efficientnet_b0.aa_in1k", "one-class SVM"),
        ("tf_efficientnet_b4.aa_in1k", "one-class SVM"),
        ("ResNet-18", "autoencoder, CCA"),
        *((architecture, "supervised") for name, architecture, *_ in TRAINED if name == "Supervised bound"),
    ]
    for column in columns:
        values = np.array([published(8, *column, "sum", name)[0] for name in MVTEC_AD])
        mean, error = published(8, *column, "sum")
        assert abs(values.mean() - mean) < 0.1, column
        assert abs(values.std(ddof=1) / np.sqrt(15) - error) < 0.1, column


def test_published_tables_agree_where_they_overlap():
    for level in [*map(str, range(1, 10)), "sum"]:
        full = published(1, B4, "Mahalanobis", level)
        assert full == published(2, B4, "Mahalanobis", level) == published(3, B4, "Mahalanobis", level)
    assert published(1, B4, "Mahalanobis", "7") == (96.7, 1.0)
    assert published(7, "resnet34.tv_in1k", "Mahalanobis", "4") == (90.4, 3.6)
    assert published(4, EFFICIENTNETS[0], "Mahalanobis, augmented", "3 sigma fpr") == (13.5, None)
    assert published(4, B4, "NPCA 1 %, augmented", "auroc") == (93.7, None)
    assert published(1, "tf_efficientnet_lite0.in1k", "Mahalanobis", "7") is None


def test_mvtec_ad_has_its_number_of_images():
    train, test = np.array(list(MVTEC_AD.values())).sum(axis=0)
    assert (len(MVTEC_AD), train + test) == (15, 5354)  # as the papers' slides say


def test_published_figures_stand_only_beside_all_fifteen():
    y = np.repeat([1, -1], 10)
    rng = np.random.default_rng(0)
    cells = [
        fabricate(rng.normal(size=20) + (y == -1), y, category=name, level=level, fold=fold)
        for name in MVTEC_AD
        for fold in range(2)
        for level in ("7", "sum")
    ]
    with_paper = build_table(LAYOUTS["2"], cells, [B4], complete=True)
    row = with_paper.summary.set_index("level").loc["7"]
    assert (row["published"], row["published_sem"]) == (96.7, 1.0)
    assert row["difference"] == pytest.approx(row["mean"] - 96.7)
    line = next(line for line in with_paper.blocks[0][1].splitlines() if line.startswith("| 7 "))
    assert line == f"| 7 | {row['mean']:.1f} ± {row['sem']:.1f} | 96.7 ± 1.0 | {row['difference']:+.1f} |"
    without = build_table(LAYOUTS["2"], cells, [B4], complete=False)
    assert "96.7" not in without.blocks[0][1]
    assert without.summary["published"].isna().all()


# Resuming


def test_a_killed_run_resumes_to_the_same_bytes_without_repeating_cells(category, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("skgad.benchmark._report.draw", lambda table, file: None)  # most of the time, otherwise
    arguments = {"categories": [category], "backbones": [LITE0], "n_passes": 2, "cache": cache}
    run_tables("all", out=tmp_path / "whole", **arguments)
    put, computed = store_module.Store.put, []

    def stop_after_seven(self, key, result):
        if len(computed) == 7:
            raise KeyboardInterrupt
        computed.append(key)
        put(self, key, result)

    monkeypatch.setattr(store_module.Store, "put", stop_after_seven)
    with pytest.raises(KeyboardInterrupt):
        run_tables("all", out=tmp_path / "killed", **arguments)
    assert not list((tmp_path / "killed").glob("*.md"))

    def record(self, key, result):
        computed.append(key)
        put(self, key, result)

    monkeypatch.setattr(store_module.Store, "put", record)
    run_tables("all", out=tmp_path / "killed", **arguments)
    assert len(computed) == len(set(computed)) == len(list((tmp_path / "whole" / "cells").iterdir()))
    whole = read_tables(tmp_path / "whole")
    assert {
        "table1.md",
        "table3.csv",
        "table4_folds.csv",
        "compare.md",
        "findings.csv",
        "settings.json",
    } <= whole.keys()
    assert read_tables(tmp_path / "killed") == whole
    before = len(computed)
    run_tables("all", out=tmp_path / "killed", **arguments)
    assert len(computed) == before


def test_processes_give_the_same_bytes(category, cache, tmp_path):
    for n_jobs in (1, 2):
        run_tables(
            "1", categories=[category], backbones=[LITE0], cache=cache, n_jobs=n_jobs, out=tmp_path / str(n_jobs)
        )
    assert read_tables(tmp_path / "1") == read_tables(tmp_path / "2")


def test_other_images_are_other_cells(category, cells, cache, tmp_path):
    other = category._replace(X_train=np.array([*category.X_train[:-1], cells[0][75]]))  # as many images
    plan = {LITE0: ["gaussians"]}
    evaluate([category], plan, out=tmp_path, cache=cache)
    evaluate([other], plan, out=tmp_path, cache=cache)
    assert len(list((tmp_path / "cells").iterdir())) == 10


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store_module.write_atomically(tmp_path / "table.md", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_log_survives_half_a_line(tmp_path):
    from skgad.benchmark._protocol import ExtractionCost

    log = store_module.Log(tmp_path / "log.csv", ExtractionCost)
    row = ExtractionCost(LITE0, "pill", "plain", 10, 1.5, 20.0)
    log.add(row)
    with open(tmp_path / "log.csv", "a") as file:
        file.write(f"{LITE0},pi")
    assert log.read() == [row]


# Features and augmentation


def test_each_image_goes_through_the_network_once(category, cache, features):
    assert Extractor(LITE0, cache=cache).extract(category).n_extracted == 0


def test_passes_are_kept_and_stream_to_what_holding_them_all_gives(category, cache, features):
    extractor = Extractor(LITE0, cache=cache)
    passes = extractor.extract_passes(category, features, 3)
    written = [file.stat().st_mtime_ns for file in passes.files]
    again = extractor.extract_passes(category, features, 3)
    assert (again.key, again.n_extracted) == (passes.key, 0)
    assert [file.stat().st_mtime_ns for file in again.files] == written
    learnt = np.arange(0, 40, 2)
    blocks = list(passes.blocks(learnt, n_rows=25))
    assert [len(block) for block in blocks] == [20, 20, 20]
    everything = pd.concat(blocks, ignore_index=True)
    streamed = score_augmented(lambda: passes.blocks(learnt, n_rows=25), features.test)
    streamed = {(row.method, row.level): row for row in streamed}
    for level in ("1", "2", "4"):  # 60 rows for 32, 16 and 40 features
        columns = [name for name in everything if name.startswith(f"level{level}__")]
        train, test = everything[columns].to_numpy(float), features.test[columns].to_numpy(float)
        full = naive_distances(train, test, "ledoit_wolf")
        np.testing.assert_allclose(streamed["Mahalanobis, augmented", level].distances, full, rtol=1e-6)
        for method in ("PCA 99 %", "NPCA 1 %"):
            expected = naive_compressed(train, test, method)
            np.testing.assert_allclose(streamed[f"{method}, augmented", level].distances, expected, rtol=1e-3)


def test_a_pass_does_not_depend_on_other_passes(category, cache, features, tmp_path):
    kept = Extractor(LITE0, cache=cache).extract_passes(category, features, 3)
    alone = Extractor(LITE0, cache=tmp_path)
    first = alone.extract_passes(category, alone.extract(category), 1)
    np.testing.assert_array_equal(np.load(first.files[0]), np.load(kept.files[0]))
    assert np.abs(np.load(kept.files[0]) - np.load(kept.files[1])).max() > 0.01


# Data


def test_categories_are_read_and_sorted(folders):
    categories = load_mvtec(folders.parent)  # also one folder further up
    assert [one.name for one in categories] == ["left", "right"] == [one.name for one in load_mvtec([folders])]
    names = [path.rsplit("/")[-1] for path in categories[0].X_train]
    assert names == sorted(names)
    assert sorted(categories[0].y_test) == [-1] * 4 + [1] * 4
    assert not categories[0].is_original
    assert "15 are not there" in find_gaps(categories)


def test_all_that_is_missing_is_said_at_once(folders):
    for path in (folders / "left" / "test" / "good").iterdir():
        path.unlink()
    for path in list((folders / "right" / "train" / "good").iterdir())[4:]:
        path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_mvtec(folders, ["left", "right", "screw"])
    message = str(error.value)
    assert "screw: there is no such folder" in message
    assert "left: test/good is missing or empty" in message
    assert "right: train/good holds 4 images, 5 folds need 5" in message
    assert "Categories found: left, right" in message


def test_solar_cells_are_split_without_overlap():
    for category, n_normal in zip(load_packaged(), (588, 920), strict=True):
        assert not set(category.X_train) & set(category.X_test)
        assert len(category.X_train) == int(0.6 * n_normal)
        assert len(category.X_train) + (category.y_test == 1).sum() == n_normal
    with pytest.raises(ValueError, match="elpv_mono, elpv_poly; got mono"):
        load_packaged(["mono"])


# Baselines


def test_neighbours_are_those_of_the_last_level(features):
    detector = make_detector("neighbours", features.train.columns).fit(features.train)
    columns = [name for name in features.train if name.startswith("level9__")]
    train, test = features.train[columns].to_numpy(float), features.test[columns].to_numpy(float)
    squares = np.square(test[:, np.newaxis] - train).sum(axis=2)  # all 40, fewer than k = 50
    np.testing.assert_allclose(detector.score_samples(features.test), -squares.mean(axis=1))


def test_detectors_of_scikit_learn_come_by_name(features):
    detector = make_detector("LocalOutlierFactor", features.train.columns)
    assert detector.detector.novelty
    assert make_detector("IsolationForest", features.train.columns, random_state=3).detector.random_state == 3
    with pytest.raises(ValueError, match="scikit-learn has EllipticEnvelope"):
        make_detector("Isolation", features.train.columns)
    with pytest.raises(ValueError, match="Is its package installed"):
        make_detector("nowhere.Detector", features.train.columns)


def test_detectors_of_pyod_are_turned_round(features, monkeypatch):
    class Far(BaseEstimator):
        def fit(self, X, y=None):
            self.mean_ = X.mean(axis=0)
            return self

        def decision_function(self, X):
            return np.linalg.norm(X - self.mean_, axis=1)  # PyOD's sign: higher is more anomalous

    Far.__module__ = "pyod.models.far"
    module = types.ModuleType("pyod.models.far")
    module.Far = Far
    for name in ("pyod", "pyod.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pyod.models.far", module)
    detector = make_detector("pyod.models.far.Far", features.train.columns).fit(features.train)
    expected = -MahalanobisDetector("identity").fit(features.train).transform(features.test).sum(axis=1)
    np.testing.assert_allclose(detector.score_samples(features.test), expected, rtol=1e-5)


def test_cost_sees_memory_that_is_used():
    with measured() as little:
        sum(range(1000))
    with measured() as much:
        np.ones((64, 2**20), dtype=np.uint8).sum()
    if np.isnan(much.peak_mib):
        pytest.skip("this system does not tell")
    assert much.peak_mib > little.peak_mib + 50
    assert much.seconds > 0


# The command


def test_command_writes_tables_and_tells_what_is_wrong(folders, tmp_path, capsys):
    out = tmp_path / "out"
    common = ["--data", "mvtec", "--root", str(folders), "--out", str(out), "--cache", str(tmp_path / "cache")]
    own = [*common, "--backbone", LITE0, "--passes", "0"]
    assert main(["table", "1", *own, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    text = (out / "table1.md").read_text()
    assert "2 categories (left, right)" in text
    assert "| Level | L2 | SED | Mahalanobis |" in text
    assert (out / "table1.png").read_bytes().startswith(b"\x89PNG")
    assert "| gaussians |" in (out / "costs.md").read_text()

    assert main(["compare", *own, "--categories", "left", "--detectors", "IsolationForest"]) == 0
    printed = capsys.readouterr().out
    assert "seconds a fold" in printed
    for said in ("SPADE", "quoted", "Supervised bound", "see tuning V", "IsolationForest"):
        assert said in printed

    with pytest.raises(SystemExit):
        main(["table", "1", *common])  # B4: no weights, no connection
    assert "No weights for tf_efficientnet_b4.aa_in1k" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["table", "1", *own, "--categories", "centre"])
    assert "centre: there is no such folder" in capsys.readouterr().err


def test_a_category_is_not_a_folder_of_categories(tmp_path):
    (tmp_path / "train" / "good").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="is a category itself: pass its parent"):
        load_mvtec(tmp_path)


def test_weights_are_looked_for_before_anything_is_computed(category, cache, tmp_path):
    with pytest.raises(WeightsError):
        evaluate([category], {LITE0: ["gaussians"], B4: ["gaussians"]}, out=tmp_path, cache=cache)
    assert list(tmp_path.iterdir()) == []


def test_working_points_need_level_seven(category, cache, tmp_path):
    with pytest.warns(UserWarning, match="random"), pytest.raises(ValueError, match="level 7, which resnet18"):
        run_tables(
            "4",
            categories=[
                category._replace(
                    X_train=category.X_train[:10],
                    X_test=category.X_test[[0, 1, -2, -1]],
                    y_test=category.y_test[[0, 1, -2, -1]],
                )
            ],
            backbones=["resnet18"],
            weights=None,
            n_passes=0,
            cache=tmp_path / "cache",
            out=tmp_path / "out",
        )


def test_page_runs(cells, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("skgad.benchmark._data.load_elpv", lambda kind: cells)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "benchmark.md").read_text()
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "documentation", "exec"), namespace)  # noqa: S102
    assert set(measure_aurocs(namespace["run"].cells)["method"]) == {"L2", "SED", "Mahalanobis", "IsolationForest"}
    assert "Mahalanobis" in capsys.readouterr().out
    for command in re.findall(r"^python -m skgad.benchmark (.*)$", page, re.MULTILINE):
        _make_parser().parse_args(command.split())


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no archive"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "a bit": lambda path: _flip(path, path.read_bytes().index(b"distances.npy") + 40),
    "no key": lambda path: np.savez(path, methods=["L2"]),
    "an array": lambda path: path.write_bytes(_make_npy(np.zeros(3))),
    "rows lost": lambda path: np.savez(path, **{**np.load(path), "levels": ["1"]}),
}


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _make_npy(array):
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cell_is_named_and_none(tmp_path, damage):
    store = store_module.Store(tmp_path)
    result = Result(["L2", "SED"], ["1", "2"], np.array([3, 4]), np.ones((2, 50)), 1.0, 2.0)
    for _ in range(2):
        store.put("cell", result)
        DAMAGES[damage](tmp_path / "cell.npz")
        with pytest.warns(UserWarning, match=r"cell\.npz is damaged .* put aside as cell\.npz\.damaged, and computed"):
            assert store.get("cell") is None
    store.put("cell", result)
    assert store.get("cell").levels == ["1", "2"]


def test_a_run_with_damaged_cells_gives_the_same_tables(category, cache, tmp_path):
    arguments = {"categories": [category], "backbones": [LITE0], "n_passes": 0, "cache": cache, "out": tmp_path}
    run_tables("1", **arguments)
    before = read_tables(tmp_path)
    cells = sorted((tmp_path / "cells").glob("*.npz"))
    for path, damage in zip(cells, ("cut", "folder", "no key"), strict=False):
        DAMAGES[damage](path)
    (tmp_path / "extractions.csv").write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged") as caught:
        run_tables("1", **arguments)
    assert sum("is damaged" in str(one.message) for one in caught) == 3
    assert read_tables(tmp_path) == before


@pytest.mark.parametrize("left", [b"", b"backbone,cat", b"\xff\xfe"], ids=["nothing", "half a header", "no text"])
def test_a_log_goes_on_after_any_moment_of_a_killed_process(tmp_path, left):
    from skgad.benchmark._protocol import ExtractionCost

    row = ExtractionCost(LITE0, "pill", "plain", 10, 1.5, 20.0)
    (tmp_path / "log.csv").write_bytes(left)
    log = store_module.Log(tmp_path / "log.csv", ExtractionCost)
    if left == b"\xff\xfe":
        with pytest.warns(UserWarning, match=r"log\.csv is damaged"):
            assert log.read() == []
    log.add(row)
    log.add(row)
    with open(tmp_path / "log.csv", "ab") as file:
        file.write(b"tf_efficientnet_lite0,pi")
    log.add(row)
    assert log.read() == [row] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detectors", "os.getcwd"], "no class of estimators"),
        (["--detectors", ".x"], "Unknown detector"),
        (["--detectors", "NoSuch"], "Unknown detector"),
        (["--passes", "-1"], "at least 0"),
        (["--folds", "1"], "at least 2"),
        (["--folds", "many"], "invalid whole number"),
        (["--jobs", "0"], "at least 1"),
        (["--random-state", "-1"], "at least 0"),
        (["--cache", ""], "cache must be"),
        (["--backbone", "no_such_network"], "no_such_network"),
        (["--out", "{file}"], "cannot be written"),
        (["--root", "{file}"], ""),
        (["--root", "{missing}"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nonsense_on_the_command_line_is_one_line_and_exit_2(folders, tmp_path, capsys, options, message):
    (tmp_path / "file").write_text("")
    places = {"file": tmp_path / "file", "missing": tmp_path / "missing"}
    given = ["--data", "mvtec", "--root", str(folders), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "c")]
    given += ["--backbone", LITE0, "--passes", "0", *(word.format(**places) for word in options)]
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *given])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("python -m skgad.benchmark")
    assert message in last
