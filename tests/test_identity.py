"""What a network is known by: the sha256 of its weights, and the probe, which sees what no weight shows."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn

from skgad import DeepFeatureTransformer
from skgad.deep import Backbone, _network, _probe
from skgad.deep._identity import Identity, agree, condense, find_difference
from skgad.deep._network import load_network
from skgad.deep._sources import find_source
from skgad.exceptions import BackboneError, WeightsError, WeightsWarning

from .conftest import LITE0


class Scaled(nn.Module):
    """A network whose attribute no weight shows, nor its printed form."""

    def __init__(self, k):
        super().__init__()
        self.k, self.conv, self.end = k, nn.Conv2d(3, 4, 3), nn.Identity()

    def forward(self, x):
        return self.end(self.k * self.conv(x))


def scaled(k):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Backbone(Scaled(k), levels=["end"], image_size=16)


def resnet(**params):
    return DeepFeatureTransformer("resnet18", **{"image_size": 32, "levels": [1, 3], **params})


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("resnet18").state_dict()


@pytest.fixture
def another_release(monkeypatch):
    """Call it: from then on this is another torch, in which EfficientNets give other features."""

    def change():
        found = load_network(find_source(LITE0), "cpu")._model
        _network.forget_networks()
        for module, name, value in (
            (_probe, "LIBRARIES", "timm 9, torch 9"),
            (_network, "LIBRARIES", "timm 9, torch 9"),
        ):
            monkeypatch.setattr(module, name, value)
        monkeypatch.setattr("skgad.deep._timm_source.LIBRARIES", "timm 9, torch 9")
        monkeypatch.setattr(type(found.bn1), "forward", lambda self, x: nn.functional.relu6(1.02 * x))

    _network.forget_networks()
    yield change
    monkeypatch.undo()
    _network.forget_networks()


def test_networks_that_differ_in_a_plain_attribute_are_told_apart(photographs, tmp_path):
    one, five = scaled(1), scaled(5)
    assert one.sha256 == five.sha256
    for cache, warns in ((None, False), (tmp_path, True)):
        first = DeepFeatureTransformer(one, cache=cache).fit_transform(photographs)
        extractor = DeepFeatureTransformer(five, cache=cache)
        if warns:
            with pytest.warns(WeightsWarning, match="same weights do not give here"):
                second = extractor.fit_transform(photographs)
        else:
            second = extractor.fit_transform(photographs)
        np.testing.assert_allclose(second, 5 * first, rtol=1e-5)
    for backbone, expected in ((one, first), (five, second)):  # each finds its own again, and nobody warns
        np.testing.assert_array_equal(DeepFeatureTransformer(backbone, cache=tmp_path).transform(photographs), expected)


def test_an_unpickled_handle_finds_its_own_network_and_no_other_of_the_same_weights(fresh_process):
    one, five = scaled(1), scaled(5)
    assert pickle.loads(pickle.dumps(one)).module is one.module
    assert pickle.loads(pickle.dumps(five)).module is five.module
    data = pickle.dumps(five)
    del five
    _network.forget_networks()
    with pytest.raises(BackboneError, match="not in this process"):
        _ = pickle.loads(data).module


def test_a_fitted_extractor_refuses_a_network_of_the_same_weights_that_gives_other_features(photographs):
    fitted = DeepFeatureTransformer(scaled(1)).fit(photographs)
    with pytest.raises(WeightsError, match=r"other features: of a probe image, level 1 differs by [3-9].*Restore it"):
        fitted.set_params(backbone=scaled(5)).transform(photographs)


@pytest.mark.parametrize("alter", [lambda m: m.conv.weight.data.mul_(2), lambda m: setattr(m, "k", 5)])
def test_a_stored_network_that_was_altered_is_refused(photographs, fresh_process, alter):
    fitted = DeepFeatureTransformer(scaled(1), store_weights=True).fit(photographs)
    data = pickle.dumps(fitted)
    fresh_process()
    pickle.loads(data).transform(photographs)
    loaded = pickle.loads(data)
    alter(loaded.backbone.module)
    again = pickle.loads(pickle.dumps(loaded))
    fresh_process()
    with pytest.raises(WeightsError, match="that its Backbone was made with"):
        again.transform(photographs)


def test_a_state_dict_that_is_written_to_behind_torchs_back_is_another(photographs, state):
    mine = {key: tensor.clone() for key, tensor in state.items()}
    fitted = resnet(weights=mine).fit(photographs)
    reference = pickle.loads(pickle.dumps(fitted))
    version = mine["conv1.weight"]._version
    mine["conv1.weight"].data.mul_(2)
    assert mine["conv1.weight"]._version == version
    with pytest.raises(WeightsError, match="not those that this transformer was fitted with"):
        fitted.transform(photographs)
    _network.forget_networks()
    with pytest.raises(WeightsError, match=r"set_params\(weights=state_dict\)"):
        reference.transform(photographs)


def test_another_release_that_changes_features_is_refused_and_named(photographs, another_release):
    fitted = DeepFeatureTransformer(LITE0, levels=[3], image_size=32).fit(photographs)
    loaded = pickle.loads(pickle.dumps(fitted))
    loaded.transform(photographs)
    another_release()
    message = rf"differs by .* It was {fitted.libraries_.split('+')[0]}.* then, and is timm 9, torch 9 here: install"
    with pytest.raises(WeightsError, match=message):
        loaded.transform(photographs)
    assert loaded.fit(photographs).libraries_ == "timm 9, torch 9"
    loaded.transform(photographs)


def test_a_cache_serves_no_features_of_another_release(photographs, tmp_path, another_release):
    def extract():
        return DeepFeatureTransformer(LITE0, levels=[1], image_size=32, cache=tmp_path).fit_transform(photographs)

    before = extract()
    another_release()
    with pytest.warns(WeightsWarning, match=r"The cache holds features of .*torch .* here is timm 9, torch 9"):
        after = extract()
    assert not np.allclose(before, after, rtol=1e-3)
    pd.testing.assert_frame_equal(extract(), after)  # without a warning


@pytest.mark.parametrize("kind", ["auto", "file", "state dict"])
def test_another_release_is_another_origin_so_that_a_warm_cache_asks_the_network(tmp_path, state, monkeypatch, kind):
    torch.save(state, tmp_path / "weights.pth")
    name = LITE0 if kind == "auto" else "resnet18"
    weights = {"auto": "auto", "file": tmp_path / "weights.pth", "state dict": state}[kind]
    before = find_source(name, weights).describe_origin()
    assert find_source(name, weights).describe_origin() == before
    monkeypatch.setattr("skgad.deep._timm_source.LIBRARIES", "timm 9, torch 9")
    assert find_source(name, weights).describe_origin() not in (before, None)


def test_the_joblib_hash_of_a_handle_is_the_same_in_processes_of_other_threads():
    code = """
