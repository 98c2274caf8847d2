"""The things that were used last, kept by key: networks, state dicts. Threads may share them."""

import threading


class Recent:
    """At most so many things, by key; above that, the one that was used longest ago goes.

    Parameters
    ----------
    size : int
        How many are kept.
    """

    def __init__(self, size):
        self._size = size
        self._lock = threading.RLock()
        self._kept: dict = {}  # in the order of use

    def get(self, key, make=lambda: None):
        """Return what is kept under a key, or make it: once, while other threads wait; None is not kept."""
        with self._lock:
            found = self._kept.pop(key, None)
            found = make() if found is None else found
            if found is not None:
                self._put(key, found)
            return found

    def put(self, key, thing):
        """Keep a thing under a key, in place of what was there."""
        with self._lock:
            self._kept.pop(key, None)
            self._put(key, thing)

    def clear(self):
        """Forget all of them."""
        with self._lock:
            self._kept.clear()

    def _put(self, key, thing):
        self._kept[key] = thing
        while len(self._kept) > self._size:
            del self._kept[next(iter(self._kept))]
