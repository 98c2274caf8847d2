"""The files of images: their formats, what is no file of an image, and what of it is kept in memory."""

import gc
import os
import pickle
import socket
import subprocess
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from skgad import DeepFeatureTransformer
from skgad._images import _files
from skgad._images._decoding import decode
from skgad._images._sequence import check_images
from skgad.exceptions import ImageError, ImageWarning

from .conftest import LITE0

RGB = np.random.default_rng(0).integers(0, 256, size=(6, 9, 3), dtype=np.uint8)


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("maxval", [1000, 4095, 65535])
@pytest.mark.parametrize("magic", ["P2", "P5"])
def test_deep_grey_maps_are_scaled_by_their_highest_value(tmp_path, magic, maxval):
    values = np.random.default_rng(1).integers(0, maxval + 1, size=(6, 9))
    values[0, :2] = 0, maxval
    head = f"{magic}\n9 6\n{maxval}\n".encode()
    body = values.astype(">u2").tobytes() if magic == "P5" else " ".join(map(str, values.ravel())).encode()
    (tmp_path / "deep.pgm").write_bytes(head + body)
    got = decode(tmp_path / "deep.pgm", 0)
    np.testing.assert_allclose(got[..., 0], values * 255 / maxval, atol=0.01)
    assert (got == got[..., :1]).all()


def write_tiff(path, values, bits, photometric=1):
    """Write a grey TIFF, big-endian packed bits, by hand: Pillow writes none of 12 bits."""
    rows = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=-1)[..., 16 - bits :]
    data = np.packbits(rows.reshape(len(values), -1), axis=1).tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    entries = [np.array([tag, 3, 1, 0, value, 0], "<u2").tobytes() for tag, value in [*tags, (279, len(data))]]
    directory = np.uint16(len(entries)).tobytes() + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + np.uint32(8 + len(data)).tobytes() + data + directory)


def test_a_pickle_of_a_deep_tiff_has_its_pixels(tmp_path):
    deep = saved(tmp_path, Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), "deep.tif")
    with Image.open(deep) as image:
        np.testing.assert_allclose(decode(pickle.loads(pickle.dumps(image)), 0)[..., 0], RGB[..., 0], atol=1e-4)


@pytest.mark.parametrize("bits", [8, 12])
def test_grey_tiffs_are_scaled_by_their_number_of_bits(tmp_path, bits):
    values = np.random.default_rng(1).integers(0, 2**bits, size=(6, 10))
    write_tiff(tmp_path / "grey.tif", values, bits)
    np.testing.assert_allclose(decode(tmp_path / "grey.tif", 0)[..., 0], values * 255 / (2**bits - 1), atol=0.01)


def test_zero_is_white_where_a_tiff_says_so_at_any_depth(tmp_path):
    values = np.random.default_rng(1).integers(0, 256, size=(6, 10))
    write_tiff(tmp_path / "shallow.tif", values, 8, photometric=0)
    deep = (values * 257).astype(">u2").view("<u2")  # the bytes, as little-endian files hold them
    write_tiff(tmp_path / "deep.tif", deep, 16, photometric=0)
    for name in ("shallow.tif", "deep.tif"):
        np.testing.assert_allclose(decode(tmp_path / name, 0)[..., 0], 255 - values, atol=0.01)


