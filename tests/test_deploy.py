"""Exported lines: the same arithmetic in another place, checked against the line, and run without it."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from PIL import Image
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline

from skgad import (
    NPCA,
    CellwiseDetector,
    DeepFeatureTransformer,
    FPRThreshold,
    FPRThresholdCV,
    FullConformalThreshold,
    LevelwiseDetector,
    MahalanobisDetector,
    make_line,
    save_line,
)
from skgad.cli import main
from skgad.deep._graph import weigh_cells
from skgad.deploy import Runner, export_onnx, load
from skgad.deploy._builder import Builder
from skgad.deploy._tail import add_distances, add_judgement, add_maps, add_reduction, add_score
from skgad.exceptions import DependencyError, ExportError, WorkingPointWarning
from skgad.model_selection import LevelSelector
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector

from .conftest import LITE0

pytestmark = pytest.mark.usefixtures("export_once")


def begin(**inputs):
    """Return a builder on a model of these inputs, by their shapes, and nothing else."""
    helper = onnx.helper
    infos = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape]) for name, shape in inputs.items()
    ]
    graph = helper.make_graph([], "tail", infos, [])
    return Builder(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def run(builder, values, **outputs):
    """Return what the outputs, (tensor, element type) by name, are for these inputs."""
    shapes = {"d": ["n", None], "map": ["n", None, None]}
    builder.reset_outputs(**{name: (*pair, shapes.get(name, ["n"])) for name, pair in outputs.items()})
    onnx.checker.check_model(builder.model)
    session = onnxruntime.InferenceSession(builder.model.SerializeToString())
    return session.run(list(outputs), values)


def make_rows(n_samples, seed=0, widths=(12, 20)):
    """Return correlated float32 features of two levels, on different scales."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(sum(widths), sum(widths)))
    names = [f"level{level}__{i:04d}" for level, width in enumerate(widths, start=1) for i in range(width)]
    values = rng.normal(size=(n_samples, sum(widths))) @ mixing * np.repeat([1.0, 30.0], widths) + 5
    return pd.DataFrame(values.astype(np.float32), columns=names)


@pytest.mark.parametrize("n_samples", [200, 14], ids=["full", "low rank"])
@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize("covariance", ["ledoit_wolf", "oas", "diagonal", "identity"])
def test_distances_are_those_of_the_detector(covariance, levels, n_samples):
    detector = MahalanobisDetector(covariance, levels=levels).fit(make_rows(n_samples))
    new = make_rows(50, seed=1) * 1.3
    builder = begin(features=[new.shape[1]])
    found = run(
        builder, {"features": new.to_numpy(np.float32)}, d=(add_distances(builder, "features", detector), "FLOAT")
    )
    np.testing.assert_allclose(found[0], detector.transform(new.astype(np.float32)), rtol=2e-5)


def test_reductions_and_the_papers_threshold_stand_in_front_and_behind():
    rows, new = make_rows(200), make_rows(50, seed=1)
    pipe = make_pipeline(LevelSelector(levels=[2]), NPCA(0.2), MahalanobisDetector(), FPRThreshold(0.05))
    with pytest.warns(WorkingPointWarning):
        pipe.fit(rows)
    builder = begin(features=[new.shape[1]])
    tensor = add_reduction(builder, add_reduction(builder, "features", pipe[0]), pipe[1])
    score = add_score(builder, add_distances(builder, tensor, pipe[2]))
    label, p_value = add_judgement(builder, score, pipe[-1].offset_)
    found = run(builder, {"features": new.to_numpy()}, score=(score, "FLOAT"), label=(label, "INT64"))
    assert p_value is None
    np.testing.assert_allclose(found[0], pipe.score_samples(new), rtol=1e-4)
    np.testing.assert_array_equal(found[1] == -1, pipe.decision_function(new) < 0)


