"""Where parts are worked on: here, one by one, or on a Dask cluster, some ahead; results come in their order."""

import sys
import time
import uuid
from collections import deque
from contextlib import contextmanager

import numpy as np
import psutil

from ..exceptions import DependencyError
from ._derived import Derived
from ._parts import in_groups
from ._summaries import merge_all

_FAN = 8  # summaries that are merged at a time
_PATIENCE = 60  # seconds that a cluster may take for its first worker
_SETTLE = 0.5  # seconds in which the scheduler says what else failed
_MOST_TREES = 64  # whose summaries the client merges
_AHEAD = 4  # parts a thread that are handed out: with two, one worker waited for the results of another


def _identity(thing):
    return thing


class Here:
    """The process that asks: one part after the other, in constant memory."""

    n_threads = 1
    n_merged = 3  # summaries that are held at a time, their sum among them

    def __init__(self):
        self.run = uuid.uuid4().hex[:12]

    def share(self, thing):
        """Return what tasks take in place of a thing that they all need."""
        return thing

    def find_memory(self):
        """Return how many bytes there are to work in."""
        return psutil.virtual_memory().available

    def derive(self, make, *arguments):
        """Return what tasks take, by `find`, in place of what a function makes of things that are shared."""
        return Derived(make, arguments)

    def count(self, delayed):
        """Return the lengths of Delayed objects."""
        import dask

        return list(dask.compute(*[dask.delayed(len)(one) for one in delayed]))

    def map(self, task, parts, arguments, places=None):
        """Yield what a task makes of each part, in their order.

        Parameters
        ----------
        task : callable
            Of a part and more arguments.
        parts : iterable of Part
        arguments : callable
            From a part to the other arguments, a tuple.
        places : dict, default=None
            Of each part's number where it was worked on before, and so best is again.
        """
        for part in parts:
            yield task(part, *arguments(part))

    def add_up(self, task, parts, arguments, places=None):
        """Return the `Summary` of all `Parts`, of tasks that return one each; they are merged in their order."""
        return merge_all(self.map(task, parts.make(), arguments))

    def clean(self, kept):
        """Delete what was kept."""
        Derived.forget()
        kept.clear()


class Cluster:
    """A Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    """

    n_merged = _FAN + 1

    def __init__(self, client):
        self.client = client
        self.run = uuid.uuid4().hex[:12]
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise RuntimeError(
                f"The cluster at {client.scheduler.address} has had no worker for {_PATIENCE} seconds: start some."
            ) from error
        self.n_threads = sum(client.nthreads().values())
        self._n_tasks = 0

    def share(self, thing):
        """Return a future of a thing, which goes to each worker once, from one to another.

        It is a task, so that it comes again where all workers have died that had it: data that is scattered does not.
        """
        return self._send(_identity, thing, name="share")

    def find_memory(self):
        """Return how many bytes the smallest worker may take."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return min((worker["memory_limit"] or np.inf for worker in workers), default=np.inf)

    def derive(self, make, *arguments):
        """As `Here.derive`: a worker makes it, once."""
        return self._send(make, *arguments, name=make.__name__)

    def count(self, delayed):
        """Return the lengths of Delayed objects, computed on the workers."""
        import dask

        with _explained(self.client, "The partitions of X could not be counted"):
            return self.client.gather(self.client.compute([dask.delayed(len)(one) for one in delayed]))

    def map(self, task, parts, arguments, places=None):
        """As `Here.map`: some parts are worked on ahead, so that the scheduler's memory does not grow with them."""
        yield from self._run(([part] for part in parts), task, arguments, places)

    def add_up(self, task, parts, arguments, places=None):
        """As `Here.add_up`: in trees on the workers, in an order that depends on the parts alone."""
        size = 1
        while parts.n_parts > size * _MOST_TREES:
            size *= _FAN
        return merge_all(self._run(in_groups(parts.make(), size), task, arguments, places))

    def _run(self, groups, task, arguments, places):
        """Yield the result of each group of parts: that of the task, or merged summaries."""
        waiting: deque = deque()
        n_ahead = 0
        try:
            for group in groups:
                futures = [self._submit(task, part, arguments(part), places) for part in group]
                while len(futures) > 1:
                    futures = [self._send(merge_all, some, name="merge") for some in in_groups(futures, _FAN)]
                waiting.append((futures[0], group))
                n_ahead += len(group)
                while n_ahead >= self._window() + len(waiting[0][1]):
                    n_ahead -= len(waiting[0][1])
                    yield self._take(waiting)
            while waiting:
                yield self._take(waiting)
        finally:
            if waiting and self.client.status == "running":
                self.client.cancel([future for future, _ in waiting])

    def clean(self, kept):
        """Delete what workers have kept."""
        if kept.checkpoint is None and self.client.status == "running":
            self.client.run(kept.clear, on_error="ignore")

    def _window(self):
        return max(_AHEAD * sum(self.client.nthreads().values()), 2)

    def _submit(self, task, part, arguments, places):
        place = places[part.number][0] if places else ""
        where = {"workers": place, "allow_other_workers": True} if place else {}
        return self._send(task, part, *arguments, name=f"{task.__name__}-{part.number}", **where)

    def _send(self, task, *arguments, name, **where):
        """Return the future of a task, under a name of its own; images and sums in it are meant to be as large."""
        import dask

        self._n_tasks += 1
        key = f"skgad-{name}-{self.run}-{self._n_tasks}"
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            return self.client.submit(task, *arguments, key=key, pure=False, **where)

    def _take(self, waiting):
        future, group = waiting[0]
        with _explained(self.client, f"Images {_name(group)} were not learnt or scored", waiting):
            result = future.result()
        waiting.popleft()
        return result


