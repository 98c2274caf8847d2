"""What ``skgad watch`` says of a line itself: that its photographs are no longer like those of its calibration."""

import warnings
from contextlib import suppress

import numpy as np

from ..exceptions import ImageError, WorkingPointWarning

_EVERY = 16  # photographs: the state is written once that many came; after a crash their features are lost, not more


class Alarm:
    """A monitor of the line, which goes on where it was left off.

    Its state stands beside the judgements. What they hold and it does not, after a crash, is taken from them: their
    distances. A line that was updated, or fitted anew, is another one, and is watched from its first photograph on.

    Parameters
    ----------
    judge : Judge
    ledger : Ledger
        As it was opened.
    path : path
        Of the state.

    Attributes
    ----------
    line : str or None
        What tells the line from others, in each judgement; None for one that cannot be watched.
    """

    def __init__(self, judge, ledger, path):
        from ..monitoring import LineMonitor

        self._path, self._saved, self._monitor, self.line = path, 0, None, None
        try:
            self._monitor = LineMonitor(judge.line, random_state=0)
        except ValueError as error:  # its judgements hold all the same
            warnings.warn(f"This line is not watched for changes: {error}", WorkingPointWarning, stacklevel=1)
            return
        self.line = self._monitor.identity[:8]
        distances = ledger.distances.pop(self.line, [])
        ledger.distances.clear()  # those of other lines serve nobody
        with suppress(FileNotFoundError, ValueError):  # the judgements have all but the features
            self._monitor.load_state(path)
        if self._monitor.n_seen_ > len(distances):  # the judgements were taken away
            self._monitor = LineMonitor(judge.line, random_state=0)
        self._saved = self._monitor.n_seen_
        lost = distances[self._monitor.n_seen_ :]
        if lost:
            self._monitor.observe_features(None, -np.array(lost))

    def observe(self, features, scores, paths, rows):
        """Take photographs that were judged; return what there is to say, once, None otherwise.

        Parameters
        ----------
        features : frame or None
        scores : ndarray
        paths : list of str
        rows : list of int
            Those of them that count.
        """
        monitor = self._monitor
        if monitor is None or not rows:
            return None
        silent = monitor.alarm_at_ is None
        monitor.observe_features(None if features is None else features.iloc[rows], scores[rows])
        message = None
        if silent and monitor.alarm_at_ is not None:
            message = _describe(monitor, [paths[row] for row in rows])
        if message is not None or monitor.n_seen_ - self._saved >= _EVERY:
            self.save()
        return message

    def save(self):
        """Write the state, unless it was written since the last photograph."""
        if self._monitor is not None and self._monitor.n_seen_ != self._saved:
            self._monitor.save_state(self._path)
            self._saved = self._monitor.n_seen_


def _describe(monitor, paths):
    try:
        return monitor.describe(paths)
    except ImageError:  # photographs that were taken away meanwhile
        return monitor.describe()
