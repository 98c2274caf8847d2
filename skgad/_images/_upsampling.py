"""From the locations of a map to the pixels of the square that it stands for."""

from functools import lru_cache

import numpy as np


def upsample(maps, height, width):
    """Return maps (n, from_height, from_width) as (n, height, width), bilinear, pixels being areas: float32.

    What ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` does to smaller maps.
    """
    rows, columns = _interpolation(maps.shape[1], height), _interpolation(maps.shape[2], width)
    return rows @ maps.astype(np.float32, copy=False) @ columns.T


@lru_cache(maxsize=64)
def _interpolation(n_from, n_to):
    """Return the matrix (n_to, n_from) that interpolates a line between the centres of its pixels."""
    centres = np.clip((np.arange(n_to) + 0.5) * n_from / n_to - 0.5, 0, n_from - 1)
    before = np.minimum(centres.astype(int), max(n_from - 2, 0))
    matrix = np.zeros((n_to, n_from), dtype=np.float32)
    share = centres - before
    matrix[np.arange(n_to), before] = 1.0 - share
    if n_from > 1:
        matrix[np.arange(n_to), before + 1] += share
    return matrix
