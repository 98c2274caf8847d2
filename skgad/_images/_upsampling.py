"""From the locations of a map to the pixels of the image that it stands for."""

from functools import lru_cache

import numpy as np

_BLOCK = 2**20  # pixels that are worked on at a time


def upsample(maps, height, width):
    """Return maps (n, from_height, from_width) as (n, height, width), bilinear, pixels being areas: float32.

    What ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` does to smaller maps. Beside the
    result, little memory is taken, however large it is.
    """
    maps = maps.astype(np.float32, copy=False)
    before, after, share = _neighbours(maps.shape[2], width)
    wide = maps[:, :, before] * (1 - share) + maps[:, :, after] * share
    before, after, share = _neighbours(maps.shape[1], height)
    result = np.empty((len(maps), height, width), dtype=np.float32)
    block = max(1, _BLOCK // max(1, len(maps) * width))
    for start in range(0, height, block):
        part = slice(start, start + block)
        rows = share[part, np.newaxis]
        np.multiply(wide[:, before[part]], 1 - rows, out=result[:, part])
        result[:, part] += wide[:, after[part]] * rows
    return result


@lru_cache(maxsize=64)
def _neighbours(n_from, n_to):
    """Return the pixels of a line between whose centres each new one lies, and how far along, as a share."""
    centres = np.clip((np.arange(n_to) + 0.5) * n_from / n_to - 0.5, 0, n_from - 1)
    before = np.minimum(centres.astype(int), max(n_from - 2, 0))
    return before, np.minimum(before + 1, n_from - 1), (centres - before).astype(np.float32)
