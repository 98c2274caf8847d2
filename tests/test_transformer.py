import pickle

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skgad import DeepFeatureTransformer, MahalanobisDetector
from skgad.deep import _network
from skgad.deep._network import load_network
from skgad.deep._sources import find_source
from skgad.exceptions import ImageError, WeightsError

from .conftest import LITE0


def extractor(**params):
    return DeepFeatureTransformer(LITE0, **{"image_size": 64, "device": "cpu", **params})


def test_columns_name_their_levels(photographs):
    features = extractor(levels=[1, 7]).fit_transform(photographs)
    assert features.columns[[0, 31, 32]].tolist() == ["level1__0000", "level1__0031", "level7__0000"]
    assert features.shape == (8, 32 + 192)
    assert set(features.dtypes) == {np.dtype(np.float32)}


def test_a_level_does_not_depend_on_the_others_asked_for(photographs):
    every = extractor().fit_transform(photographs)
    some = extractor(levels=[7, 2]).fit_transform(photographs)
    pd.testing.assert_frame_equal(some, every.filter(regex="^level[27]__"))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_features_do_not_depend_on_the_batch_size(photographs, batch_size):
    expected = extractor(batch_size=8).fit_transform(photographs)
    np.testing.assert_allclose(
        extractor(batch_size=batch_size).fit_transform(photographs), expected, rtol=1e-4, atol=1e-5
    )


def test_every_container_of_the_same_images_gives_the_same_features(photographs, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(len(photographs))]
    for path, image in zip(paths, photographs, strict=True):
        Image.fromarray(image).save(path)
    expected = extractor().fit_transform(photographs)
    for images in (
        list(photographs),
        paths,
        [str(path) for path in paths],
        np.array([str(path) for path in paths]),
        np.array(paths, dtype=object),
        pd.Series([str(path) for path in paths]),
        [Image.fromarray(image) for image in photographs],
        [paths[0], *photographs[1:]],
    ):
        np.testing.assert_array_equal(extractor().fit_transform(images), expected)


def test_float_images_equal_bytes(photographs):
    expected = extractor().fit_transform(photographs)
    np.testing.assert_allclose(extractor().fit_transform(photographs / 255), expected, rtol=1e-3, atol=1e-3)


def test_images_of_different_sizes(photographs):
    ragged = [photographs[0], photographs[1, :20, :30]]
    expected = [extractor().fit_transform([image]) for image in ragged]
    np.testing.assert_allclose(extractor().fit_transform(ragged), np.vstack(expected), rtol=1e-4, atol=1e-5)


def test_a_series_keeps_its_index(photographs, tmp_path):
    Image.fromarray(photographs[0]).save(tmp_path / "a.png")
    assert extractor().fit_transform(pd.Series([str(tmp_path / "a.png")], index=[17])).index.tolist() == [17]


def test_set_output(photographs):
    assert isinstance(extractor().set_output(transform="polars").fit_transform(photographs), polars.DataFrame)
    assert isinstance(extractor().set_output(transform="pandas").fit_transform(photographs), pd.DataFrame)


def test_the_callers_images_are_left_alone(photographs):
    before = photographs.copy()
    photographs.setflags(write=False)
    extractor().fit_transform(photographs)
    np.testing.assert_array_equal(photographs, before)


def test_clones_share_one_network():
    one = load_network(find_source(LITE0), "cpu")
    assert load_network(find_source(f"{LITE0}.in1k"), "cpu") is one


def test_the_network_stops_after_the_deepest_level(photographs):
    network = load_network(find_source(LITE0), "cpu")
    calls = []
    handles = [
        network._model.get_submodule(level.module).register_forward_hook(lambda *_, n=level.number: calls.append(n))
        for level in network.levels
    ]
    try:
        extractor(levels=[2, 4]).fit_transform(photographs)
    finally:
        for handle in handles:
            handle.remove()
    assert calls == [1, 2, 3, 4]


def test_batch_norm_and_dropout_are_frozen(photographs):
    network = load_network(find_source(LITE0), "cpu")
    extractor().fit_transform(photographs)
    assert not any(module.training for module in network._model.modules())


