"""What a file holds, and what happens where it is loaded."""

import copy
import pathlib
import pickle
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import timm
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import skgad
from skgad import NPCA, DeepFeatureTransformer, FPRThreshold, FPRThresholdCV, LevelwiseDetector, MahalanobisDetector
from skgad.deep import _network
from skgad.deep._sources import find_source
from skgad.exceptions import BackboneError, DependencyError, DeviceWarning, VersionWarning, WeightsError, WeightsWarning
from skgad.model_selection import LevelSelector

from .conftest import LITE0


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("resnet18").state_dict()


def resnet(**params):
    return DeepFeatureTransformer("resnet18", **{"image_size": 32, "levels": [1, 3], **params})


def test_a_state_dict_gives_the_features_of_its_file(photographs, state, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    expected = resnet(weights=tmp_path / "weights.pth").fit_transform(photographs)
    pd.testing.assert_frame_equal(resnet(weights=state).fit_transform(photographs), expected)
    pd.testing.assert_frame_equal(clone(resnet(weights=state)).fit_transform(photographs), expected)
    pd.testing.assert_frame_equal(copy.deepcopy(resnet(weights=state)).fit_transform(photographs), expected)


def test_a_state_dict_that_is_written_to_is_another(photographs, state):
    mine = {key: tensor.clone() for key, tensor in state.items()}
    fitted = resnet(weights=mine).fit(photographs)
    mine["conv1.weight"].mul_(2)
    with pytest.raises(WeightsError, match="not those that this transformer was fitted with"):
        fitted.transform(photographs)


def test_a_pickle_does_not_hold_a_state_dict_and_says_so(photographs, state, fresh_process):
    fitted = resnet(weights=state).fit(photographs)
    data = pickle.dumps(fitted)
    assert len(data) < 3000
    loaded = pickle.loads(data)
    pd.testing.assert_frame_equal(loaded.transform(photographs), fitted.transform(photographs))  # still in this process
    fresh_process()
    with pytest.raises(WeightsError, match=r"set_params\(weights=state_dict\)"):
        loaded.transform(photographs)
    loaded.set_params(weights=state)
    pd.testing.assert_frame_equal(loaded.transform(photographs), fitted.transform(photographs))


def test_random_weights_warn_and_are_always_the_same(photographs, fresh_process):
    with pytest.warns(WeightsWarning, match="random"):
        first = resnet(weights=None).fit_transform(photographs)
    fresh_process()
    torch.manual_seed(17)
    with pytest.warns(WeightsWarning, match="random"):
        pd.testing.assert_frame_equal(resnet(weights=None).fit_transform(photographs), first)


@pytest.mark.parametrize("path", [str, pathlib.Path])
def test_stored_weights_need_no_file_and_no_download(photographs, state, tmp_path, fresh_process, path):
    torch.save(state, tmp_path / "weights.pth")
    fitted = resnet(weights=path(tmp_path / "weights.pth"), store_weights=True).fit(photographs)
    expected = fitted.transform(photographs)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    skops.io.dump(fitted, tmp_path / "fitted.skops")
    (tmp_path / "weights.pth").unlink()
    trusted = skops.io.get_untrusted_types(file=tmp_path / "fitted.skops")
    assert trusted == ["skgad.deep._transformer.DeepFeatureTransformer"]
    for loaded in (joblib.load(tmp_path / "fitted.joblib"), skops.io.load(tmp_path / "fitted.skops", trusted=trusted)):
        fresh_process()
        pd.testing.assert_frame_equal(loaded.transform(photographs), expected)
        assert loaded.fit(photographs).weights_sha256_ == fitted.weights_sha256_
        pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(loaded)).transform(photographs), expected)
        loaded.set_params(weights="elsewhere.pth")
        with pytest.raises(ValueError, match="no such file"):
            loaded.fit(photographs)


@pytest.mark.parametrize("store_weights", [False, True])
def test_a_file_holds_paths_as_text_so_that_it_loads_on_another_system(photographs, state, tmp_path, store_weights):
    torch.save(state, tmp_path / "weights.pth")
    params = {"weights": tmp_path / "weights.pth", "cache": tmp_path / "cache", "store_weights": store_weights}
    for extractor in (resnet(**params), resnet(**params).fit(photographs)):
        data = pickle.dumps(make_pipeline(extractor))
        assert b"pathlib" not in data
        assert b"PosixPath" not in data
        loaded = pickle.loads(data)[0]
        assert (loaded.weights, loaded.cache) == (str(tmp_path / "weights.pth"), str(tmp_path / "cache"))
        assert extractor.cache == tmp_path / "cache"  # the extractor keeps what it was given
        pd.testing.assert_frame_equal(loaded.transform(photographs), extractor.transform(photographs))


def test_a_state_dict_prints_in_a_line_and_at_once(state, monkeypatch):
    def refuse(tensor):
        raise AssertionError("the tensors are printed")

    monkeypatch.setattr(torch.Tensor, "__repr__", refuse)
    one = resnet(weights=state)
    line = make_pipeline(one, FPRThresholdCV(MahalanobisDetector()))
    assert repr(one).count("\n") <= 1
    assert "<state dict of 122 tensors>" in repr(one)
    for estimator in (one, line, FPRThresholdCV(line), clone(line), one.set_params(**one.get_params())):
        assert "<state dict of 122 tensors>" in repr(estimator)
        assert "state dict of 122 tensors" in estimator._repr_html_()


def test_clones_share_the_tensors_of_a_state_dict(state):
    extractor = resnet(weights=state)
    assert extractor.weights is state
    copied = clone(clone(extractor)).weights
    assert copied.keys() == state.keys()
    assert all(copied[key] is tensor for key, tensor in state.items())


