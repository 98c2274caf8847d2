import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad.deep import _network
from skgad.deep._cache import FeatureCache, make_key, open_cache
from skgad.exceptions import CacheError, ImageError, WeightsError

from .conftest import LITE0


def extractor(cache, **params):
    return DeepFeatureTransformer(cache=cache, **{"backbone": LITE0, "image_size": 64, **params})


@pytest.fixture
def passed(monkeypatch):
    """Count the images that go through the network."""
    counts = []
    pool_levels = _network.Network.pool_levels

    def counted(self, images, *args):
        counts.append(len(images))
        return pool_levels(self, images, *args)

    monkeypatch.setattr(_network.Network, "pool_levels", counted)
    return counts


def test_cached_features_are_those_of_the_network(photographs, tmp_path):
    expected = extractor(None).fit_transform(photographs)
    for _ in range(2):
        pd.testing.assert_frame_equal(extractor(tmp_path).fit_transform(photographs), expected, rtol=1e-4)


def test_each_image_goes_through_the_network_once_whatever_the_levels(photographs, tmp_path, passed):
    extractor(tmp_path, levels=[2]).fit_transform(photographs)
    extractor(tmp_path, levels="all", batch_size=3).fit_transform(photographs[::-1])
    assert sum(passed) == len(photographs)
    extractor(tmp_path).fit_transform(np.concatenate([photographs, 255 - photographs[:1]]))
    assert sum(passed) == len(photographs) + 1


def test_an_image_that_comes_twice_in_a_batch_goes_once(photographs, tmp_path, passed):
    features = extractor(tmp_path).fit_transform(np.repeat(photographs[:2], 3, axis=0))
    assert sum(passed) == 2
    np.testing.assert_array_equal(features.iloc[0], features.iloc[2])


def test_a_file_is_found_by_its_content(photographs, tmp_path, passed):
    for name, image in (("a.png", photographs[0]), ("b.png", photographs[0]), ("c.png", photographs[1])):
        Image.fromarray(image).save(tmp_path / name)
    extractor(tmp_path / "cache").fit_transform([tmp_path / "a.png"])
    extractor(tmp_path / "cache").fit_transform([tmp_path / "b.png"])
    assert sum(passed) == 1
    (tmp_path / "c.png").replace(tmp_path / "a.png")
    extractor(tmp_path / "cache").fit_transform([tmp_path / "a.png"])
    assert sum(passed) == 2


@pytest.mark.parametrize("params", [{"image_size": 32}, {"backbone": "tf_efficientnet_lite1"}])
def test_other_settings_are_other_entries(photographs, tmp_path, passed, params):
    extractor(tmp_path).fit_transform(photographs)
    extractor(tmp_path).set_params(**params).fit_transform(photographs)
    assert sum(passed) == 2 * len(photographs)


def test_a_search_runs_the_network_once_and_a_second_one_not_at_all(cells, tmp_path, passed, monkeypatch):
    images, y = cells
    pipe = make_pipeline(extractor(tmp_path), NPCA(), MahalanobisDetector())
    grid = {"deepfeaturetransformer__levels": [[5], [5, 6], "all"], "npca__n_components": [0.1, 0.01]}
    search = GridSearchCV(pipe, grid, scoring="roc_auc", cv=StratifiedKFold(3, shuffle=True, random_state=0))
    first = search.fit(images, y).cv_results_["mean_test_score"]
    assert sum(passed) == len(images)
    monkeypatch.setattr(_network, "Network", None)  # a warm cache loads no network
    _network._load_network.cache_clear()
    np.testing.assert_array_equal(search.fit(images, y).cv_results_["mean_test_score"], first)


def test_a_device_that_is_not_there_is_refused_though_the_cache_is_warm(photographs, tmp_path):
    extractor(tmp_path).fit_transform(photographs)
    with pytest.raises(ValueError, match="CUDA devices"):
        extractor(tmp_path, device="cuda:99").fit(photographs)


