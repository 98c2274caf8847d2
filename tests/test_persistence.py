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
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

import skgad
from skgad import NPCA, DeepFeatureTransformer, FPRThreshold, FPRThresholdCV, LevelwiseDetector, MahalanobisDetector
from skgad.deep import Backbone, _backbone, _network, _weights
from skgad.exceptions import BackboneError, DependencyError, DeviceWarning, VersionWarning, WeightsError, WeightsWarning
from skgad.model_selection import LevelSelector

from .conftest import LITE0


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("resnet18").state_dict()


@pytest.fixture
def fresh_process():
    """Call it to forget every network, as a new process would."""

    def forget():
        _network.forget_networks()
        _weights._states.clear()
        _backbone._modules.clear()

    forget()
    yield forget
    forget()


def own_network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3, stride=2))


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
    assert [name for name in trusted if not name.startswith("pathlib")] == [
        "skgad.deep._transformer.DeepFeatureTransformer"
    ]
    for loaded in (joblib.load(tmp_path / "fitted.joblib"), skops.io.load(tmp_path / "fitted.skops", trusted=trusted)):
        fresh_process()
        pd.testing.assert_frame_equal(loaded.transform(photographs), expected)
        assert loaded.fit(photographs).weights_sha256_ == fitted.weights_sha256_
        pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(loaded)).transform(photographs), expected)
        loaded.set_params(weights="elsewhere.pth")
        with pytest.raises(ValueError, match="no such file"):
            loaded.fit(photographs)


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


