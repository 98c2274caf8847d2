"""Images in every form, and what happens to those that cannot be used."""

import runpy
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from timm.data import create_transform, resolve_data_config
from torch.nn import functional

from skgad import DeepFeatureTransformer, MahalanobisDetector
from skgad._images._decoding import decode
from skgad._images._sequence import check_images
from skgad.deep._batches import extract
from skgad.deep._resizing import make_resizer
from skgad.deep._sources import find_source
from skgad.deep._timm_source import find_architecture
from skgad.exceptions import ImageError, ImageWarning

from .conftest import LITE0

EXAMPLES = Path(__file__).parents[1] / "examples"


def extractor(**params):
    return DeepFeatureTransformer(LITE0, **{"image_size": 64, "levels": [3], **params})


class Photographs(torch.utils.data.Dataset):
    def __init__(self, images, bad=()):
        self.images, self.bad, self.read = images, bad, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        if not 0 <= position < len(self):
            raise IndexError(position)
        if position in self.bad:
            raise OSError("the disk is gone")
        self.read.append(position)
        return self.images[position], 0  # a pair, as torchvision's data sets give


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        raise NotImplementedError


def test_tensors_and_datasets_equal_arrays(photographs):
    expected = extractor().transform(photographs)
    tensors = torch.from_numpy(photographs).permute(0, 3, 1, 2)
    for images in (
        tensors,
        list(tensors),
        [*photographs[:4], *tensors[4:]],
        Photographs(photographs),
        Photographs(tensors),
        torch.utils.data.Subset(Photographs(photographs), range(8)),
        [(image, 7) for image in photographs],
    ):
        pd.testing.assert_frame_equal(extractor().transform(images), expected)
    for floats in (tensors / 255, tensors.double() / 255):
        np.testing.assert_allclose(extractor().transform(floats), expected, rtol=1e-3, atol=1e-3)


def test_grey_tensors_equal_grey_arrays(photographs):
    grey = photographs[..., 0]
    expected = extractor().transform(grey)
    for images in (torch.from_numpy(grey), torch.from_numpy(grey)[:, None], list(torch.from_numpy(grey))):
        pd.testing.assert_frame_equal(extractor().transform(images), expected)


def test_a_dataset_can_be_cross_validated(photographs):
    pipe = make_pipeline(extractor(), MahalanobisDetector())
    from_dataset = cross_val_predict(pipe, Photographs(photographs), cv=2, method="decision_function")
    np.testing.assert_allclose(from_dataset, cross_val_predict(pipe, photographs, cv=2, method="decision_function"))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (torch.zeros(3, 8, 9), "one colour image, or 3 grey ones"),
        (torch.zeros(2, 5, 8, 9), "C = 1, 3 or 4"),
        (torch.zeros(2, 3, 8, 9, dtype=torch.int64), "type int64"),
        ([torch.zeros(8, 9, 3)], "C = 1, 3 or 4"),
        (Photographs([]), "empty"),
        (Endless(), "Dataset without length"),
    ],
)
def test_tensors_and_datasets_of_another_form_are_refused(X, message):
    with pytest.raises(ImageError, match=message):
        check_images(X)


def test_an_item_that_a_dataset_cannot_give_is_named(photographs):
    with pytest.raises(ImageError, match=r"image 1 has shape \(3,\)"):
        extractor().transform(Photographs([photographs[0], np.zeros(3)]))
    with pytest.raises(ImageError, match="image 5 of the Dataset cannot be read: the disk is gone"):
        extractor().transform(Photographs(photographs, bad=[5]))


def test_each_item_of_a_dataset_is_read_once(photographs):
    data = Photographs(photographs)
    extractor(batch_size=3, num_workers=2).transform(data)
    assert sorted(data.read) == list(range(8))


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_features_do_not_depend_on_the_number_of_workers(photographs, num_workers):
    expected = extractor(num_workers=0).transform(photographs)
    pd.testing.assert_frame_equal(extractor(num_workers=num_workers, batch_size=8).transform(photographs), expected)


def test_no_more_than_three_batches_are_held():
    prepared, done, most = [], [], []

    def resize(image, roi, name):
        prepared.append(image)
        most.append(len(prepared) - len(done))
        return torch.from_numpy(image[..., :1].astype(np.float32))

    def run(batch):
        time.sleep(0.002)  # a slow network: the readers run ahead as far as they may
        done.extend(batch)
        return torch.stack(batch)[:, 0, 0].numpy()

    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    batches = extract(images, resize, run, n_features=1, batch_size=5, num_workers=2)
    np.testing.assert_array_equal(np.concatenate([batch.pooled for batch in batches])[:, 0], np.arange(200))
    assert 10 <= max(most) <= 15


def test_one_late_pil_image_in_many_threads(photographs, tmp_path):
    Image.fromarray(np.tile(photographs[0], (5, 5, 1))).save(tmp_path / "a.png")
    expected = extractor().transform([tmp_path / "a.png"]).to_numpy()
    for _ in range(5):
        with Image.open(tmp_path / "a.png") as image:
            got = extractor(num_workers=4).transform([image] * 8)
        np.testing.assert_allclose(got, np.repeat(expected, 8, axis=0), rtol=1e-4, atol=1e-5)


def test_a_bad_image_stops_the_readers(photographs):
    data = Photographs(np.repeat(photographs, 50, axis=0), bad=[0])
    with pytest.raises(ImageError, match="image 0"):
        extractor(batch_size=2).transform(data)
    assert len(data.read) < 20