def test_keys_are_of_what_the_network_sees(tmp_path):
    image = np.arange(16, dtype=np.uint8).reshape(2, 8)
    np.save(tmp_path / "image.npy", image)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    palettes = [Image.fromarray(image).convert("P") for _ in range(2)]
    palettes[1].putpalette(palettes[1].getpalette()[::-1])
    with Image.open(tmp_path / "turned.png") as turned:
        others = [image.reshape(4, 4), image.astype(np.uint16) * 300, image[::-1], turned, palettes[1]]
        keys = {make_key(b"", item, 0) for item in [image, *others]}
    assert len(keys) == 6
    memmap = np.load(tmp_path / "image.npy", mmap_mode="r")
    for same in (np.asfortranarray(image), Image.fromarray(image), memmap, np.dstack([image] * 3)):
        assert make_key(b"", same, 0) == make_key(b"", image, 0)
    assert make_key(b"a", image, 0) != make_key(b"b", image, 0)


def test_a_store_that_cannot_be_used_is_named_with_the_remedy(photographs, tmp_path):
    (tmp_path / "features.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(CacheError, match=r"features\.sqlite cannot be used.*Delete that file"):
        extractor(tmp_path).fit(photographs)
    with pytest.raises(CacheError, match="another folder"):
        extractor(tmp_path / "features.sqlite").fit_transform(photographs)


def test_weights_that_were_exchanged_behind_the_caches_back_are_refused(photographs, tmp_path):
    path = tmp_path / "weights.pth"
    state = timm.create_model("resnet18").state_dict()
    torch.save(state, path)
    stamp = path.stat().st_mtime_ns
    fitted = extractor(tmp_path, backbone="resnet18", weights=path).fit(photographs)
    torch.save({key: value * 1.5 for key, value in state.items()}, path)
    os.utime(path, ns=(stamp, stamp))
    _network._load_network.cache_clear()  # a new process
    with pytest.raises(WeightsError, match="not those that this transformer was fitted with"):
        fitted.transform(photographs)


def test_a_broken_pil_image_is_named_by_position(photographs, tmp_path):
    Image.fromarray(np.tile(photographs[0], (5, 5, 1))).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    with Image.open(tmp_path / "a.png") as broken, pytest.raises(ImageError, match="image 1, cannot be read"):
        extractor(tmp_path).fit_transform([photographs[0], broken])


def test_a_bad_image_keeps_what_was_computed_before(photographs, tmp_path, passed):
    (tmp_path / "bad.png").write_text("no image")
    images = [*photographs[:4], tmp_path / "bad.png"]
    with pytest.raises(ImageError, match="image 4"):
        extractor(tmp_path, batch_size=4).fit_transform(images)
    extractor(tmp_path).fit_transform(photographs[:4])
    assert sum(passed) == 4


WRITER = """
import sys, numpy as np
from skgad.deep._cache import FeatureCache
cache = FeatureCache(sys.argv[1])
for number in range(int(sys.argv[2]), 10**6):
    cache.put({b"%d-%d" % (number, part): np.full(2000, number, dtype=np.float32) for part in range(16)})
    print(number, flush=True)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_whole_entries_only(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(start)], stdout=subprocess.PIPE, text=True)
        for start in (0, 1000)
    ]
    for writer in writers:
        for _ in range(5):
            assert writer.stdout.readline()
    time.sleep(0.05)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    cache, complete = FeatureCache(tmp_path), 0
    for number in [*range(300), *range(1000, 1300)]:
        found = cache.get([b"%d-%d" % (number, part) for part in range(16)])
        assert len(found) in (0, 16)  # a batch is there or not
        assert all((pooled == number).all() and len(pooled) == 2000 for pooled in found.values())
        complete += len(found) == 16
    assert complete >= 10


@pytest.mark.parametrize("cache", [3, ["a"]])
def test_bad_cache_is_refused(photographs, cache):
    with pytest.raises(ValueError, match="cache must be None, True or the path"):
        extractor(cache).fit(photographs)


def test_cache_true_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = open_cache(True)
    cache.put({b"key": np.ones(3)})
    if sys.platform == "linux":
        assert (tmp_path / "skgad" / "features.sqlite").is_file()
    np.testing.assert_array_equal(cache.get([b"key"])[b"key"], np.ones(3))