def test_p_values_are_read_off_the_staircase_ties_and_groups_included():
    rows = pd.concat([make_rows(60)] * 2)
    groups = np.arange(len(rows)) // 3
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(rows, groups=groups)
    edges, p_values = detector.p_value_staircase()
    scores = np.r_[edges.astype(np.float32) - 1e-3, edges[0] - 9, edges[-1] + 9].astype(np.float32)
    builder = begin(score=[])
    label, p_value = add_judgement(builder, "score", detector.offset_, (edges, p_values))
    found = run(builder, {"score": scores}, label=(label, "INT64"), p=(p_value, "FLOAT"))
    labels, expected = detector.judge_scores(scores)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return np.clip(120 + rng.normal(size=(30, 72, 60, 3)) * 12, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"gaussian": "tied", "aggregate": "mean", "neighborhood": 1},
        {"gaussian": "global", "aggregate": "top", "top_share": 0.2},
        {"standardize": False, "n_components": 0.5},
    ],
    ids=str,
)
def test_maps_are_those_of_the_detector(images, params):
    features = DeepFeatureTransformer(LITE0, levels=[3, 4, 5], image_size=64)
    detector = SpatialMahalanobisDetector(features, **params).fit(images)
    measures = detector.read_measures()
    maps = [
        np.concatenate(level) for level in zip(*(maps for _, maps in detector.features_.iter_maps(images)), strict=True)
    ]
    names = [f"map{level}" for level in detector.levels_]
    builder = begin(**{name: level.shape[1:] for name, level in zip(names, maps, strict=True)})
    score, anomaly_map = add_maps(builder, names, measures, (64, 64))
    found = run(builder, dict(zip(names, maps, strict=True)), score=(score, "FLOAT"), map=(anomaly_map, "FLOAT"))
    np.testing.assert_allclose(found[0], detector.score_samples(images), rtol=1e-4)
    expected = detector.score_maps(images)
    np.testing.assert_allclose(found[1], expected, atol=1e-4 * expected.max())


def test_cells_weigh_places_as_adaptive_pooling_does():
    import torch

    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32))
    weighed = weigh_cells(5, 7, (1, 2, 3)) @ maps.flatten(1, 2)
    expected = [
        torch.nn.functional.adaptive_avg_pool2d(maps.permute(0, 3, 1, 2), side).flatten(2).transpose(1, 2)
        for side in (1, 2, 3)
    ]
    torch.testing.assert_close(weighed, torch.cat(expected, dim=1))


@pytest.fixture(scope="module")
def line(images):
    return make_line(LITE0, fpr=0.1, image_size=64).fit(images)


@pytest.fixture(scope="module")
def exported(line, images, tmp_path_factory, export_once):
    path = tmp_path_factory.mktemp("exported") / "line.onnx"
    return path, export_onnx(line, path, images=images)


def damage(images):
    damaged = images.copy()
    damaged[::2, 20:44, 20:44] = 250
    return damaged


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_file_does_what_its_line_does_with_images_of_any_size_and_form(line, exported, images, provider, tmp_path):
    path, agreement = exported
    assert agreement.largest_difference < 1e-4
    assert agreement.n_other_labels == 0
    assert agreement.n_bytes == path.stat().st_size
    runner = load(path, provider=provider)
    new = [
        *damage(images)[:10],
        images[0][:40],
        np.repeat(images[1], 3, axis=0)[..., :1],
        images[2].astype(float) / 255,
    ]
    Image.fromarray(images[3]).save(tmp_path / "photograph.png")
    new += [str(tmp_path / "photograph.png"), Image.fromarray(images[4])]
    np.testing.assert_allclose(runner.score_samples(new), line.score_samples(new), rtol=1e-4)
    np.testing.assert_array_equal(runner.predict(new), line.predict(new))
    features = line[:-1].transform(new)
    np.testing.assert_allclose(runner.p_values(new), line[-1].p_values(features), rtol=1e-6)
    np.testing.assert_allclose(
        runner.run(new, ["distances"])["distances"], line[-1].estimator_.transform(features), rtol=1e-4
    )
    with pytest.raises(ValueError, match="'map' was asked for"):
        runner.score_maps(new)


def test_the_file_says_what_it_is(exported, line):
    runner = load(exported[0])
    assert runner.description["network"]["weights_sha256"] == line[0].weights_sha256_
    assert runner.description["agreement"]["n_images"] == 30
    assert runner.description["exported_by"]["onnx"] == onnx.__version__
    json.loads(json.dumps(runner.description, allow_nan=False))
    assert [(one.name, one.shape[1:]) for one in onnxruntime.InferenceSession(exported[0]).get_inputs()] == [
        ("images", ["height", "width", 3])
    ]


