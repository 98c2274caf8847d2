"""Whose files a joblib.Memory loads: they are pickles, and a pickle runs what whoever wrote it wants."""

import os
import stat
from pathlib import Path

from .._conventions._warnings import warn


def warn_if_others_write(memory):
    """Warn if other users can put files where a joblib.Memory looks for its own; on POSIX, which tells."""
    location = getattr(memory, "location", None)
    if os.name != "posix" or not isinstance(location, (str, Path)):
        return
    outer, inner = Path(location), Path(location) / "joblib"
    # in a sticky folder, as /tmp is, others cannot take away what is ours; they may have made the inner one before us
    if _is_open(outer, but_sticky=True) or _is_open(inner):
        warn(
            f"Other users of this machine can write into memory={str(location)!r}. joblib loads pickles from there, "
            "and a pickle runs the code of whoever wrote it. Take a folder that only you can write (chmod 700).",
            UserWarning,
        )


def _is_open(folder, but_sticky=False):
    """Return whether others can write into a folder, or own it."""
    if not folder.is_dir():
        return False
    found = folder.stat()
    if but_sticky and found.st_mode & stat.S_ISVTX:
        return False
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid != found.st_uid  # a user's own group has the user's number
    return bool(found.st_mode & stat.S_IWOTH or by_group or found.st_uid not in (0, os.geteuid()))