def test_stored_state_dicts_come_back(photographs, state, fresh_process):
    fitted = resnet(weights=state, store_weights=True).fit(photographs)
    loaded = pickle.loads(pickle.dumps(fitted))
    fresh_process()
    pd.testing.assert_frame_equal(loaded.transform(photographs), fitted.transform(photographs))


def test_an_unfitted_extractor_stores_nothing(state):
    assert len(pickle.dumps(resnet(store_weights=True))) < 1500


def test_skops_and_joblib_hold_a_whole_line(photographs, tmp_path):
    line = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=0.2, cv=4)
    extractor = DeepFeatureTransformer(LITE0, levels=[2, 7], image_size=32)
    pipe = make_pipeline(extractor, line).fit(photographs)
    expected = pipe.score_samples(photographs)
    skops.io.dump(pipe, tmp_path / "line.skops")
    joblib.dump(pipe, tmp_path / "line.joblib")
    trusted = skops.io.get_untrusted_types(file=tmp_path / "line.skops")
    assert all(name.startswith("skgad.") for name in trusted)
    loaded = skops.io.load(tmp_path / "line.skops", trusted=trusted)
    np.testing.assert_array_equal(loaded.score_samples(photographs), expected)
    np.testing.assert_array_equal(joblib.load(tmp_path / "line.joblib").score_samples(photographs), expected)


def test_every_estimator_warns_when_another_version_saved_it(monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 3))
    names = [f"level1__{index:04d}" for index in range(3)]
    frame = pd.DataFrame(X, columns=names)
    estimators = [
        MahalanobisDetector().fit(X),
        NPCA(0.5).fit(X),
        LevelSelector().fit(frame),
        LevelwiseDetector(MahalanobisDetector()).fit(frame),
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X),
        FPRThreshold(0.1, dof=3).fit(abs(X[:, :1])),
        DeepFeatureTransformer(LITE0),
    ]
    for estimator in estimators:
        data = pickle.dumps(estimator)
        pickle.loads(data)
        older = data.replace(skgad.__version__.encode(), b"0.0.0" + skgad.__version__.encode()[5:])
        with pytest.warns(VersionWarning, match=r"was saved by skgad 0\.0\.0") as caught:  # those inside warn, too
            loaded = pickle.loads(older)
        assert any(f"This {type(estimator).__name__} was" in str(warning.message) for warning in caught)
        assert "_skgad_version" not in vars(loaded)


def test_a_backbone_that_this_timm_lacks_has_its_own_error(photographs, monkeypatch):
    loaded = pickle.loads(pickle.dumps(DeepFeatureTransformer("resnet18")))
    monkeypatch.setattr(timm.models, "is_model", lambda name: False)
    with pytest.raises(BackboneError, match=r"Unknown backbone 'resnet18' in timm \d"):
        loaded.transform(photographs)


def test_a_missing_torch_has_its_own_error(photographs, monkeypatch):
    fitted = DeepFeatureTransformer(LITE0).fit(photographs)
    monkeypatch.delitem(sys.modules, "skgad.deep._extraction")
    monkeypatch.delattr(skgad.deep, "_extraction")
    monkeypatch.setitem(sys.modules, "skgad.deep._network", None)
    with pytest.raises(DependencyError, match=r"pip install torch timm"):
        fitted.transform(photographs)


def test_what_was_fitted_on_a_device_that_is_not_here_works_on_the_cpu(photographs, monkeypatch):
    expected = DeepFeatureTransformer(LITE0, levels=[1], device="cpu").fit_transform(photographs)
    with monkeypatch.context() as there:
        there.setattr(_network, "find_device", lambda device: torch.device("cpu"))
        fitted = DeepFeatureTransformer(LITE0, levels=[1], device="cuda:7").fit(photographs)
    loaded = pickle.loads(pickle.dumps(fitted))
    with pytest.warns(DeviceWarning, match=r"device='cuda:7', which is not here"):
        pd.testing.assert_frame_equal(loaded.transform(photographs), expected)
    with pytest.raises(ValueError, match="CUDA devices"):
        loaded.fit(photographs)


def test_copies_keep_what_a_pickle_leaves_out(photographs, state, fresh_process):
    fitted = resnet(weights=state).fit(photographs)
    for copied in (copy.copy(fitted), copy.deepcopy(fitted)):
        fresh_process()
        pd.testing.assert_frame_equal(copied.transform(photographs), fitted.transform(photographs))


def test_loading_a_network_disturbs_nothing_and_depends_on_nothing(photographs, state, fresh_process):
    expected = resnet(weights=state).fit(photographs).weights_sha256_
    fresh_process()
    generator = torch.get_rng_state()
    try:
        torch.set_default_dtype(torch.float64)
        with pytest.warns(WeightsWarning):
            resnet(weights=None).fit(photographs)
        assert resnet(weights=state).fit(photographs).weights_sha256_ == expected
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_download_of_the_hub_is_found_again_and_warm_caches_do_not_load_it(photographs, state, tmp_path, monkeypatch):
    config = timm.models.get_pretrained_cfg("resnet18.tv_in1k")
    folder = tmp_path / "hub" / f"models--{config.hf_hub_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    from safetensors.torch import save_file

    save_file(state, folder / "snapshots" / "abc" / "model.safetensors")
    assert find_source("resnet18").describe_origin() is not None
    expected = resnet(weights=state).fit_transform(photographs)
    got = resnet(cache=tmp_path / "cache").fit_transform(photographs)
    pd.testing.assert_frame_equal(got, expected, rtol=1e-4)
    monkeypatch.setattr(_network, "Network", None)
    _network.forget_networks()
    pd.testing.assert_frame_equal(resnet(cache=tmp_path / "cache").fit_transform(photographs), got)
