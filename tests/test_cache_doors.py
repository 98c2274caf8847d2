"""What may befall the file of a cache: damage, strangers, no right to write, no room. No feature changes."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skgad import DeepFeatureTransformer
from skgad.deep import _cache_file, cache_info, clear_cache
from skgad.deep import _extraction as extraction_module
from skgad.deep._cache_file import make_error
from skgad.deep._feature_store import FeatureStore
from skgad.exceptions import CacheError, CacheWarning

from .conftest import LITE0


def extractor(cache, **params):
    return DeepFeatureTransformer(cache=cache, **{"backbone": LITE0, "image_size": 32, "levels": [3], **params})


@pytest.fixture
def filled(photographs, tmp_path):
    """A cache that knows all photographs, and their features."""
    return tmp_path, extractor(tmp_path).fit_transform(photographs)


def change(folder, statement, *parameters):
    with closing(sqlite3.connect(folder / "features.sqlite")) as connection:
        connection.execute(statement, parameters)
        connection.commit()


def read_first(folder):
    with closing(sqlite3.connect(folder / "features.sqlite")) as connection:
        return connection.execute("SELECT id, pooled FROM features ORDER BY id").fetchone()


def flip_a_bit(pooled):
    return pooled[:10] + bytes([pooled[10] ^ 1]) + pooled[11:]


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda pooled: pooled[:-4],
        lambda pooled: b"",
        lambda pooled: "text",
        lambda pooled: np.full(len(pooled) // 4, np.nan, "<f4").tobytes(),
        lambda pooled: 7,
    ],
    ids=["bit", "shorter", "empty", "text", "NaN", "number"],
)
def test_a_damaged_entry_is_computed_anew_with_one_warning(filled, photographs, damage):
    folder, expected = filled
    row, pooled = read_first(folder)
    change(folder, "UPDATE features SET pooled = ? WHERE id = ?", damage(pooled), row)
    with pytest.warns(CacheWarning, match="1 entries are damaged, and were computed anew") as caught:
        again = extractor(folder).fit_transform(photographs)
    assert len(caught) == 1
    pd.testing.assert_frame_equal(again, expected, rtol=1e-5)
    pd.testing.assert_frame_equal(extractor(folder).fit_transform(photographs), expected, rtol=1e-5)  # mended


def test_the_entry_of_one_image_does_not_pass_for_that_of_another(filled, photographs):
    folder, expected = filled
    with closing(sqlite3.connect(folder / "features.sqlite")) as connection:
        (one, key), (other, other_key) = connection.execute("SELECT id, key FROM features ORDER BY id LIMIT 2")
        connection.execute("UPDATE features SET key = ? WHERE id = ?", (b"-", one))
        connection.execute("UPDATE features SET key = ? WHERE id = ?", (key, other))
        connection.execute("UPDATE features SET key = ? WHERE id = ?", (other_key, one))
        connection.commit()
    with pytest.warns(CacheWarning, match="2 entries are damaged"):
        pd.testing.assert_frame_equal(extractor(folder).fit_transform(photographs), expected, rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no database" * 100, "sqlite"], ids=["empty", "bytes", "sqlite"])
def test_a_file_of_another_program_is_refused_and_left_as_it_is(photographs, tmp_path, content):
    path = tmp_path / "features.sqlite"
    if content == "sqlite":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE features (mine TEXT)")
            connection.commit()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    if not before:  # an empty file is nobody's
        extractor(tmp_path).fit_transform(photographs)
        return
    with pytest.raises(CacheError, match="is not a cache that skgad made, and is left as it is") as caught:
        extractor(tmp_path).fit_transform(photographs)
    assert "elete" not in str(caught.value)
    with pytest.raises(CacheError):
        clear_cache(tmp_path)
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["features.sqlite"]


@pytest.mark.parametrize("cache", ["", b"", 0, 1, ["a"], "a\0b"])
def test_what_is_no_folder_is_no_cache(photographs, cache):
    with pytest.raises(ValueError, match="cache must be None, True or the path of a folder"):
        extractor(cache).fit(photographs)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER zeros AFTER INSERT ON features BEGIN UPDATE features SET pooled = zeroblob(4); END",
        "CREATE TABLE more (id)",
        "CREATE INDEX slow ON features (pooled)",
        "ALTER TABLE settings RENAME TO other",
    ],
)
def test_a_schema_that_is_not_skgads_is_refused(filled, photographs, statement):
    folder, _ = filled
    change(folder, statement)
    with pytest.raises(CacheError, match="somebody has changed it"):
        extractor(folder).fit_transform(photographs)


def test_an_endless_view_in_the_place_of_the_table_is_refused_and_never_read(filled, photographs):
    folder, _ = filled
    endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x FROM t) SELECT x AS id, x AS key, x AS pooled FROM t"
    change(folder, "DROP TABLE features")
    change(folder, f"CREATE VIEW features AS {endless}")
    with pytest.raises(CacheError, match="somebody has changed it: the view features"):
        extractor(folder).fit_transform(photographs)


@pytest.fixture
def read_only(monkeypatch):
    """Refuse to open any cache for writing, as a read-only folder does; root's rights know no such folder."""
    connect = _cache_file._connect

    def refuse(path, how):
        if how == "mode=rwc":
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        return connect(path, how)

    monkeypatch.setattr(_cache_file, "_connect", refuse)