import joblib, torch
from skgad.deep import Backbone
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3))
print(joblib.hash(Backbone(module, levels=["1", "2"], image_size=64)))
"""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": n}, capture_output=True, text=True
        ).stdout
        for n in ("1", "2")
    }
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 32


def test_another_release_that_changes_nothing_finds_its_features_again(photographs, tmp_path, monkeypatch):
    extractor = DeepFeatureTransformer(LITE0, levels=[1], image_size=32, cache=tmp_path)
    before = extractor.fit_transform(photographs)
    monkeypatch.setattr("skgad.deep._timm_source.LIBRARIES", "timm 9, torch 9")
    monkeypatch.setattr(_network.Network, "pool_levels", None)
    pd.testing.assert_frame_equal(extractor.fit_transform(photographs), before)


def test_the_probe_is_the_networks_features_whatever_the_threads(photographs):
    network = load_network(find_source(LITE0), "cpu")
    architecture = find_source(LITE0).architecture
    image = _probe.make_probe_image(architecture.image_size)
    assert image.shape == (3, 224, 224)
    assert torch.equal(image, image.round())
    assert image.min() == 0
    assert image.max() == 255
    pixels = image.permute(1, 2, 0).numpy().astype(np.uint8)[np.newaxis]
    features = DeepFeatureTransformer(LITE0).transform(pixels)
    expected = []
    for level in architecture.levels:
        values = features.filter(like=f"level{level.number}__").to_numpy()[0].astype(float)
        n = np.arange(1, len(values) + 1)
        expected.append([sum(values * np.cos(k * n**2)) / len(values) ** 0.5 for k in range(1, 9)])
    assert agree(network.identity.probe, np.array(expected))
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            again = _probe.probe_network(network._model, architecture, torch.device("cpu"))
            np.testing.assert_array_equal(again, network.identity.probe)
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [LITE0, "tf_efficientnet_lite2"])
def test_the_probe_agrees_on_cpu_and_cuda(name):
    on_cpu, on_cuda = (load_network(find_source(name), device).identity.probe for device in ("cpu", "cuda"))
    assert agree(on_cuda, on_cpu)


def test_probes_agree_within_rounding_level_by_level():
    rng = np.random.default_rng(0)
    levels = [scale * rng.normal(size=200) for scale in (1e-3, 1.0, 1e5)]
    probe = np.array([condense(level) for level in levels])
    np.testing.assert_allclose(np.sqrt((probe**2).mean(axis=1)), [7e-4, 0.7, 7e4], rtol=0.6)  # scales are kept
    assert agree(probe * (1 + 1e-6), probe)
    for number in range(3):
        other = [level * (1.01 if index == number else 1) for index, level in enumerate(levels)]
        found = find_difference(np.array([condense(level) for level in other]), probe)
        assert found[0] == number + 1
        assert 0.01 < found[1] < 0.04
    swapped = [level[::-1] if index == 1 else level for index, level in enumerate(levels)]
    assert find_difference(np.array([condense(level) for level in swapped]), probe)[0] == 2
    assert find_difference(probe[:2], probe) == (3, np.inf)
    assert find_difference(np.where(np.arange(3)[:, None] == 1, np.nan, probe), probe) == (2, np.inf)
    broken = np.full((3, 8), np.nan)
    assert agree(broken, broken)
    assert agree(0 * probe, 0 * probe)
    assert not agree(probe, 0 * probe)


def test_an_identity_is_written_and_read_to_the_bit():
    identity = Identity("abc", np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32), "timm 1, torch 2")
    again = Identity.from_text(identity.to_text())
    assert (again.sha256, again.libraries) == (identity.sha256, identity.libraries)
    np.testing.assert_array_equal(again.probe, identity.probe)
    for odd in ("", "no json", "[]", "{}", '{"sha256": "a", "probe": "AAAA", "libraries": ""}'):
        assert Identity.from_text(odd) is None


def test_the_probe_is_made_once_a_network(photographs, monkeypatch):
    counts = []
    probe_network = _probe.probe_network
    monkeypatch.setattr(_network, "probe_network", lambda *args: counts.append(1) or probe_network(*args))
    _network.forget_networks()
    for precision in ("float32", "bfloat16"):
        extractor = DeepFeatureTransformer(LITE0, levels=[1], image_size=32, precision=precision).fit(photographs)
        pickle.loads(pickle.dumps(extractor)).transform(photographs)
    assert counts == [1]
