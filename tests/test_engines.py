"""Other engines than torch: the same features, known as what they are."""

import numpy as np
import pandas as pd
import pytest

from skgad import DeepFeatureTransformer, FPRThresholdCV, load_line, make_line, save_line
from skgad.deep import _engines, cache_info
from skgad.deploy import export_onnx
from skgad.exceptions import DependencyError, ExportError, WeightsError
from skgad.spatial import SpatialMahalanobisDetector

from .conftest import LITE0

ENGINES = ["onnxruntime", "openvino"]

pytestmark = pytest.mark.usefixtures("export_once")


@pytest.fixture(autouse=True, scope="module")
def only_here():
    yield
    _engines.forget_engines()


def differ(found, expected):
    """Return the largest difference of features, level by level, as a share of the level's root mean square."""
    levels = pd.Index(expected.columns.str.split("__").str[0])
    return max(
        np.abs(found.to_numpy()[:, levels == level] - expected.to_numpy()[:, levels == level]).max()
        / np.sqrt(np.mean(np.square(expected.to_numpy()[:, levels == level])))
        for level in levels.unique()
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("params", [{"grid": (1, 2)}, {"pool": "max", "levels": [2, 7]}], ids=str)
def test_features_are_those_of_torch(photographs, engine, params):
    params = {"image_size": 64, **params}
    expected = DeepFeatureTransformer(LITE0, **params).fit_transform(photographs)
    extractor = DeepFeatureTransformer(LITE0, engine=engine, **params)
    found = extractor.fit_transform(photographs)
    assert list(found.columns) == list(expected.columns)
    assert differ(found, expected) < 1e-3
    one_by_one = pd.concat([extractor.transform(photographs[at : at + 1]) for at in range(3)])
    assert differ(one_by_one, found[:3]) < 1e-5


@pytest.mark.parametrize("engine", ENGINES)
def test_maps_and_tiles_are_those_of_torch(photographs, engine):
    big = np.tile(photographs, (1, 3, 3, 1))[:, :96, :128]
    for params in ({"levels": [4, 5, 6], "image_size": 64}, {"levels": [4, 5, 6], "tiles": 64}):
        expected, found = (DeepFeatureTransformer(LITE0, engine=name, **params).fit(big) for name in ("torch", engine))
        assert differ(found.transform(big), expected.transform(big)) < 1e-3
        for (_, ours), (_, theirs) in zip(found.iter_maps(big), expected.iter_maps(big), strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-3 * np.sqrt(np.mean(other**2)))


def test_a_line_says_the_same(photographs, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, size=(30, 64, 64, 3), dtype=np.uint8)
    for maps in (False, True):
        lines = []
        for engine in ("torch", "onnxruntime"):
            line = make_line(LITE0, fpr=0.1, image_size=64, maps=maps)
            extractor = line.estimator.features if maps else line[0]
            extractor.set_params(engine=engine)
            lines.append(line.fit(images))
        np.testing.assert_allclose(lines[1].score_samples(images), lines[0].score_samples(images), rtol=1e-3)
    assert export_onnx(lines[1], tmp_path / "line.onnx", images=images[:8]).largest_difference < 1e-3
    save_line(lines[1], tmp_path / "line.skgad")
    again = load_line(tmp_path / "line.skgad")
    np.testing.assert_array_equal(again.score_samples(images), lines[1].score_samples(images))
    assert isinstance(again, FPRThresholdCV)
    assert isinstance(again.estimator_, SpatialMahalanobisDetector)


def test_the_engine_is_part_of_what_features_are(photographs, tmp_path):
    params = {"image_size": 32, "levels": [3], "cache": tmp_path}
    torch = DeepFeatureTransformer(LITE0, **params).fit(photographs)
    torch.transform(photographs)
    other = DeepFeatureTransformer(LITE0, engine="onnxruntime", **params).fit(photographs)
    other.transform(photographs)
    assert cache_info(tmp_path).n_images == 2 * len(photographs)
    other.transform(photographs)
    assert cache_info(tmp_path).n_images == 2 * len(photographs)
    with pytest.raises(WeightsError, match="Fitted with engine 'torch', but it is now 'onnxruntime'"):
        torch.set_params(engine="onnxruntime").transform(photographs)


def test_an_engine_that_gives_other_features_is_refused(photographs, monkeypatch):
    class Wrong:
        def __call__(self, images, names):
            return [np.ones((len(images), 24), dtype=np.float32)]

    monkeypatch.setattr(_engines, "open_graph", lambda *_: Wrong())
    _engines.forget_engines()
    extractor = DeepFeatureTransformer(LITE0, engine="onnxruntime", levels=[3], image_size=32).fit(photographs)
    with pytest.raises(ExportError, match="gives other features than torch: of an image of noise, level 3"):
        extractor.transform(photographs)


def test_what_an_engine_cannot_do_is_refused(photographs, monkeypatch):
    small = {"image_size": 32, "levels": [3]}
    for params, words in (
        ({"engine": "tensorrt"}, "engine must be one of"),
        ({"engine": "openvino", "precision": "bfloat16"}, r"precision='bfloat16' takes engine='torch'"),
        ({"engine": "openvino", "roi": np.ones((40, 48), dtype=bool)}, "region of interest takes engine='torch'"),
    ):
        with pytest.raises(ValueError, match=words):
            DeepFeatureTransformer(LITE0, **small, **params).fit(photographs)
    import sys

    _engines.forget_engines()
    monkeypatch.setitem(sys.modules, "openvino", None)
    extractor = DeepFeatureTransformer(LITE0, engine="openvino", **small).fit(photographs)
    with pytest.raises(DependencyError, match="pip install openvino"):
        extractor.transform(photographs)
