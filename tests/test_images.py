import os
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps

from skgad import DeepFeatureTransformer
from skgad._images._decoding import decode
from skgad._images._sequence import check_images, fetch
from skgad.exceptions import ImageError, ImageWarning

from .conftest import LITE0

RGB = np.random.default_rng(0).integers(0, 256, size=(6, 9, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_a_file_gives_its_pixels(tmp_path):
    np.testing.assert_array_equal(decode(saved(tmp_path, Image.fromarray(RGB)), 0), RGB)


def test_grey_is_repeated(tmp_path):
    expected = np.repeat(GREY[..., np.newaxis], 3, axis=-1)
    for item in (GREY, GREY[..., np.newaxis], Image.fromarray(GREY), saved(tmp_path, Image.fromarray(GREY))):
        np.testing.assert_array_equal(decode(item, 0), expected)


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 7, dtype=np.uint8)])
    for item in (rgba, Image.fromarray(rgba), saved(tmp_path, Image.fromarray(rgba))):
        np.testing.assert_array_equal(decode(item, 0), RGB)


def test_palettes_are_resolved(tmp_path):
    few = Image.fromarray(RGB // 128 * 128).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(decode(saved(tmp_path, few), 0), np.asarray(few.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    expected = np.repeat(GREY[..., np.newaxis], 3, axis=-1)
    for item in (
        deep,
        Image.fromarray(deep),
        saved(tmp_path, Image.fromarray(deep)),
        saved(tmp_path, Image.fromarray(deep), "d.tif"),
    ):
        np.testing.assert_allclose(decode(item, 0), expected, atol=1e-4)
    np.testing.assert_allclose(decode(deep.astype(">u2"), 0), expected, atol=1e-4)


def test_floats_lie_between_zero_and_one():
    np.testing.assert_allclose(decode(RGB / 255, 0), RGB, atol=1e-4)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    path = saved(tmp_path, Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(decode(path, 0), np.rot90(RGB, -1))


@pytest.mark.parametrize("orientation", range(10))
def test_every_exif_orientation_is_pillows(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(RGB), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(decode(image, 0), expected)
    np.testing.assert_array_equal(decode(path, 0), expected)


@pytest.mark.parametrize("exif", [b"nonsense", b"Exif\0\0" + b"\xff" * 50, b"Exif\0\0MM\0*" + b"\xff" * 30])
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_broken_exif_does_not_break_the_picture(tmp_path, exif, suffix):
    path = saved(tmp_path, Image.fromarray(RGB), f"image.{suffix}", exif=exif, lossless=True)
    np.testing.assert_array_equal(decode(path, 0), RGB)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (RGB.astype(np.int64), "type int64"),
        (RGB > 3, "type bool"),
        (RGB * 1.0, r"floats from 0 to 249; .*divide by 255"),
        (RGB * 257.0, "divide by 65535"),
        (RGB / 64 - 2, "rescale them"),
        (RGB.astype(complex), "type complex128; uint8, uint16 or floats in .0, 1. are needed.$"),
        (np.ma.masked_array(RGB, RGB > 3), r"masked array.*\.filled\(0\)"),
        (np.moveaxis(RGB, -1, 0), r"np\.moveaxis\(image, 0, -1\)"),
        (Image.new("RGB", (0, 4)), "0 x 4 pixels"),
        (Image.new("La", (4, 4)), "'La' pixels"),
        (torch.eye(4).to_sparse(), "tensor that NumPy cannot hold"),
        (torch.empty(3, 4, 4, device="meta"), "tensor that NumPy cannot hold"),
        (RGB / 255 - 0.1, "floats from -0.1"),
        (np.where(RGB > 3, RGB / 255, np.nan), "NaN"),
        (RGB[..., :2], r"shape \(6, 9, 2\)"),
        (RGB[0, 0], r"shape \(3,\)"),
        (RGB[:0], "no pixels"),
        (Image.fromarray(GREY.astype(np.float32)), "range is unknown"),
    ],
)
def test_images_of_another_form_are_refused_by_position(item, message):
    with pytest.raises(ImageError, match=message) as caught:
        decode(item, 4)
    assert "image 4" in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_damaged_files_are_refused_by_path_and_position(tmp_path, damage):
    path = saved(tmp_path, Image.fromarray(np.tile(RGB, (20, 20, 1))))
    content = {"truncated": path.read_bytes()[:300], "text": b"no image", "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"image 4, '.*image\.png', cannot be read"):
        decode(path, 4)


def test_a_broken_pil_image_is_refused_by_position(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.tile(RGB, (20, 20, 1))))
    path.write_bytes(path.read_bytes()[:300])
    with Image.open(path) as image, pytest.raises(ImageError, match="image 4, cannot be read"):
        decode(image, 4)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("image.png", "single path"),
        ([], "empty"),
        (np.empty((0, 8, 8), dtype=np.uint8), "empty"),
        (RGB, "one colour image"),
        (GREY, r"shape \(6, 9\)"),
        (3, "X is int"),
        (iter([RGB]), r"pass list\(X\)"),
        (RGB[..., :1], "one colour image"),
        (np.array([["a.png"], ["b.png"]]), r"X\.ravel"),
        (["."], "this is a folder"),
        ([RGB, "nowhere.png"], "image 1, 'nowhere.png': there is no such file"),
        ([RGB, None], "image 1 is NoneType"),
        ([RGB, RGB.astype(int)], "image 1 has type int64"),
        (RGB[np.newaxis].astype(int), "image 0 has type int64"),
    ],
)
def test_what_is_no_list_of_images_is_refused(X, message):
    with pytest.raises(ImageError, match=message):
        check_images(X)


