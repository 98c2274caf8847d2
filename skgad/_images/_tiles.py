"""Tiles of a photograph: a regular grid of overlapping pieces that covers every pixel, and one map made of theirs.

All tiles of a photograph have one size. They begin at multiples of a *step*, of all reductions of the network, so
that the locations of their maps fall onto one lattice. What they need beyond the photograph's right and lower border is
its mirror image.
"""

from itertools import product
from numbers import Integral
from typing import NamedTuple

import numpy as np


def read_tiles(tiles):
    """Return the size and the overlap in pixels that a parameter means; None for None.

    Raises
    ------
    ValueError
        If it is neither a positive int nor a pair of them, the overlap being at most half of the size.
    """
    if tiles is None:
        return None
    pair = tuple(tiles) if isinstance(tiles, (tuple, list)) else (tiles, None)
    if len(pair) == 2 and _is_count(pair[0], 1):
        size = int(pair[0])
        overlap = size // 4 if pair[1] is None and not isinstance(tiles, (tuple, list)) else pair[1]
        if _is_count(overlap, 0) and overlap <= size // 2:
            return size, int(overlap)
    raise ValueError(
        "tiles must be None, a size in pixels such as 256, or (size, overlap) with an overlap of at most half of the "
        f"size; got {tiles!r}."
    )


class Tiling(NamedTuple):
    """Where the tiles of a photograph lie.

    Attributes
    ----------
    height, width : int
        Of the photograph.
    padded : tuple of int
        Its height and width up to the next multiple of the step: what the tiles cover.
    shape : tuple of int
        Height and width of a tile.
    tops, lefts : tuple of int
        Where the rows and the columns of tiles begin.
    left_out : frozenset of (int, int)
        Row and column of tiles that nothing is of interest in.
    """

    height: int
    width: int
    padded: tuple
    shape: tuple
    tops: tuple
    lefts: tuple
    left_out: frozenset = frozenset()

    @classmethod
    def lay_out(cls, photograph, tiles, step):
        """Return the tiling of photographs of this size.

        Parameters
        ----------
        photograph : (height, width)
        tiles : (size, overlap)
            Neighbours share at least `overlap` pixels. A shorter side of the photograph makes shorter tiles.
        step : int

        Raises
        ------
        ValueError
            If the size is no multiple of the step, or the overlap leaves no step between two tiles.
        """
        (height, width), (size, overlap) = photograph, tiles
        stride = (size - overlap) // step * step
        if size % step or not stride:
            raise ValueError(
                f"tiles=({size}, {overlap}): the size must be a multiple of {step}, the coarsest reduction of the "
                f"network, and exceed the overlap by as much; {max(2, round(size / step)) * step} is one."
            )
        padded = tuple(-(-side // step) * step for side in (height, width))
        starts = [(*range(0, side - size, stride), side - size) if side > size else (0,) for side in padded]
        shape = tuple(min(size, side) for side in padded)
        return cls(height, width, padded, shape, starts[0], starts[1])

    def without(self, interest):
        """Return the tiling without the tiles in which nothing of a photograph (height, width) is set."""
        places = product(range(len(self.tops)), range(len(self.lefts)))
        height, width = self.shape
        empty = (
            (row, column)
            for row, column in places
            if not interest[self.tops[row] :, self.lefts[column] :][:height, :width].any()
        )
        return self._replace(left_out=frozenset(empty))

    @property
    def places(self):
        """The row and the column of each tile, row by row."""
        places = product(range(len(self.tops)), range(len(self.lefts)))
        return [place for place in places if place not in self.left_out]

    @property
    def corners(self):
        """The top and the left of each tile, row by row."""
        return [(self.tops[row], self.lefts[column]) for row, column in self.places]

    @property
    def cells(self):
        """The name of each tile, row by row: "tr0c1" is the second one of the first row."""
        return [f"tr{row}c{column}" for row, column in self.places]

    def cut(self, photograph, corner):
        """Return a tile of a photograph (height, width, n_channels), mirrored beyond the border."""
        (top, left), (height, width) = corner, self.shape
        tile = photograph[top : top + height, left : left + width]
        missing = height - tile.shape[0], width - tile.shape[1]
        return np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric") if any(missing) else tile


class TiledMap:
    """The map of a photograph, made of those of its tiles.

    Where tiles overlap, each counts the more the farther the location lies from the tile's own border, where the
    network has seen zeros in place of the photograph: weights fall linearly to the border. What is NaN in a tile counts
    as little as what no tile covers.

    Parameters
    ----------
    tiling : Tiling
    """

    def __init__(self, tiling):
        self._tiling = tiling
        self._n_added = 0

    def add(self, maps):
        """Take the maps (n, height, width) of the next tiles in, which come row by row."""
        if not self._n_added:
            self._begin(self._tiling.shape[0] // maps.shape[1])
        for part in maps:
            (top, left), (down, across) = self._corners[self._n_added], self._weights[self._n_added]
            weights = np.where(np.isnan(part), 0, down[:, np.newaxis] * across)
            place = slice(top, top + len(down)), slice(left, left + len(across))
            self._values[place] += np.where(np.isnan(part), 0, part) * weights
            self._total[place] += weights
            self._n_added += 1

    @property
    def is_whole(self):
        """Whether all tiles have come."""
        return self._n_added == len(self._tiling.places)

    def join(self):
        """Return the map of the photograph (height, width): float32, NaN where no tile has a value."""
        there = self._total > 0
        return np.divide(self._values, self._total, out=np.full_like(self._values, np.nan), where=there)

    def _begin(self, reduction):
        tiling = self._tiling
        self._corners = [(top // reduction, left // reduction) for top, left in tiling.corners]
        sides = zip((tiling.tops, tiling.lefts), tiling.shape, strict=True)
        down, across = (
            _weigh([start // reduction for start in starts], length // reduction) for starts, length in sides
        )
        self._weights = [(down[row], across[column]) for row, column in tiling.places]
        self._values, self._total = np.zeros((2, *(side // reduction for side in tiling.padded)), dtype=np.float32)


def _weigh(starts, length):
    """Return the weight of each of a tile's locations along one side, for each tile."""
    weights = np.ones((len(starts), length), dtype=np.float32)
    for index, row in enumerate(weights):
        if index:
            shared = starts[index - 1] + length - starts[index]
            row[:shared] = np.minimum(row[:shared], (np.arange(shared) + 0.5) / max(shared, 1))
        if index + 1 < len(starts):
            shared = starts[index] + length - starts[index + 1]
            rise = (np.arange(shared) + 0.5) / max(shared, 1)
            row[length - shared :] = np.minimum(row[length - shared :], rise[::-1])
    return weights


def _is_count(value, least):
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= least
