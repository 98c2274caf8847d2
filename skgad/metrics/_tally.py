r"""Pixels counted by their map's value: exactly while the distinct values fit, then in cells of adaptive width.

The bit pattern of a float64, read as a signed integer with all bits but the sign flipped where it is negative, sorts
as the number does. A *cell* is such an integer shifted right by ``shift`` bits: one number at ``shift = 0``, and a
relative width of :math:`2^{shift - 52}` beyond. Whenever more than ``max_cells`` cells are taken, ``shift`` grows by as
few bits as make them fit. More pixels never need fewer cells, so the final shift depends neither on the order of the
images nor on how they come in batches.

The counts at a cell's lower edge are those of a threshold there, so the points of every curve are exact, however wide
the cells; only what lies between two points is not known then.
"""

from dataclasses import dataclass

import numpy as np

MAX_CELLS = 2**20


@dataclass(frozen=True)
class Ranking:
    """What lies at or above each threshold, from the highest threshold, which nothing reaches, down to the lowest.

    Attributes
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Falling; the first is infinite.
    normal, anomalous : ndarray of shape (n_thresholds,)
        Numbers of pixels, rising from 0.
    overlap : ndarray of shape (n_thresholds,)
        The covered share of a region, averaged over the regions: from 0 to 1.
    exact : bool
        Whether there is a threshold for every distinct value.
    """

    thresholds: np.ndarray
    normal: np.ndarray
    anomalous: np.ndarray
    overlap: np.ndarray
    exact: bool


class PixelTally:
    """Counts of normal pixels, of anomalous pixels, and of their shares in regions, by value.

    Parameters
    ----------
    max_cells : int, default=2**20
        How many distinct values are kept apart, at least 2. Time and memory are proportional to it.
    """

    def __init__(self, max_cells=MAX_CELLS):
        self.max_cells = max_cells
        self._shift = 0
        self._cells = np.empty(0, dtype=np.int64)
        # Rows: normal pixels, anomalous pixels, shares of regions. Whole numbers are exact up to 2^53.
        self._masses = np.empty((3, 0))
        self._waiting = []
        self._n_waiting = 0

    def add(self, normal, anomalous, shares):
        """Count an image's pixels. The arrays must be the tally's to keep."""
        self._waiting.append((normal, anomalous, shares))
        self._n_waiting += len(normal) + len(anomalous)
        if self._n_waiting >= self.max_cells:
            self._count_waiting()

    def rank(self):
        """Return the `Ranking` of all pixels so far."""
        if self._waiting:
            self._count_waiting()
        normal, anomalous, shares = np.cumsum(self._masses[:, ::-1], axis=1)
        return Ranking(
            thresholds=np.append(np.inf, _values_of(self._cells[::-1] << self._shift)),
            normal=np.append(0.0, normal),
            anomalous=np.append(0.0, anomalous),
            overlap=np.append(0.0, shares / shares[-1:]),
            exact=self._shift == 0,
        )

    def _count_waiting(self):
        all_normal, all_anomalous, all_shares = zip(*self._waiting, strict=True)
        self._waiting, self._n_waiting = [], 0
        normal, counts = np.unique(self._cells_of(all_normal), return_counts=True)
        anomalous = self._cells_of(all_anomalous)
        masses = np.zeros((3, len(normal) + len(anomalous)))
        masses[0, : len(normal)] = counts
        masses[1, len(normal) :] = 1
        masses[2, len(normal) :] = np.concatenate(all_shares)
        cells = np.concatenate([self._cells, normal, anomalous])
        self._cells, self._masses = _join_equal(cells, np.concatenate([self._masses, masses], axis=1))
        self._widen()

    def _cells_of(self, arrays):
        return np.concatenate([_sortable(values) for values in arrays]) >> self._shift

    def _widen(self):
        """Give up as many low bits as it takes to have at most `max_cells` cells."""
        lost = 0
        while np.count_nonzero(np.diff(self._cells >> lost)) >= self.max_cells:
            lost += 1
        if lost:
            self._cells, self._masses = _join_equal(self._cells >> lost, self._masses)
            self._shift += lost


def _sortable(values):
    """Return integers that sort as the finite numbers `values` do."""
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0 makes 0.0 of -0.0, which equals it
    return _flip_negative(bits)


def _values_of(integers):
    return _flip_negative(integers).view(np.float64)


def _flip_negative(bits):
    """Its own inverse: flip all bits but the sign of the negative numbers, which sort backwards."""
    return bits ^ ((bits >> 63) & np.iinfo(np.int64).max)


def _join_equal(cells, masses):
    """Return the distinct cells in rising order, and the sums of their masses."""
    order = np.argsort(cells, kind="stable")  # a merge sort: the parts are sorted already
    cells = cells[order]
    starts = np.flatnonzero(np.diff(cells, prepend=cells[:1] - 1))
    return cells[starts], np.add.reduceat(masses[:, order], starts, axis=1)