def test_your_own_network(photographs):
    module = own_network()
    backbone = Backbone(module, levels=["2", "3"], image_size=32, mean=(0, 0, 0), std=(1, 1, 1))
    assert [level.channels for level in backbone.levels] == [8, 5]
    got = DeepFeatureTransformer(backbone).fit_transform(photographs)
    x = torch.from_numpy(photographs / 255).permute(0, 3, 1, 2).float()
    x = nn.functional.interpolate(x, (32, 32), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        first = module.eval()[:3](x)
        expected = torch.cat([first.mean(dim=(2, 3)), module[3](first).mean(dim=(2, 3))], dim=1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert got.columns[[0, 8]].tolist() == ["level1__0000", "level2__0000"]


def test_your_own_network_is_copied_and_left_alone(photographs):
    module = own_network().train()
    backbone = Backbone(module, levels=["3"], image_size=32)
    expected = DeepFeatureTransformer(backbone).fit_transform(photographs)
    assert module.training
    assert all(weight.requires_grad for weight in module.parameters())
    with torch.no_grad():
        module[0].weight.mul_(2)
    pd.testing.assert_frame_equal(DeepFeatureTransformer(backbone).fit_transform(photographs), expected)


def test_a_handle_survives_clone_and_hashes_alike():
    transformer = DeepFeatureTransformer(Backbone(own_network(), levels=["3"], image_size=32))
    assert clone(transformer).backbone is transformer.backbone
    again = DeepFeatureTransformer(Backbone(own_network(), levels=["3"], image_size=32))
    assert joblib.hash(again) == joblib.hash(transformer)
    other = DeepFeatureTransformer(Backbone(own_network(seed=1), levels=["3"], image_size=32))
    assert joblib.hash(other) != joblib.hash(transformer)


def test_a_pickle_holds_no_network_of_your_own_unless_asked_to(photographs, tmp_path, fresh_process):
    backbone = Backbone(own_network(), levels=["2", "3"], image_size=32)
    fitted = DeepFeatureTransformer(backbone, cache=tmp_path).fit(photographs)
    expected = fitted.transform(photographs)
    again = pickle.loads(pickle.dumps(fitted)).set_params(cache=None)
    pd.testing.assert_frame_equal(again.transform(photographs), expected, rtol=1e-4)  # the same process has it
    loaded = pickle.loads(pickle.dumps(fitted))
    fresh_process()
    pd.testing.assert_frame_equal(loaded.transform(photographs), expected)  # from the cache
    loaded.set_params(cache=None)
    with pytest.raises(BackboneError, match=r"'Sequential' is not in this process.*store_weights=True"):
        loaded.transform(photographs)
    with pytest.raises(WeightsError, match="not those that this transformer was fitted with"):
        loaded.set_params(backbone=Backbone(own_network(seed=1), levels=["2", "3"], image_size=32)).transform(
            photographs
        )
    loaded.set_params(backbone=Backbone(own_network(), levels=["2", "3"], image_size=32))
    pd.testing.assert_frame_equal(loaded.transform(photographs), expected, rtol=1e-4)
    stored = pickle.loads(pickle.dumps(fitted.set_params(store_weights=True, cache=None)))
    fresh_process()
    pd.testing.assert_frame_equal(stored.transform(photographs), expected, rtol=1e-4)


def test_networks_that_differ_in_anything_but_their_code_are_told_apart(photographs, tmp_path):
    conv = nn.Conv2d(3, 4, 3)

    class Shifted(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.conv = conv
            self.register_buffer("shift", torch.tensor(float(shift)), persistent=False)

        def forward(self, x):
            return self.conv(x) + self.shift

    handles = [
        Backbone(nn.Sequential(conv, nn.ReLU()), levels=["1"], image_size=16),
        Backbone(nn.Sequential(conv, nn.Tanh()), levels=["1"], image_size=16),
        Backbone(nn.Sequential(conv, nn.ReLU()), levels=["1"], image_size=16, mean=(0, 0, 0)),
        Backbone(nn.Sequential(conv, nn.ReLU()), levels=["0"], image_size=16),
        Backbone(nn.Sequential(Shifted(0)), levels=["0"], image_size=16),
        Backbone(nn.Sequential(Shifted(5)), levels=["0"], image_size=16),
    ]
    results = [DeepFeatureTransformer(handle, cache=tmp_path).transform(photographs).to_numpy() for handle in handles]
    for one in range(len(handles)):
        for other in range(one):
            same = {one, other} == {3, 4}  # both are the convolution
            assert np.allclose(results[one], results[other]) is same


def test_networks_that_differ_in_their_code_only_are_told_apart_by_name(photographs, tmp_path):
    def make(factor):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.end = nn.Identity()

            def forward(self, x):
                return self.end(x * factor)

        return Backbone(Scaled(), levels=["end"], name=f"scaled by {factor}", image_size=16)

    one, two = (DeepFeatureTransformer(make(f), cache=tmp_path).transform(photographs) for f in (1, 2))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_your_own_network_with_other_levels_is_refused_after_fit(photographs):
    module = own_network()
    fitted = DeepFeatureTransformer(Backbone(module, levels=["0"], image_size=32)).fit(photographs)
    with pytest.raises(WeightsError, match=r"Fitted with modules \['0'\], but it is now \['2'\]"):
        fitted.set_params(backbone=Backbone(module, levels=["2"], image_size=32)).transform(photographs)


def test_the_first_output_of_a_module_counts_whatever_else_is_asked_for():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.end = nn.ReLU(), nn.Identity()

        def forward(self, x):
            return self.end(self.relu(self.relu(x) - 0.5))

    image = np.full((1, 8, 8, 3), 255, dtype=np.uint8)
    backbone = Backbone(Twice(), levels=["relu", "end"], image_size=8, mean=(0, 0, 0), std=(1, 1, 1))
    for levels in ([1], [1, 2]):
        got = DeepFeatureTransformer(backbone, levels=levels).transform(image)
        np.testing.assert_array_equal(got.filter(like="level1__"), [[1, 1, 1]])


def test_a_search_in_processes_with_your_own_network(photographs):
    images = np.concatenate([photographs, 255 - photographs, photographs[:, ::-1, ::-1]])
    y = np.resize([1, 1, -1], len(images))
    backbone = Backbone(own_network(), levels=["2", "3"], image_size=32)
    pipe = make_pipeline(DeepFeatureTransformer(backbone, store_weights=True), MahalanobisDetector())
    grid = {"deepfeaturetransformer__levels": [[1], [2]]}
    results = [
        GridSearchCV(pipe, grid, scoring="roc_auc", cv=2, n_jobs=n_jobs).fit(images, y).cv_results_ for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(results[0]["mean_test_score"], results[1]["mean_test_score"])


def test_a_pipeline_with_memory_and_your_own_network(photographs, tmp_path):
    backbone = Backbone(own_network(), levels=["2", "3"], image_size=32)
    steps = DeepFeatureTransformer(backbone), MahalanobisDetector()
    expected = make_pipeline(*steps).fit(photographs).score_samples(photographs)
    for _ in range(2):
        pipe = make_pipeline(*steps, memory=str(tmp_path)).fit(photographs)
        np.testing.assert_array_equal(pipe.score_samples(photographs), expected)


def test_copies_keep_what_a_pickle_leaves_out(photographs, state, fresh_process):
    fitted = resnet(weights=state).fit(photographs)
    for copied in (copy.copy(fitted), copy.deepcopy(fitted)):
        fresh_process()
        pd.testing.assert_frame_equal(copied.transform(photographs), fitted.transform(photographs))
    backbone = Backbone(own_network(), levels=["2"], image_size=32)
    assert copy.copy(backbone) is copy.deepcopy(backbone) is backbone


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


def test_tokens_vectors_and_channels_last_of_your_own_network():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.tokens, self.vector = nn.Identity(), nn.Identity(), nn.Identity()

        def forward(self, x):
            maps = self.maps(x.permute(0, 2, 3, 1))
            patches = maps.flatten(1, 2)
            tokens = self.tokens(torch.cat([patches[:, :1] * 0 + 9, patches], dim=1))
            return self.vector(tokens[:, 0])

    image = np.random.default_rng(0).integers(0, 256, size=(1, 8, 8, 3), dtype=np.uint8)
    settings = {"image_size": 8, "mean": (0, 0, 0), "std": (1, 1, 1)}
    backbone = Backbone(
        Tokens(), levels=["maps", "tokens", "vector"], n_prefix_tokens=1, channels_last=True, **settings
    )
    assert [level.reduction for level in backbone.levels] == [1, 1, 8]
    mean = image[0].reshape(-1, 3).mean(axis=0) / 255
    got = DeepFeatureTransformer(backbone).transform(image).to_numpy()[0]
    np.testing.assert_allclose(got, [*mean, *mean, 9, 9, 9], rtol=1e-5)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["nowhere"], r"no module 'nowhere'; at the top there are 0, 1, 2, 3"),
        ("2", "levels must be a list"),
        ([], "levels must be a list"),
        ([2], "levels must be a list"),
    ],
)
def test_levels_that_your_own_network_lacks_are_refused(levels, message):
    with pytest.raises(BackboneError, match=message):
        Backbone(own_network(), levels=levels, image_size=32)


def test_modules_that_are_never_reached_are_refused():
    class Short(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.extra = nn.Conv2d(3, 2, 3), nn.Identity()

        def forward(self, x):
            return self.first(x)

    with pytest.raises(BackboneError, match=r"'Short'.* never calls the module 'extra'"):
        Backbone(Short(), levels=["first", "extra"], image_size=32)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mean": (1, 2)}, "mean must be three"),
        ({"std": (1, 0, 1)}, "std must be three"),
        ({"image_size": "64"}, "image_size must be an int"),
        ({"n_prefix_tokens": -1}, "n_prefix_tokens must be an int"),
        ({"image_size": 2}, "image_size=2: .*Kernel size"),
    ],
)
def test_settings_of_another_form_are_refused(params, message):
    with pytest.raises(BackboneError, match=message):
        Backbone(own_network(), levels=["3"], **{"image_size": 32, **params})


def test_what_is_no_module_is_refused():
    with pytest.raises(BackboneError, match="must be a torch"):
        Backbone("resnet18", levels=["layer1"])


def test_a_download_of_the_hub_is_found_again_and_warm_caches_do_not_load_it(photographs, state, tmp_path, monkeypatch):
    config = timm.models.get_pretrained_cfg("resnet18.tv_in1k")
    folder = tmp_path / "hub" / f"models--{config.hf_hub_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    from safetensors.torch import save_file

    save_file(state, folder / "snapshots" / "abc" / "model.safetensors")
    assert _weights.describe_origin("resnet18.tv_in1k", "auto") is not None
    expected = resnet(weights=state).fit_transform(photographs)
    got = resnet(cache=tmp_path / "cache").fit_transform(photographs)
    pd.testing.assert_frame_equal(got, expected, rtol=1e-4)
    monkeypatch.setattr(_network, "Network", None)
    _network.forget_networks()
    pd.testing.assert_frame_equal(resnet(cache=tmp_path / "cache").fit_transform(photographs), got)
