"""The network at work: memory that does not suffice, precision, devices, what is kept."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import timm
import torch

from skgad import DeepFeatureTransformer
from skgad.deep import Backbone
from skgad.deep._network import Network, find_device, load_network
from skgad.deep._recent import Recent
from skgad.deep._sources import find_source
from skgad.exceptions import DeviceMemoryError

from .conftest import LITE0

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
devices = [
    "cpu",
    pytest.param("cuda", marks=gpu),
]


class Greedy(torch.nn.Module):
    """A network with memory for so many images; it keeps the sizes of the batches that it was given."""

    def __init__(self, room):
        super().__init__()
        self.room, self.level, self.batches = room, torch.nn.Identity(), []

    def forward(self, x):
        self.batches.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        return self.level(x)


def greedy_network(room):
    backbone = Backbone(Greedy(10**6), levels=["level"], image_size=8, mean=(0, 0, 0), std=(1, 1, 1))
    network = Network(find_source(backbone), torch.device("cpu"))
    network._model.room = room
    network._model.batches.clear()
    return network


def test_out_of_memory_halves_the_batch_and_goes_on(caplog):
    network = greedy_network(room=3)
    batch = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    got = network.pool_levels(batch, [1])
    np.testing.assert_allclose(got, batch.mean(dim=(2, 3)) / 255, rtol=1e-5)
    assert network._model.batches == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert "batches of 2 images" in caplog.text
    network._model.batches.clear()
    network.pool_levels(batch[:5], [1])
    assert network._model.batches == [2, 2, 1]  # the lesson is kept
    network._model.batches.clear()
    network.pool_levels(batch[:3, :, :4], [1])
    assert network._model.batches == [3]  # for images of that shape


def test_no_memory_for_a_single_image_is_said():
    with pytest.raises(DeviceMemoryError, match=r"does not suffice for a single image.*device='cpu'"):
        greedy_network(room=0).pool_levels(torch.zeros(4, 3, 8, 8), [1])


@pytest.mark.parametrize("device", devices)
def test_lower_precision_is_close_and_not_the_same(photographs, device):
    def features(precision):
        model = DeepFeatureTransformer(LITE0, levels=[3], image_size=32, device=device, precision=precision)
        return model.transform(photographs[:2]).to_numpy()

    ieee, bfloat16 = features("float32"), features("bfloat16")
    assert bfloat16.dtype == np.float32
    tf32 = np.linalg.norm(features("tf32") - ieee) / np.linalg.norm(ieee)
    difference = np.linalg.norm(bfloat16 - ieee) / np.linalg.norm(ieee)
    assert 1e-4 < difference < 0.1
    assert tf32 < 0.01
    assert tf32 > 0 or device == "cpu"  # few CPUs have it


@pytest.mark.parametrize("device", devices)
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_users_precision_settings_come_back(photographs, device, precision):
    settings = (
        torch.backends.cudnn.conv,
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.conv,
        torch.backends.mkldnn.matmul,
    )
    before = [setting.fp32_precision for setting in settings]
    for chosen in ("tf32", "ieee"):
        try:
            for setting in settings:
                setting.fp32_precision = chosen
            DeepFeatureTransformer(LITE0, levels=[1], image_size=32, device=device, precision=precision).transform(
                photographs
            )
            assert [setting.fp32_precision for setting in settings] == [chosen] * 4
        finally:
            for setting, precision_before in zip(settings, before, strict=True):
                setting.fp32_precision = precision_before


def test_a_setting_that_already_suits_is_not_pinned(photographs):
    conv = torch.backends.mkldnn.conv
    assert conv.fp32_precision == "none"  # follows torch's global setting
    DeepFeatureTransformer(LITE0, levels=[1], image_size=32, device="cpu").transform(photographs)
    assert conv.fp32_precision == "none"


def test_a_setting_that_follows_torchs_global_one_goes_on_doing_so(photographs):
    backends = torch.backends
    before = backends.fp32_precision
    try:
        for chosen in ("tf32", "ieee"):
            backends.fp32_precision = chosen
            DeepFeatureTransformer(LITE0, levels=[1], image_size=32, device="cpu").transform(photographs)
            assert backends.mkldnn.conv.fp32_precision == backends.mkldnn.matmul.fp32_precision == chosen
    finally:
        backends.fp32_precision = before


def test_an_error_in_the_network_leaves_the_settings_alone():
    conv = torch.backends.mkldnn.conv
    before = conv.fp32_precision
    try:
        conv.fp32_precision = "tf32"
        with pytest.raises(DeviceMemoryError):
            greedy_network(room=0).pool_levels(torch.zeros(1, 3, 8, 8), [1])
        assert conv.fp32_precision == "tf32"
    finally:
        conv.fp32_precision = before


def test_the_networks_used_last_stay_loaded():
    first = load_network(find_source(LITE0), "cpu")
    state = timm.create_model("resnet18").state_dict()
    for number in range(3):
        load_network(find_source("resnet18", {**state, "fc.bias": state["fc.bias"] + number}), "cpu")
    assert load_network(find_source(LITE0), "cpu") is first
    load_network(find_source("resnet18", {**state, "fc.bias": state["fc.bias"] + 3}), "cpu")
    assert load_network(find_source(LITE0), "cpu") is first


def test_what_is_kept_is_made_once_however_many_threads_ask():
    recent, made, start = Recent(3), [], threading.Barrier(8)

    def ask(_):
        start.wait()
        return recent.get("key", lambda: made.append(1) or time.sleep(0.01) or object())

    with ThreadPoolExecutor(8) as executor:
        assert len(set(executor.map(ask, range(8)))) == 1
    assert made == [1]


def test_what_was_used_longest_ago_is_forgotten_first():
    recent = Recent(2)
    for key in "aba":
        recent.put(key, key.upper())
    recent.get("b")
    recent.put("c", "C")
    assert [recent.get(key) for key in "abc"] == [None, "B", "C"]
    recent.clear()
    assert recent.get("b") is None


def test_threads_make_handles_while_others_look_for_theirs():
    def make(number):
        handle = Backbone(torch.nn.Conv2d(3, 2, 1 + number % 3), levels=[""], image_size=8)
        return pickle.loads(pickle.dumps(handle)).module.kernel_size, handle.module.kernel_size

    with ThreadPoolExecutor(8) as executor:
        assert all(found == expected for found, expected in executor.map(make, range(40)))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"])
@pytest.mark.filterwarnings("ignore::skgad.exceptions.WeightsWarning")  # random weights are enough here
def test_transformers_and_others_run_end_to_end(photographs, name):
    features = DeepFeatureTransformer(name, weights=None, levels=[1, 4]).fit_transform(photographs[:2])
    model = timm.create_model(name).eval()
    assert np.isfinite(features.to_numpy()).all()
    channels = [entry["num_chs"] for entry in model.feature_info]
    assert features.shape == (2, channels[0] + channels[3])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_features_of_the_cpu_and_a_file_that_loads_there(photographs):
    on_cpu = DeepFeatureTransformer(LITE0, device="cpu").fit_transform(photographs)
    on_cuda = DeepFeatureTransformer(LITE0, device="cuda").fit_transform(photographs)
    pd.testing.assert_frame_equal(on_cuda, on_cpu, rtol=1e-3, atol=1e-3)


def test_auto_is_cuda_where_there_is_one():
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
