"""``skgad watch``: photographs are judged as they arrive in a folder, each once, whatever happens in between.

The file of judgements is the memory. Each judgement is one line, which names the file as it was: path, size and time of
its last change. What stands there is not judged again; a line that a crash has cut short is taken off, and its
photograph is judged anew.
"""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import click

from ._settings import device_option, line_argument, open_line, with_debug


class Version(NamedTuple):
    """What tells a file from what it was before: a photograph that is written anew is another."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path):
        """Return that of a file; None where it is gone."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns)


@click.command(short_help="Judge photographs as they arrive.")
@line_argument
@click.argument("folder", type=click.Path(file_okay=False, exists=True))
@click.option("-o", "--output", default=None, type=click.Path(dir_okay=False), help="By default FOLDER.jsonl.")
@click.option("--every", default=1.0, show_default=True, help="Seconds between two looks into the folder.")
@click.option("--patience", default=30.0, show_default=True, help="Seconds that an unreadable file is waited for.")
@click.option("--once", is_flag=True, help="Judge what is there, and stop.")
@device_option
@with_debug
def watch(line, folder, output, every, patience, once, device):
    """Judge each photograph that arrives in FOLDER, or below it, once; go on where it was left off.

    A judgement is a line of JSON, on standard output and in the output file, where it stands before it is printed. A
    file is judged when it has not changed between two looks; one that cannot be read is waited for. Once the
    photographs are no longer like those of the calibration, a line says so, since when, and what has moved.
    """
    import filelock

    from .._judge import Judge
    from ._alarm import Alarm

    output = Path(output) if output else Path(f"{Path(folder).absolute()}.jsonl")
    judge = Judge(open_line(line, device))
    lock = filelock.FileLock(f"{output}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(f"{output} is written to by another skgad watch: stop that one, or give --output.") from None
    with lock, Ledger(output) as ledger:
        alarm = Alarm(judge, ledger, f"{output}.state")
        try:
            _go_on(judge, Arrivals(folder, ledger), ledger, alarm, every, patience, once)
        finally:
            alarm.save()


def _go_on(judge, arrivals, ledger, alarm, every, patience, once):
    """Judge what arrives, for ever, or `once`."""
    from .._judge import CHUNK, in_chunks

    while True:
        ready = arrivals.look()
        for chunk in in_chunks(ready, CHUNK):
            paths = [path for path, _ in chunk]
            features, scores = judge.look(paths)
            taken = []
            for row, judgement in enumerate(judge.judge(paths, scores=scores)):
                path, version = chunk[row]
                if Version.of(path) != version:
                    continue  # it has changed while it was judged: it will be looked at again
                if judgement.label == "unreadable":
                    if arrivals.waits_for(path, patience):
                        continue
                else:
                    taken.append(row)
                click.echo(ledger.add(judgement, version, alarm.line))
            message = alarm.observe(features, scores, paths, taken)
            if message is not None:
                click.echo(ledger.note(message))
        if once and not arrivals.waiting:
            return
        time.sleep(every)


class Ledger:
    """The file of judgements, and what it knows.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    distances : dict of str to list of float
        Those that each line has judged by, in their order; of a file that was there.
    """

    def __init__(self, path):
        self._path = path
        self._known: dict[str, Version] = {}
        self.distances: dict[str, list[float]] = {}

    def __enter__(self):
        self._path.touch()
        self._file = open(self._path, "rb+")
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break  # a crash has cut it short
            self._read(line)
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)
        return self

    def __exit__(self, *_):
        self._file.close()

    def knows(self, path, version):
        """Return whether the file was judged as it is."""
        return self._known.get(path) == version

    def add(self, judgement, version, line):
        """Write a judgement by a line, to the disk, and return its text."""
        record = judgement.as_dict() | {"size": version.size, "mtime_ns": version.mtime_ns, "line": line}
        self._known[judgement.path] = version
        return self._write(record)

    def note(self, message):
        """Write what is not about one photograph, to the disk, and return its text."""
        return self._write({"alarm": message})

    def _write(self, record):
        text = json.dumps(record)
        self._file.write(text.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return text

    def _read(self, line):
        try:
            record = json.loads(line)
            if "alarm" in record:
                return
            self._known[record["path"]] = Version(record["size"], record["mtime_ns"])
            if "distance" in record:
                self.distances.setdefault(record.get("line"), []).append(float(record["distance"]))
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{self._path} holds a line that is no judgement of skgad watch: {line[:60]!r}. Give another --output."
            ) from None


class Arrivals:
    """The photographs of a folder that were not judged as they are."""

    def __init__(self, folder, ledger):
        self._folder, self._ledger = folder, ledger
        self.waiting: dict[str, tuple[Version, float]] = {}  # what they were, and since when

    def look(self):
        """Return the paths and versions of the files that have not changed since the look before."""
        from ._photographs import iter_folder

        ready, waiting, now = [], {}, time.monotonic()
        for path in iter_folder(self._folder):
            version = Version.of(path)
            if version is None or self._ledger.knows(path, version):
                continue
            before, since = self.waiting.get(path, (None, now))
            if before == version:
                ready.append((path, version))
            waiting[path] = version, since if before == version else now
        self.waiting = waiting
        return ready

    def waits_for(self, path, patience):
        """Return whether a file that cannot be read is still to be waited for."""
        return time.monotonic() - self.waiting[path][1] < patience
