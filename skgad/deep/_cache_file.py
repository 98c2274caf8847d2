"""The SQLite file of a cache: whose it is, what stands in it, and whether it can be written or only read.

A file that is not skgad's is never changed: its first bytes say whose it is, before SQLite opens it. What SQLite finds
in one that is skgad's must be the tables that skgad makes, and nothing else: a trigger would change what is written,
and a view in the place of a table may never end.
"""

import errno
import os
import sqlite3
import stat
import time
from functools import lru_cache
from pathlib import Path

import psutil

from ..exceptions import CacheError

_FORMAT = 3  # of the tables
_MARK = int.from_bytes(b"skgd", "big")  # SQLite's application_id; it stands in the file's header
_MAGIC, _MARK_AT = b"SQLite format 3\0", slice(68, 72)  # https://sqlite.org/fileformat.html, section 1.3
_PATIENCE = 60  # seconds to wait for other processes
_NETWORKS = {"afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "ocfs2", "gfs2"}
_TABLES = (
    "CREATE TABLE features (id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, pooled BLOB NOT NULL, "
    "checksum BLOB NOT NULL)",
    "CREATE TABLE weights (origin TEXT PRIMARY KEY, sha256 TEXT NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)


def open_file(path):
    """Return a connection to the file of a cache, made if it is not there, and what is in the way of writing to it.

    Where writing is refused, for want of a right or of room, the file is read as it is; where there is nothing to
    read either, there is no connection.

    Parameters
    ----------
    path : Path

    Returns
    -------
    connection : sqlite3.Connection or None
    obstacle : Exception or None

    Raises
    ------
    CacheError
        If the file is not skgad's, has another format or other tables, or is damaged; if its folder is a file, or lies
        on a network file system.
    """
    try:
        _refuse_network(path)
        _refuse_foreign(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connect(path, "mode=rwc"), None
    except CacheError:
        raise
    except (FileExistsError, NotADirectoryError) as error:
        raise make_error(path, f"{path.parent} is no folder") from error
    except (OSError, sqlite3.OperationalError) as error:
        return _open_to_read(path), error
    except sqlite3.DatabaseError as error:
        raise make_error(path, error) from error


def make_error(path, what, remedy=None):
    """Return a `CacheError` that says what is wrong, and the remedies; the first of them follows from an exception."""
    return CacheError(f"The cache {path} cannot be used: {what}. {join_remedies(remedy or find_remedy(what))}")


def join_remedies(first):
    """Return a sentence: what helps, or another folder, which always does."""
    return f"{first}, or give another folder as cache=." if first else "Give another folder as cache=."


def find_remedy(error):
    """Return what helps where reading or writing has failed; None if only another folder does."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one
    number = getattr(error, "errno", None)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "The file is damaged: delete it"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "Other processes write to it: try again"
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
        return "Make room, for which skgad.deep.clear_cache deletes a cache's features"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Get the right to write there"
    return None


def _refuse_network(path):
    """Raise CacheError for a file system that several machines share: SQLite's log works for processes of one.

    https://sqlite.org/wal.html: "All processes using a database must be on the same host computer".
    """
    place = Path(os.path.realpath(path))
    mounts = {Path(one.mountpoint): one.fstype.lower() for one in psutil.disk_partitions(all=True)}
    kind = next((mounts[folder] for folder in (place, *place.parents) if folder in mounts), "")
    if kind in _NETWORKS or kind.startswith(("nfs", "smb", "fuse.sshfs", "fuse.gluster", "fuse.ceph")):
        raise make_error(
            path,
            f"it lies on a network file system ({kind}), where two machines that write to it would damage it",
            "Take a folder on a disk of this machine",
        )


def _refuse_foreign(path):
    """Raise CacheError unless a file is not there, is empty, or bears skgad's mark, which is read without SQLite."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its other end
            raise make_error(path, "it is no regular file")
        with open(path, "rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        return
    if head and not (head.startswith(_MAGIC) and head[_MARK_AT] == _MARK.to_bytes(4, "big")):
        raise make_error(path, "the file there is not a cache that skgad made, and is left as it is")


def _open_to_read(path):
    """Return a connection that only reads, or None where that is refused as well.

    A file in WAL mode is read beside its index, which is made anew where it is not there. Where that is refused,
    nobody is likely to write: the file is read as one that does not change. Checksums tell if it does.
    """
    for how in ("mode=ro", "mode=ro&immutable=1"):
        try:
            return _connect(path, how)
        except sqlite3.OperationalError:
            continue
        except sqlite3.DatabaseError as error:
            raise make_error(path, error) from error
    return None


def _connect(path, how):
    address = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(address, uri=True, timeout=_PATIENCE, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")  # no functions with side effects in what others wrote
        connection.execute("PRAGMA cell_size_check=ON")  # a page that is damaged is noticed when it is read
        if how == "mode=rwc":
            _make_tables(connection)
        _check_tables(connection, path)
        if how == "mode=rwc":
            _switch_to_wal(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection):
    """Make the tables of a new file, in one transaction."""
    if _read_pragma(connection, "application_id") != 0:
        return
    connection.execute("BEGIN IMMEDIATE")
    if not _list_tables(connection):  # another process may have been faster
        for statement in (*_TABLES, f"PRAGMA application_id={_MARK}", f"PRAGMA user_version={_FORMAT}"):
            connection.execute(statement)
    connection.execute("COMMIT")


def _switch_to_wal(connection):
    """Have several processes read and write at a time; the switch does not wait for others that do so meanwhile."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")


def _check_tables(connection, path):
    """Raise CacheError unless the file has this format, and holds what skgad makes and nothing else."""
    version = _read_pragma(connection, "user_version")
    if version != _FORMAT:
        what = f"it has format {version}, this version of skgad reads format {_FORMAT}"
        raise make_error(path, what, "Delete that file")
    found, model = _list_tables(connection), _make_model()
    if found != model:
        kind, name, *_ = min(found - model or model - found, key=repr)
        what = "is not one that skgad makes" if found - model else "is missing"
        raise make_error(path, f"somebody has changed it: the {kind} {name} {what}")


def _read_pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _list_tables(connection):
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@lru_cache(maxsize=1)
def _make_model():
    """Return what `_list_tables` finds in a new file."""
    connection = sqlite3.connect(":memory:")
    for statement in _TABLES:
        connection.execute(statement)
    model = _list_tables(connection)
    connection.close()
    return model