def test_a_palette_with_a_table_of_transparency_is_read_in_silence(tmp_path):
    few = Image.fromarray(RGB // 128 * 128).convert("P", palette=Image.Palette.ADAPTIVE)
    path = saved(tmp_path, few, transparency=bytes(range(16)))
    with Image.open(path) as image:
        np.testing.assert_array_equal(decode(image, 0), np.asarray(few.convert("RGB")))
        assert isinstance(image.info["transparency"], bytes)  # the caller's image stays as it is
    np.testing.assert_array_equal(decode(path, 0), np.asarray(few.convert("RGB")))


def test_a_scan_beyond_pillows_limit_is_refused_with_the_limit_and_the_remedy(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(RGB))
    for limit in (20, 40):  # Pillow's error, and its warning, which is an error here
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(
            ImageError, match=r"image 4, '.*image\.png', has more pixels.*54 pixels.*limit of 40.*tiles"
        ):
            decode(path, 4)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def test_other_formats_are_refused_by_name_and_nothing_is_run(tmp_path, monkeypatch):
    def run(*args, **kwargs):
        pytest.fail("a program was started")

    monkeypatch.setattr(subprocess, "check_call", run)
    monkeypatch.setattr(subprocess, "Popen", run)
    (tmp_path / "photo.png").write_bytes(EPS)
    with pytest.raises(ImageError, match=r"image 4, '.*photo\.png', cannot be read: it is none of .*JPEG, .*PNG"):
        decode(tmp_path / "photo.png", 4)
    with Image.open(tmp_path / "photo.png") as image, pytest.raises(ImageError, match="image 4 is of format EPS"):
        decode(image, 4)
    with pytest.raises(ImageError, match="none of"):
        decode(saved(tmp_path, Image.fromarray(RGB), "image.tga"), 0)


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_the_usual_formats_are_read(tmp_path, form):
    path = tmp_path / "image.any"
    Image.fromarray(RGB).save(path, form)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
        for item in (image, pickle.loads(pickle.dumps(image))):  # as joblib hands it to a process
            np.testing.assert_array_equal(decode(item, 0), expected)
    np.testing.assert_array_equal(decode(path, 0), expected)


def test_a_file_beyond_the_limit_of_size_is_not_read(tmp_path):
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(20 * 2**30)
    for use in (lambda path: check_images([path]), lambda path: decode(path, 0)):
        with pytest.raises(ImageError, match=r"image 0, '.*sparse\.png': this file has 20 GiB.* up to 1 GiB"):
            use(tmp_path / "sparse.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_what_is_no_regular_file_is_refused_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for path in (tmp_path / "pipe.png", tmp_path / "socket.png", "/dev/zero"):
            for use in (lambda path: check_images([path]), lambda path: decode(path, 0)):
                with pytest.raises(ImageError, match=f"image 0, '{path}': this is no regular file"):
                    use(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a\0b.png", "embedded null"),
        ("\ud800.png", "surrogates not allowed"),
        ("a" * 5000, "too long"),
        ("", "no such file"),
    ],
)
def test_what_no_path_can_be_is_refused_by_position(path, reason):
    for use in (lambda path: check_images([RGB, path]), lambda path: decode(path, 1)):
        with pytest.raises(ImageError, match=f"image 1, .*{reason}"):
            use(path)


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ImageError, match="levels of symbolic links"):
        check_images([tmp_path / "a.png"])


def test_want_of_a_right_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(RGB))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    for module, name in ((_files.os, "stat"), (_files, "open")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refuse, raising=False)
            with pytest.raises(ImageError, match=r"image 0, '.*image\.png', cannot be read: permission denied"):
                decode(path, 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes root, who can become another user")
def test_a_folder_that_may_not_be_searched_is_named(tmp_path):
    saved(tmp_path, Image.fromarray(RGB)).parent.chmod(0o700)
    message = []

    def look():
        try:
            check_images([tmp_path / "image.png"])
        except ImageError as error:
            message.append(str(error))

    os.seteuid(65534)
    try:
        look()
    finally:
        os.seteuid(0)
    assert "permission denied" in message[0]


def test_of_bad_files_only_the_text_is_kept(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, size=(820, 820, 3), dtype=np.uint8)
    whole = saved(tmp_path, Image.fromarray(noise)).read_bytes()
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for path in paths:
        path.write_bytes(whole[:-1000])
    extractor = DeepFeatureTransformer(LITE0, levels=[3], image_size=32, on_bad_image="nan", batch_size=20)
    extractor.transform(np.zeros((1, 8, 8), dtype=np.uint8))
    gc.disable()  # nor may a circle of references keep bytes until they are looked for
    tracemalloc.start()
    with pytest.warns(ImageWarning, match="20 of 20 images"):
        extractor.transform(paths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.enable()
    assert len(whole) > 1.9 * 2**20
    assert peak < 4 * len(whole)
