"""Files that are whole or not there, whenever the process is killed."""

import os
from contextlib import contextmanager


@contextmanager
def whole_file(path, mode="wb", **options):
    """Give a file to write to, beside its place, and move it there in one step at the end; not at all on an error.

    Parameters
    ----------
    path : Path
    mode, **options
        As `open` takes them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or the name may reach the disk before what it names, and the power fail between
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path, write):
    """Write a file beside its place, by a function that takes the open file, and move it there in one step."""
    with whole_file(path) as file:
        write(file)