def test_a_frame_is_refused_with_the_remedy():
    with pytest.raises(ImageError, match="pass the column"):
        check_images(pd.DataFrame({"path": ["a.png"]}))


def test_the_advice_for_tensors_of_another_type_makes_the_picture_that_was_meant():
    binary = torch.from_numpy(RGB > 99).permute(2, 0, 1)
    for item in (binary, binary.long()):
        with pytest.raises(ImageError, match=r"pass \(image \* 255\)\.to\(torch\.uint8\)\.$"):
            decode(item, 0)
        np.testing.assert_array_equal(decode((item * 255).to(torch.uint8), 0), 255 * (RGB > 99))
    with pytest.raises(ImageError, match=r"pass it \.to\(torch\.uint8\)\.$"):
        check_images(torch.from_numpy(RGB).permute(2, 0, 1)[None].long())


@pytest.mark.parametrize(
    ("item", "advice", "advised", "meant"),
    [
        (RGB > 99, "pass image * np.uint8(255).", (RGB > 99) * np.uint8(255), 255 * (RGB > 99)),
        ((RGB > 99) * 1, "pass (image * 255).astype(np.uint8).", (255 * (RGB > 99)).astype(np.uint8), 255 * (RGB > 99)),
        (RGB.astype(int), "pass it .astype(np.uint8).", RGB, RGB),
        (RGB.astype(np.int64) * 257, "pass it .astype(np.uint16).", RGB * np.uint16(257), RGB),
        (RGB.astype(int) - 9, "on neither scale: rescale it.", RGB, RGB),
    ],
    ids=["booleans", "zero and one", "bytes", "sixteen bits", "neither"],
)
def test_the_advice_for_another_type_makes_the_picture_that_was_meant(item, advice, advised, meant):
    with pytest.raises(ImageError) as caught:
        decode(item, 0)
    assert advice in str(caught.value)
    np.testing.assert_allclose(decode(advised, 0), meant, atol=1e-4)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"a.png"}, r"X is a set.*sorted\(X\)"),
        (frozenset({"a.png"}), "X is a frozenset"),
        ({"a.png": 1}, r"X is dict.*list\(X\.values\(\)\)"),
        (OrderedDict(a=1), "X is OrderedDict"),
        (MappingProxyType({"a.png": 1}), "X is mappingproxy"),
        ((name for name in ["a.png"]), r"iterator.*list\(X\)"),
        (b"a.png", "X is bytes"),
        (bytearray(b"a.png"), "X is bytearray"),
        (np.ma.masked_array([RGB]), "image 0 is a masked array"),
        (RGB[np.newaxis].astype(object), r"X is an array of object, of shape .*X\.astype\(np\.uint8\) of pixels"),
        (np.array([["a.png"]]), r"X is an array of .*X\.ravel\(\) of paths"),
        (np.array("a.png"), "X is ndarray"),
        (Image.fromarray(RGB), "X is Image"),
    ],
)
@pytest.mark.parametrize("items", [True, False])
def test_containers_without_an_order_or_a_length_are_refused(X, message, items):
    with pytest.raises(ImageError, match=message):
        check_images(X, items=items)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"a.png", "image 0 is bytes"),
        (np.nan, r"image 0 is float \(nan\)"),
        (pd.NA, "image 0 is NAType"),
        (3, r"image 0 is int \(3\)"),
        (np.ma.masked_array(RGB), "image 0 is a masked array"),
        (RGB.astype(object), "image 0 is an array of object"),
        (np.array(["a.png"]), r"X\.ravel\(\)"),
    ],
)
def test_items_that_are_no_images_are_refused_at_once_or_when_they_are_decoded(item, message):
    for use in (lambda: check_images([item]), lambda: decode(fetch(check_images([item], items=False), 0), 0)):
        with pytest.raises(ImageError, match=message):
            use()


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1")
def test_numpys_strings_of_any_length_are_paths(tmp_path):
    path = str(saved(tmp_path, Image.fromarray(RGB)))
    paths = np.array([path, path], dtype=np.dtypes.StringDType())
    assert check_images(paths) == [path, path]
    with pytest.raises(ImageError, match=r"X\.ravel"):
        check_images(paths[:, np.newaxis])
    with_gap = np.array([path, None], dtype=np.dtypes.StringDType(na_object=None))
    assert check_images(with_gap, items=False) == [path, None]