def test_a_filled_cache_that_may_only_be_read_is_read(filled, photographs, read_only, monkeypatch):
    folder, expected = filled
    monkeypatch.setattr("skgad.deep._network.Network.pool_levels", None)  # no image goes through the network
    pd.testing.assert_frame_equal(extractor(folder).fit_transform(photographs), expected)


def test_where_nothing_may_be_written_features_are_computed_and_one_warning_names_the_right(
    filled, photographs, read_only, tmp_path
):
    _, expected = filled
    with pytest.warns(CacheWarning, match="8 entries could not be kept.*Get the right to write there") as caught:
        features = extractor(tmp_path / "another").fit_transform(photographs)
    assert len(caught) == 1
    assert "elete" not in str(caught[0].message)
    pd.testing.assert_frame_equal(features, expected, rtol=1e-5)
    with pytest.raises(CacheError, match="Get the right to write there"):
        clear_cache(filled[0]) or FeatureStore(filled[0]).__enter__().limit(2**30)


def test_a_full_disk_ends_no_job_and_room_can_still_be_made(filled, photographs, monkeypatch):
    folder, _ = filled
    write = FeatureStore._write

    def refuse(self, statement, rows):
        if "features" in statement:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        write(self, statement, rows)

    monkeypatch.setattr(FeatureStore, "_write", refuse)
    others = 255 - photographs
    with pytest.warns(CacheWarning, match="8 entries could not be kept.*Make room") as caught:
        features = extractor(folder, batch_size=2).fit_transform(others)
    assert len(caught) == 1
    pd.testing.assert_frame_equal(features, extractor(None).fit_transform(others), rtol=1e-5)
    clear_cache(folder)
    assert cache_info(folder).n_images == 0


def test_a_damaged_file_is_the_only_one_whose_deletion_is_advised(tmp_path):
    damaged = sqlite3.DatabaseError("malformed")
    damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert "delete it" in str(make_error(tmp_path, damaged))
    for error in (PermissionError(13, "no"), OSError(28, "full"), OSError(30, "read-only")):
        assert "delete it" not in str(make_error(tmp_path, error))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_reduced_precision_has_entries_of_its_own_on_each_kind_of_device(photographs, tmp_path, monkeypatch, precision):
    """What a GPU computes with fewer digits is not what a CPU does: in float32 they agree, and share entries."""
    keys = {}
    monkeypatch.setattr(extraction_module, "recognise", lambda *_: "probe")
    for kind in ("float32", precision):
        extraction = extractor(tmp_path, precision=kind)._resolve()
        identity = SimpleNamespace(sha256="weights")
        keys[kind] = [extraction._fingerprint(None, identity, device) for device in ("cpu", "cuda")]
    assert len(set(keys["float32"])) == 1
    assert len(set(keys[precision])) == 2
    assert not set(keys["float32"]) & set(keys[precision])
