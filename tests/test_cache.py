import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad._images._decoding import decode
from skgad.deep import _network, cache_info, clear_cache, limit_cache
from skgad.deep._cache import open_store
from skgad.deep._cache_keys import make_key
from skgad.deep._feature_store import FeatureStore
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
    _network.forget_networks()
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
        keys = {make_key(b"", decode(item, 0)) for item in [image, *others]}
    assert len(keys) == 6
    memmap = np.load(tmp_path / "image.npy", mmap_mode="r")
    for same in (np.asfortranarray(image), Image.fromarray(image), memmap, np.dstack([image] * 3)):
        assert make_key(b"", decode(same, 0)) == make_key(b"", decode(image, 0))
    assert make_key(b"a", image) != make_key(b"b", image)


def test_a_folder_that_is_a_file_is_named_with_the_remedy(photographs, tmp_path):
    (tmp_path / "file").write_bytes(b"no folder")
    with pytest.raises(CacheError, match="another folder"):
        extractor(tmp_path / "file").fit_transform(photographs)


def test_weights_that_were_exchanged_behind_the_caches_back_are_refused_once(photographs, tmp_path):
    path = tmp_path / "weights.pth"
    state = dict(timm.create_model("resnet18").state_dict())
    torch.save(state, path)
    stamp = path.stat()
    fitted = extractor(tmp_path, backbone="resnet18", weights=path).fit(photographs)
    torch.save({key: value * 1.5 for key, value in state.items()}, path)
    os.utime(path, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size  # so that only the weights tell
    _network.forget_networks()  # a new process
    with pytest.raises(WeightsError, match="not those that this transformer was fitted with"):
        fitted.transform(photographs)
    again = extractor(tmp_path, backbone="resnet18", weights=path).fit(photographs)
    assert again.weights_sha256_ != fitted.weights_sha256_
    again.transform(photographs)


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
from skgad.deep._cache import FeatureStore
with FeatureStore(sys.argv[1]) as store:
    for number in range(int(sys.argv[2]), 10**6):
        store.put({b"%d-%d" % (number, part): np.full(2000, number, dtype=np.float32) for part in range(16)})
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
    complete = 0
    with FeatureStore(tmp_path) as store:
        for number in [*range(300), *range(1000, 1300)]:
            found = [store.get(b"%d-%d" % (number, part)) for part in range(16)]
            found = [pooled for pooled in found if pooled is not None]
            assert len(found) in (0, 16)  # a batch is there or not
            assert all((pooled == number).all() and len(pooled) == 2000 for pooled in found)
            complete += len(found) == 16
    assert complete >= 10


@pytest.mark.parametrize("cache", [3, ["a"]])
def test_bad_cache_is_refused(photographs, cache):
    with pytest.raises(ValueError, match="cache must be None, True or the path"):
        extractor(cache).fit(photographs)


def test_cache_true_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with open_store(True) as store:
        store.put({b"key": np.ones(3)})
        np.testing.assert_array_equal(store.get(b"key"), np.ones(3))
    if sys.platform == "linux":
        assert (tmp_path / "skgad" / "features.sqlite").is_file()


def test_a_warm_cache_loads_no_network_in_any_process(cells, tmp_path, monkeypatch):
    images, y = cells[0][::2], cells[1][::2]
    weights = tmp_path / "weights.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(timm.create_model("resnet18").state_dict(), weights)
    pipe = make_pipeline(extractor(tmp_path, backbone="resnet18", weights=weights), NPCA(), MahalanobisDetector())
    grid = {"deepfeaturetransformer__levels": [[2], [3]]}
    search = GridSearchCV(pipe, grid, scoring="roc_auc", cv=StratifiedKFold(2), n_jobs=1)
    first = search.fit(images, y).cv_results_["mean_test_score"]
    state = weights.stat()
    weights.write_bytes(bytes(state.st_size))  # whoever loads it fails
    os.utime(weights, ns=(state.st_mtime_ns, state.st_mtime_ns))
    _network.forget_networks()
    search.set_params(n_jobs=2)
    np.testing.assert_array_equal(search.fit(images, y).cv_results_["mean_test_score"], first)


def test_info_counts_entries_and_clear_deletes_them(photographs, tmp_path):
    empty = cache_info(tmp_path)
    assert (empty.n_images, empty.n_bytes, empty.limit_bytes) == (0, 0, 4 * 2**30)
    assert not empty.path.exists()
    extractor(tmp_path).transform(photographs)
    extractor(tmp_path, pool="max").transform(photographs[:3])
    info = cache_info(tmp_path)
    assert info.n_images == 11
    assert info.n_bytes > 11 * 4 * 2000
    before = info.path.stat().st_size
    clear_cache(tmp_path)
    assert cache_info(tmp_path).n_images == 0
    assert info.path.stat().st_size < before
    clear_cache(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_cleared_cache_gives_the_same_features_again(photographs, tmp_path, passed):
    first = extractor(tmp_path).transform(photographs)
    clear_cache(tmp_path)
    pd.testing.assert_frame_equal(extractor(tmp_path).transform(photographs), first)
    assert sum(passed) == 2 * len(photographs)


def test_above_the_limit_the_entries_that_were_stored_first_go(tmp_path):
    limit_cache(300_000, tmp_path)
    with FeatureStore(tmp_path) as store:
        for number in range(50):
            store.put({b"%d" % number: np.full(2500, number, dtype=np.float32)})  # 10 kB each
        there = [number for number in range(50) if store.get(b"%d" % number) is not None]
        info = store.info()
    assert there == list(range(50 - len(there), 50))
    assert 15 <= len(there) == info.n_images <= 30
    assert info.n_bytes <= info.limit_bytes == 300_000
    limit_cache(100_000, tmp_path)
    assert cache_info(tmp_path).n_bytes <= 100_000
    with FeatureStore(tmp_path) as store:
        assert store.get(b"49") is not None
    assert cache_info(tmp_path).path.stat().st_size < 400_000  # the room is used again


def test_a_batch_larger_than_the_limit_does_no_harm(photographs, tmp_path):
    limit_cache(20_000, tmp_path)
    expected = extractor(None).transform(photographs)
    for _ in range(2):
        pd.testing.assert_frame_equal(extractor(tmp_path).transform(photographs), expected, rtol=1e-4)


@pytest.mark.parametrize("n_bytes", [0, -1, 1.5, "1 GB", True])
def test_a_limit_that_is_no_size_is_refused(tmp_path, n_bytes):
    with pytest.raises(ValueError, match="n_bytes must be a positive int"):
        limit_cache(n_bytes, tmp_path)


def test_a_file_of_another_format_is_named(photographs, tmp_path):
    with FeatureStore(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "features.sqlite")) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(CacheError, match=r"it has format 99.*Delete that file"):
        extractor(tmp_path).fit(photographs)


def test_a_store_that_is_deleted_between_two_calls_is_made_again(photographs, tmp_path):
    fitted = extractor(tmp_path / "cache").fit(photographs)
    expected = fitted.transform(photographs)
    shutil.rmtree(tmp_path / "cache")
    pd.testing.assert_frame_equal(fitted.transform(photographs), expected)


OPENER = """
import sys
from skgad.deep._cache import FeatureStore
sys.stdin.readline()
for number in range(40):
    with FeatureStore(f"{sys.argv[1]}/{number}"):
        pass
"""


def test_processes_that_make_the_same_store_wait_for_each_other(tmp_path):
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, str(tmp_path)], stdin=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    time.sleep(2)
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate()
    assert [opener.returncode for opener in openers] == [0] * 4
