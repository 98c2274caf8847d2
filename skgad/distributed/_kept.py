"""Features that a pass over images keeps on the disk of the machine that made them, for the next pass.

A file a part, whole or not there. In a checkpoint, a folder that all machines see, they stay when a run dies, and the
next one goes on from them; elsewhere they lie with the worker's own files, and go at the end. Where a file is not
there, or there is no room for it, the images go through the network again.
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator

from .._conventions._atomic import whole_file
from .._images._files import is_path
from .._images._interest import split
from .._version import __version__
from ._workers import find_worker

_LACKING = (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError)


class Kept:
    """The files of one run.

    Parameters
    ----------
    run : str
        Its name.
    checkpoint : path, default=None
        A folder that all machines see, and that outlives the run.
    """

    def __init__(self, run, checkpoint=None):
        self.run = run
        self.checkpoint = None if checkpoint is None else os.path.abspath(os.path.expanduser(os.fspath(checkpoint)))

    @property
    def folder(self):
        """Where this process finds them."""
        if self.checkpoint is not None:
            return Path(self.checkpoint)
        worker = find_worker()
        return Path(tempfile.gettempdir() if worker is None else worker.local_directory) / f"skgad-{self.run}"

    def load(self, number, key):
        """Return the arrays of a part, a dict; None if they are not there, or are those of something else.

        `key` is None where its images are gone, and it was kept in this run.
        """
        try:
            with np.load(self._find(number), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except _LACKING:
            return None
        found = str(arrays.pop("key"))
        return arrays if key in (None, found) else None

    def save(self, number, key, arrays):
        """Keep the arrays of a part; return why they are not kept, "" if they are."""
        try:
            with whole_file(self._find(number)) as file:
                np.savez(file, key=key, **arrays)
        except OSError as error:
            return f"{error.strerror or error} ({self.folder})"
        return ""

    def clear(self):
        """Delete all files that are not a checkpoint's."""
        if self.checkpoint is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _find(self, number):
        return self.folder / f"part-{number:07d}.npz"


def describe_front(front):
    """Return what the features depend on besides the images, as text."""
    parts = [__version__]
    for _, step in front.steps:
        parts.append(step.__repr__(N_CHAR_MAX=10**9) if isinstance(step, BaseEstimator) else repr(step))
        parts += [repr(getattr(step, name, None)) for name in ("settings_", "weights_sha256_")]
    return " ".join(parts)


def make_key(front, items):
    """Return a text that differs for other features: of other images, other files under their names, another front."""
    digest = hashlib.sha256(front.encode())
    for item in items:
        item, roi = split(item)
        digest.update(_describe(item) if is_path(item) else joblib.hash(np.asarray(item)).encode())
        digest.update(b"" if roi is None else _describe(roi) if is_path(roi) else joblib.hash(np.asarray(roi)).encode())
    return digest.hexdigest()


def _describe(path):
    try:
        found = os.stat(path)
    except OSError:
        return f"{os.fspath(path)}\0missing".encode()
    return f"{os.fspath(path)}\0{found.st_size} {found.st_mtime_ns}".encode()