def test_the_layout_in_memory_does_not_matter(tmp_path):
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=RGB.shape)
    mapped[:] = RGB
    locked = RGB.copy()
    locked.flags.writeable = False
    layouts = [RGB[::-1].copy()[::-1], np.asfortranarray(RGB), np.repeat(RGB, 2, axis=1)[:, ::2], locked, mapped]
    for image in layouts:
        np.testing.assert_array_equal(decode(image, 0), RGB)
    np.testing.assert_array_equal(decode(GREY.view(np.matrix), 0), decode(GREY, 0))


@pytest.mark.parametrize("dtype", ["<f2", ">f2", ">f4", ">f8", np.longdouble])
def test_floats_of_any_width_and_byte_order_are_equal(dtype):
    np.testing.assert_allclose(decode((RGB / 255).astype(dtype), 0), RGB, atol=0.1)


def test_a_gap_in_a_series_of_paths_is_a_row_of_nan(tmp_path):
    path = str(saved(tmp_path, Image.fromarray(RGB)))
    bad = [None, np.nan, pd.NA, "a\0b.png", os.devnull, RGB > 9, RGB[0, 0], 3]
    paths = pd.Series([path, *bad], index=[*"abcdefghi"], dtype=object)
    extractor = DeepFeatureTransformer(LITE0, levels=[3], image_size=32, on_bad_image="nan")
    with pytest.warns(ImageWarning, match=r"(?s)8 of 9 images.*image 1 is NoneType.*image 2 is float \(nan\)"):
        features = extractor.fit(paths).transform(paths)
    assert features.index.equals(paths.index)
    assert features.isna().all(axis=1).tolist() == [False] + [True] * 8
    with pytest.raises(ImageError, match="image 1 is NoneType"):
        extractor.set_params(on_bad_image="raise").fit(paths)


def test_pandas_own_strings_with_gaps_are_paths(tmp_path):
    path = str(saved(tmp_path, Image.fromarray(RGB)))
    extractor = DeepFeatureTransformer(LITE0, levels=[3], image_size=32, on_bad_image="nan")
    with pytest.warns(ImageWarning, match="1 of 2 images"):
        features = extractor.transform(pd.Series([path, None], dtype="str"))
    assert features.isna().all(axis=1).tolist() == [False, True]
