"""Files that are whole or not there, whenever the process is killed."""

import os


def write_atomically(path, write):
    """Write a file beside its place, by a function that takes the open file, and move it there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # or the name may reach the disk before what it names, and the power fail between
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
