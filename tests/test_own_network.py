"""A network of one's own as a backbone: its levels, what tells it apart, where it travels."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from skgad import DeepFeatureTransformer, MahalanobisDetector
from skgad.deep import Backbone
from skgad.exceptions import BackboneError, WeightsError, WeightsWarning


def own_network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3, stride=2))


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
    backbone = transformer.backbone
    assert clone(transformer).backbone is copy.copy(backbone) is copy.deepcopy(backbone) is backbone
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


def test_networks_that_differ_in_their_code_only_are_told_apart(photographs, tmp_path):
    def make(factor):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.end = nn.Identity()

            def forward(self, x):
                return self.end(x * factor)

        return Backbone(Scaled(), levels=["end"], image_size=16)

    one = DeepFeatureTransformer(make(1), cache=tmp_path).transform(photographs)
    with pytest.warns(WeightsWarning, match="same weights do not give here"):
        two = DeepFeatureTransformer(make(2), cache=tmp_path).transform(photographs)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_half_precision_becomes_float32(photographs):
    backbones = [Backbone(module, levels=["3"], image_size=32) for module in (own_network(), own_network().half())]
    one, half = (DeepFeatureTransformer(backbone).transform(photographs) for backbone in backbones)
    np.testing.assert_allclose(half, one, rtol=0.01, atol=1e-3)


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
        (["1", "1"], "levels must name each module once; got '1' twice"),
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
        ({"mean": (1, float("inf"), 1)}, "mean must be three finite"),
        ({"std": (1, 0, 1)}, "std must be three positive"),
        ({"std": (1, float("nan"), 1)}, "std must be three positive"),
        ({"std": (float("inf"), 1, 1)}, "std must be three positive"),
        ({"image_size": "64"}, "image_size must be a positive int"),
        ({"n_prefix_tokens": -1}, "n_prefix_tokens must be a non-negative int"),
        ({"image_size": 2}, "image_size=2: .*Kernel size"),
    ],
)
def test_settings_of_another_form_are_refused(params, message):
    with pytest.raises(BackboneError, match=message):
        Backbone(own_network(), levels=["3"], **{"image_size": 32, **params})


def test_what_is_no_module_is_refused():
    with pytest.raises(BackboneError, match="must be a torch"):
        Backbone("resnet18", levels=["layer1"])
