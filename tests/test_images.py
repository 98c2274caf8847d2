import numpy as np
import pytest
from PIL import Image

from skgad._images._decoding import check_images, decode
from skgad.exceptions import ImageError

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


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (RGB.astype(np.int64), "type int64"),
        (RGB > 3, "type bool"),
        (RGB * 1.0, r"floats from 0 to 249"),
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
        (np.array([["a.png"], ["b.png"]]), r"pass X\.ravel"),
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
    import pandas as pd

    with pytest.raises(ImageError, match="pass the column"):
        check_images(pd.DataFrame({"path": ["a.png"]}))
