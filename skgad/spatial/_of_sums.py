"""What detectors share that keep the sums of maps, and work out from them what measures."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from ._detector import SpatialDetector


class SumsDetector(SpatialDetector):
    """A `SpatialDetector` whose memory is `MapSums`. A subclass brings ``_begin`` and ``_make_measure``."""

    _memory: Any
    _measure: Any

    def _keep(self, memory):
        super()._keep(memory)
        self._memory, self._measure = memory.to_float32(), None

    def _find_measure(self):
        check_is_fitted(self)
        if self._measure is None:
            self._measure = self._make_measure(self._memory)
        return self._measure

    def __getstate__(self):
        return {**super().__getstate__(), "_measure": None}  # as large as what it is worked out from