def test_bad_images_give_nan_rows_and_one_warning_that_lists_them(photographs, tmp_path):
    Image.fromarray(photographs[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    images = [tmp_path / "good.png", tmp_path / "bad.png", photographs[1], tmp_path / "missing.png"]
    tolerant = extractor(on_bad_image="nan").fit(images)
    with pytest.warns(ImageWarning, match=r"(?s)2 of 4 images.*image 1, .*bad\.png.*image 3, .*missing\.png") as caught:
        features = tolerant.transform(images)
    assert len(caught) == 1
    assert features.isna().all(axis=1).tolist() == [False, True, False, True]
    expected = extractor().transform([photographs[0], photographs[1]])
    np.testing.assert_allclose(features.iloc[[0, 2]], expected, rtol=1e-4, atol=1e-5)


def test_bad_images_are_not_cached_and_good_ones_beside_them_are(photographs, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    tolerant = extractor(on_bad_image="nan", cache=tmp_path)
    for _ in range(2):
        with pytest.warns(ImageWarning, match="1 of 9 images"):
            features = tolerant.transform([tmp_path / "bad.png", *photographs])
        assert features.isna().all(axis=1).tolist() == [True] + [False] * 8


def test_detectors_refuse_nan_rows_by_position():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["level1__0000", "level1__0001"])
    detector = MahalanobisDetector().fit(X)
    X.iloc[[3, 7]] = np.nan
    for call in (detector.fit, detector.score_samples):
        with pytest.raises(ValueError, match=r"NaN in row 3, column 'level1__0000' \(2 such rows: 3, 7\).*leave"):
            call(X)


def test_unknown_rule_for_bad_images_is_refused(photographs):
    with pytest.raises(ValueError, match="on_bad_image must be 'raise' or 'nan'; got 'skip'"):
        extractor(on_bad_image="skip").fit(photographs)


def test_malformed_files_are_refused_by_name_or_read_whole(tmp_path):
    example = runpy.run_path(str(EXAMPLES / "show_malformed_images.py"))
    paths = example["make_files"](tmp_path)
    assert len(paths) == 20
    readable = {"first_frame.gif", "cmyk.jpg", "one_pixel.png", "wrong_suffix.jpg", "grey_alpha.png"}
    for position, path in enumerate(paths):
        if path.name in readable:
            assert decode(path, position).shape[2] == 3
        else:
            with pytest.raises(ImageError, match=rf"image {position}, '.*{path.name}'"):
                decode(path, position)
    with pytest.warns(ImageWarning, match="15 of 20 images"):
        features = extractor(on_bad_image="nan").transform(paths)
    assert set(np.array(paths)[features.notna().all(axis=1)]) == {tmp_path / name for name in readable}


def test_pool_max_is_the_largest_location(photographs):
    model = timm.create_model("resnet18", pretrained=False).eval()
    state = model.state_dict()
    x = torch.stack([torch.from_numpy(image / 255.0).permute(2, 0, 1).float() for image in photographs])
    config = find_architecture("resnet18")
    x = functional.interpolate(x, (64, 64), mode="bilinear", align_corners=False)
    x = (x - torch.tensor(config.mean).reshape(3, 1, 1)) / torch.tensor(config.std).reshape(3, 1, 1)
    with torch.inference_mode():
        maps = model.layer1(model.maxpool(model.act1(model.bn1(model.conv1(x)))))
    for pool, expected in (("mean", maps.mean(dim=(2, 3))), ("max", maps.amax(dim=(2, 3)))):
        got = DeepFeatureTransformer("resnet18", weights=state, levels=[2], pool=pool, image_size=64)
        np.testing.assert_allclose(got.transform(photographs), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny_patch16_224", LITE0])
def test_timms_rule_is_timms_evaluation_transform(name):
    image = np.random.default_rng(0).integers(0, 256, size=(300, 250, 3), dtype=np.uint8)
    architecture = find_architecture(name)
    config = resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(architecture.name).to_dict())
    expected = create_transform(**config)(Image.fromarray(image))
    got = make_resizer("timm", find_source(name), (architecture.image_size,) * 2)(image) / 255
    mean, std = (torch.tensor(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close((got - mean) / std, expected, rtol=1e-4, atol=1e-4)


def test_antialiasing_is_pillows_up_to_its_rounding():
    image = np.random.default_rng(0).integers(0, 256, size=(90, 120, 3), dtype=np.uint8)
    got = make_resizer("antialias", find_source(LITE0), 32)(image)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), expected, atol=1)


def test_resize_rules_and_pools_are_other_entries_of_the_cache(photographs, tmp_path):
    results = [
        extractor(cache=tmp_path, image_size=32, **params).transform(photographs).to_numpy()
        for params in ({}, {"resize": "antialias"}, {"resize": "timm"}, {"pool": "max"}, {"precision": "bfloat16"})
    ]
    for one in range(5):
        for other in range(one):
            assert not np.allclose(results[one], results[other], rtol=1e-4)


@pytest.mark.parametrize(
    "params", [{"resize": "nearest"}, {"pool": "median"}, {"precision": "float16"}, {"num_workers": -1}]
)
def test_unknown_choices_are_refused_by_name(photographs, params):
    with pytest.raises(ValueError, match=f"{next(iter(params))} must be"):
        extractor(**params).fit(photographs)


def test_reading_does_not_change_the_threads_of_the_caller(photographs):
    before = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor(batch_size=2, num_workers=2).transform(photographs)
    assert torch.get_num_threads() == before
