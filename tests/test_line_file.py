"""One file for a line: it says what it is, runs nothing, and is whole or refused."""

import io
import json
import zipfile

import numpy as np
import pytest
import skops.io
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from skgad import DeepFeatureTransformer, FPRThresholdCV, LevelwiseDetector, load_line, make_line, save_line
from skgad._line_file import read_manifest
from skgad.deep import Backbone
from skgad.exceptions import LineFileError

from .conftest import LITE0


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, size=(24, 40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def line(images):
    return make_line(LITE0, fpr=0.1, image_size=64).fit(images)


@pytest.fixture
def file(line, tmp_path):
    save_line(line, tmp_path / "line.skgad")
    return tmp_path / "line.skgad"


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("store_weights", [False, True])
def test_a_line_comes_back_as_it_was(images, maps, store_weights, tmp_path, fresh_process):
    line = make_line(LITE0, fpr=0.1, image_size=64, maps=maps).fit(images)
    save_line(line, tmp_path / "line.skgad", store_weights=store_weights)
    expected = line.score_samples(images)
    fresh_process()
    again = load_line(tmp_path / "line.skgad")
    np.testing.assert_array_equal(again.score_samples(images), expected)
    np.testing.assert_array_equal(again.predict(images), line.predict(images))
    assert ((tmp_path / "line.skgad").stat().st_size > 10e6) == store_weights


def test_the_file_names_no_folder_of_this_machine_and_the_line_is_left_as_it_is(images, tmp_path):
    line = make_line(LITE0, fpr=0.1, image_size=64, cache=tmp_path / "features").fit(images)
    save_line(line, tmp_path / "line.skgad")
    with zipfile.ZipFile(tmp_path / "line.skgad") as archive:
        assert not [name for name in archive.namelist() if str(tmp_path).encode() in archive.read(name)]
    assert line[0].cache == tmp_path / "features"
    assert load_line(tmp_path / "line.skgad")[0].cache is None


def test_the_manifest_is_read_without_the_line(file, line):
    manifest = read_manifest(file)
    assert manifest["network"]["weights_sha256"] == line[0].weights_sha256_
    assert manifest["threshold"] == -line[-1].offset_
    assert (manifest["n_images"], manifest["fpr"], manifest["makes_maps"]) == (24, 0.1, False)


def rewrite(file, **members):
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in (content | members).items():
            if value is not None:
                archive.writestr(name, value)


def test_a_file_that_was_cut_or_is_another_is_refused(file, tmp_path):
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1], b"", b"not a line"):
        (tmp_path / "cut.skgad").write_bytes(content)
        with pytest.raises(LineFileError, match=r"damaged|no line"):
            load_line(tmp_path / "cut.skgad")
    middle = len(whole) // 2
    (tmp_path / "cut.skgad").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(LineFileError, match="damaged"):
        load_line(tmp_path / "cut.skgad")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_line(tmp_path / "nowhere.skgad")


def test_a_file_without_a_part_or_of_a_later_format_is_refused(file):
    rewrite(file, **{"manifest.json": json.dumps({"format": 2, "skgad": "9.9"})})
    with pytest.raises(LineFileError, match=r"format 2, written by skgad 9\.9"):
        load_line(file)
    rewrite(file, **{"manifest.json": "{}"})
    with pytest.raises(LineFileError, match=r"manifest\.json cannot be read"):
        load_line(file)
    rewrite(file, **{"manifest.json": '{"format": 1}', "line.skops": None})
    with pytest.raises(LineFileError, match=r"has no line\.skops"):
        load_line(file)


class Bomb:
    """What a pickle would set off."""

    def __setstate__(self, state):
        raise SystemExit("it went off")

    def __getstate__(self):
        return {"a": 1}


@pytest.mark.parametrize("value", [Bomb(), json.loads, np.random.default_rng(0).normal], ids=lambda v: str(type(v)))
def test_what_is_not_ours_is_named_and_not_run(value, file, line):
    rewrite(file, **{"line.skops": skops.io.dumps({"line": line, "more": value})})
    with pytest.raises(LineFileError, match="not to be trusted"):
        load_line(file)


@pytest.mark.parametrize("name", ["skgad.benchmark.__main__.main", "skgad._line.make_line", "skgad.deep._torch.torch"])
def test_names_in_our_package_that_are_no_classes_of_ours_are_refused(name, file):
    module, _, attribute = name.rpartition(".")
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(io.BytesIO(archive.read("line.skops"))) as inner:
        members = {one: inner.read(one) for one in inner.namelist()}
    schema = json.loads(members["schema.json"])
    schema["__module__"], schema["__class__"] = module, attribute
    members["schema.json"] = json.dumps(schema)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as inner:
        for one, value in members.items():
            inner.writestr(one, value)
    rewrite(file, **{"line.skops": content.getvalue()})
    with pytest.raises(LineFileError, match=name.replace(".", r"\.")):
        load_line(file)


def test_a_line_of_detectors_that_skops_knows_is_written_and_others_are_named(images, tmp_path):
    extractor = DeepFeatureTransformer(LITE0, levels=[1], image_size=64)
    envelope = LevelwiseDetector(OneClassSVM())
    line = make_pipeline(extractor, FPRThresholdCV(envelope, fpr=0.1, cv=4)).fit(images)
    save_line(line, tmp_path / "line.skgad")
    np.testing.assert_array_equal(load_line(tmp_path / "line.skgad").predict(images), line.predict(images))
    own = Backbone(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2)), levels=["0"], image_size=64)
    line = make_line(own, fpr=0.1).set_params(extractor__grid=1).fit(images)
    with pytest.raises(LineFileError, match="cannot be written to a file that is safe to open"):
        save_line(line, tmp_path / "own.skgad", store_weights=True)
    assert not (tmp_path / "own.skgad").exists()


def test_what_is_not_fitted_is_not_written(tmp_path):
    with pytest.raises(NotFittedError):
        save_line(make_line(LITE0), tmp_path / "line.skgad")
    assert list(tmp_path.iterdir()) == []