def test_a_pickle_holds_no_network_and_gives_the_same_features(photographs):
    fitted = extractor().fit(photographs)
    data = pickle.dumps(fitted)
    assert len(data) < 2000
    pd.testing.assert_frame_equal(pickle.loads(data).transform(photographs), fitted.transform(photographs))


def test_other_settings_after_fit_is_refused(photographs):
    for params in ({"backbone": "tf_efficientnet_lite1"}, {"image_size": 32}, {"levels": [2]}):
        fitted = extractor().fit(photographs).set_params(**params)
        with pytest.raises(WeightsError, match=f"Fitted with {next(iter(params))} .* but it is now"):
            fitted.transform(photographs)


def test_transform_needs_no_fit(photographs):
    pd.testing.assert_frame_equal(extractor().transform(photographs), extractor().fit_transform(photographs))


def test_predict_before_fit_is_refused(photographs):
    with pytest.raises(NotFittedError):
        make_pipeline(extractor(), MahalanobisDetector()).predict(photographs)


@pytest.mark.parametrize("levels", [[0], [10], [7, 7], [], "7", 7, [[7]], [[7], 8], [7.5], [True], ["7"], None])
def test_unknown_levels_are_refused_with_the_known_ones(photographs, levels):
    with pytest.raises(ValueError, match=r"\[1, 2, 3, 4, 5, 6, 7, 8, 9\]"):
        extractor(levels=levels).fit(photographs)


@pytest.mark.parametrize("params", [{"batch_size": 0}, {"batch_size": 1.5}, {"image_size": -3}, {"image_size": True}])
def test_bad_numbers_are_refused_by_name(photographs, params):
    with pytest.raises(ValueError, match=f"{next(iter(params))} must be a positive int"):
        extractor(**params).fit(photographs)


@pytest.mark.parametrize(
    ("device", "message"),
    [("tpu9", "device must be"), ("cuda:99", "CUDA devices"), (3.5, "device must be"), ("meta", "device must be")],
)
def test_unknown_devices_are_refused(photographs, device, message):
    with pytest.raises(ValueError, match=message):
        extractor(device=device).fit(photographs)


def test_a_boolean_y_is_refused_before_the_network_runs(photographs, monkeypatch):
    monkeypatch.setattr(_network.Network, "pool_levels", None)
    with pytest.raises(ValueError, match="as_labels"):
        make_pipeline(extractor(), MahalanobisDetector()).fit(photographs, np.arange(8) > 3)


def test_a_bad_image_is_named_and_nothing_is_fitted(photographs, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [*photographs[:5], tmp_path / "broken.png"]
    pipe = make_pipeline(extractor(), MahalanobisDetector())
    with pytest.raises(ImageError, match=r"image 5, '.*broken\.png'"):
        pipe.fit(images)
    assert not hasattr(pipe[-1], "levels_")


def test_convolutions_run_in_ieee_and_the_users_setting_comes_back(photographs):
    conv, seen = torch.backends.mkldnn.conv, []
    before = conv.fp32_precision
    stem = load_network(find_source(LITE0), "cpu")._model.bn1
    handle = stem.register_forward_hook(lambda *_: seen.append(conv.fp32_precision))
    try:
        conv.fp32_precision = "tf32"
        extractor(levels=[1]).transform(photographs)
        assert seen == ["ieee"]
        assert conv.fp32_precision == "tf32"
    finally:
        handle.remove()
        conv.fp32_precision = before


def test_the_callers_autocast_and_default_type_do_not_enter(photographs):
    expected = extractor(levels=[7]).transform(photographs)
    with torch.autocast("cpu", torch.bfloat16):
        pd.testing.assert_frame_equal(extractor(levels=[7]).transform(photographs), expected)
    try:
        torch.set_default_dtype(torch.float64)
        pd.testing.assert_frame_equal(extractor(levels=[7]).transform(photographs), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_verbose_shows_progress(photographs, capsys):
    extractor(verbose=1).transform(photographs)
    assert "8/8" in capsys.readouterr().err
    extractor().transform(photographs)
    assert capsys.readouterr().err == ""