def test_a_line_with_maps_gives_them(images, tmp_path):
    line = make_line(LITE0, fpr=0.1, image_size=64, maps=True).fit(images)
    save_line(line, tmp_path / "line.skgad")
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, pixels in enumerate(images[:12]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    assert main(["export", str(tmp_path / "line.skgad"), str(folder), "-o", str(tmp_path / "line.onnx")]) == 0
    runner, new = load(tmp_path / "line.onnx"), damage(images)
    expected = line.score_maps(new)
    np.testing.assert_allclose(runner.score_maps(new), expected, atol=1e-4 * expected.max())
    np.testing.assert_array_equal(runner.predict(new), line.predict(new))


def test_bytes_learn_anew_and_keep_the_rate(images, line, tmp_path):
    rng = np.random.default_rng(7)
    new = np.clip(120 + rng.normal(size=(300, 72, 60, 3)) * 12, 0, 255).astype(np.uint8)
    agreement = export_onnx(line, tmp_path / "line.onnx", images=images, precision="int8")
    assert agreement.largest_difference < 1e-4  # from the Gaussian that was learnt of its own features
    runner = load(tmp_path / "line.onnx")
    assert (runner.predict(damage(images)[::2]) == -1).all()
    alarms = (runner.predict(new) == -1).mean()
    assert alarms < 0.35  # of 30 images' threshold at 10 %: in 99 of 100 cases below that


def test_the_runner_takes_numpy_pillow_and_onnxruntime_alone(exported, tmp_path):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        refused = {{"torch", "timm", "sklearn", "scipy", "pandas", "joblib", "onnx", "skops", "matplotlib"}}
        if name.split(".")[0] in refused:
            raise ImportError(f"{{name}} is not here")
sys.meta_path.insert(0, Refuse())
from skgad.deploy import load
runner = load({str(exported[0])!r})
print(runner.predict([{str(tmp_path / "a.png")!r}])[0], runner.description["n_images"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "-1 30\n"), done.stderr


def test_what_has_no_graph_is_refused_by_name_and_nothing_is_written(images, tmp_path):
    mask = np.ones(images.shape[1:3], dtype=bool)
    mask[:10] = False
    small = {"image_size": 64, "levels": [3]}
    spatial = {"features": DeepFeatureTransformer(LITE0, levels=[4], image_size=64)}
    forest = LevelwiseDetector(IsolationForest(n_estimators=3, random_state=0))
    for made, words in (
        (make_pipeline(DeepFeatureTransformer(LITE0, roi=mask, **small), MahalanobisDetector()), "region of interest"),
        (make_pipeline(DeepFeatureTransformer(LITE0, resize="timm", **small), MahalanobisDetector()), "timm"),
        (make_pipeline(DeepFeatureTransformer(LITE0, **small), forest), "LevelwiseDetector has no place"),
        (make_pipeline(DeepFeatureTransformer(LITE0, grid=2, **small), CellwiseDetector()), "CellwiseDetector"),
        (
            make_pipeline(
                DeepFeatureTransformer(LITE0, **small), FullConformalThreshold(MahalanobisDetector(), fpr=0.1)
            ),
            "FullConformalThreshold has no threshold",
        ),
        (PatchNeighborsDetector(**spatial), "PatchNeighborsDetector has no graph"),
        (SpatialMahalanobisDetector(**spatial, smoothing=2.0), "smoothing"),
    ):
        fitted = made.fit(images)
        with pytest.raises(ExportError, match=words):
            export_onnx(fitted, tmp_path / "a.onnx", images=images)
    features = DeepFeatureTransformer(LITE0, **small).fit_transform(images)
    with pytest.raises(ExportError, match="begins with photographs"):
        export_onnx(FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(features), tmp_path / "a.onnx", images=images)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_does_something_else_is_refused(line, images, tmp_path, monkeypatch):
    from skgad.deploy import _export

    monkeypatch.setattr(
        _export, "add_score", lambda builder, distances: builder.total(distances, 1)
    )  # the sign is lost
    with pytest.raises(ExportError, match="does not do what the line does: it scores image"):
        export_onnx(line, tmp_path / "a.onnx", images=images)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_lines_and_providers_that_are_not_there_are_refused(exported, tmp_path, monkeypatch):
    whole = exported[0].read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"cut\.onnx cannot be run"):
        load(tmp_path / "cut.onnx")
    builder = begin(x=[1])
    builder.reset_outputs(y=("x", "FLOAT", ["n", 1]))
    (tmp_path / "other.onnx").write_bytes(builder.model.SerializeToString())
    with pytest.raises(ExportError, match="was not written by skgad"):
        load(tmp_path / "other.onnx")
    with pytest.raises(DependencyError, match="CUDAExecutionProvider"):
        load(exported[0], provider="cuda")
    with pytest.raises(ValueError, match="provider must be one of"):
        load(exported[0], provider="tpu")
    with pytest.raises(ValueError, match="precision must be one of"):
        export_onnx(_fitted(), tmp_path / "a.onnx", images=[], precision="int4")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="pip install onnxruntime"):
        Runner(whole)


def _fitted():
    return MahalanobisDetector().fit(np.random.default_rng(0).normal(size=(20, 2)))