@contextmanager
def _explained(client, what, waiting=()):
    """Raise an error that says what was lost, and where, for those of Dask that only name a task.

    Dask counts a worker's death for each task that it was to do, the culprit's and those that stood in line: all are
    named, of the futures with their parts that are `waiting`.
    """
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        time.sleep(_SETTLE)
        lost = [_name(group) for future, group in waiting if _was_killed(future)]
        had = f" while they had images {' or '.join(lost)}" if lost else ""
        raise RuntimeError(
            f"{what}: {error.allowed_failures + 1} workers died{had}, the last of them {error.last_worker.address}. "
            "Its log says why: an image too large for its memory, most likely. Leave such images out, give workers "
            "more memory, or take smaller parts, partition_size=."
        ) from error
    except (FutureCancelledError, CommClosedError, TimeoutError) as error:
        raise RuntimeError(
            f"{what}: the scheduler {client.scheduler.address if client.scheduler else ''} was lost, or has forgotten "
            f"them ({type(error).__name__}). Connect again, and run it again: with checkpoint=, a folder that all "
            "machines see, it goes on from the features that are there."
        ) from error


def _was_killed(future):
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _name(group):
    """Return the first and the last position of the images of some parts."""
    return f"{group[0].positions[0]} to {group[-1].positions[-1]}"


def choose_engine(client, once):
    """Return where to work: on the cluster of a client, that of the default client where there is one, or here.

    Parameters
    ----------
    client : distributed.Client or None
    once : bool
        Whether the images can be gone through only once, so that they must be read here.
    """
    if client is None and not once and "distributed" in sys.modules:
        from distributed.client import default_client

        try:
            client = default_client()
        except ValueError:
            client = None
    if client is None:
        return Here()
    if once:
        raise ValueError(
            "X is an iterator, which only this process can go through: leave client out, or pass a list of paths or a "
            "Dask bag."
        )
    if not hasattr(client, "submit") or not hasattr(client, "nthreads"):
        raise TypeError(f"client must be a distributed.Client; got {client!r}.")
    if client.asynchronous:
        raise ValueError("client is asynchronous: give one that waits, Client(address).")
    return Cluster(client)


def check_dask(X):
    """Raise DependencyError if `X` is Dask's, and Dask's scheduler is not there."""
    if hasattr(X, "to_delayed"):
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise DependencyError(
                f"Dask collections take dask.distributed ({error}): pip install skgad[dask]."
            ) from error
