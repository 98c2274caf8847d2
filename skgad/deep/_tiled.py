"""Photographs that go through the network tile by tile: what is pooled, or mapped, of each."""

import math
from typing import NamedTuple

import numpy as np
import torch

from .._images._tiles import Tiling
from ..exceptions import BackboneError


class Tiles(NamedTuple):
    """The tiles of photographs of one size, on their way through a network."""

    tiling: Tiling

    @classmethod
    def lay_out(cls, size, tiles, levels):
        """Return the tiles, of a size and overlap, of photographs of one size, so that these levels' maps join."""
        step = math.lcm(*(level.reduction for level in levels if level.layout != "NC"))
        return cls(Tiling.lay_out(size, tiles, step))

    def without(self, interest):
        """Return these tiles without those in which nothing of the resized photographs is of interest."""
        return self._replace(tiling=self.tiling.without(interest))

    def cut_all(self, photograph):
        """Return all tiles of a photograph (height, width, n_channels) by their names, (n_channels, height, width)."""
        tiles = (np.ascontiguousarray(self.tiling.cut(photograph, corner)) for corner in self.tiling.corners)
        return {
            name: torch.from_numpy(tile).permute(2, 0, 1) for name, tile in zip(self.tiling.cells, tiles, strict=True)
        }

    def pool(self, photograph, pool, widths, batch_size):
        """Return the features of all tiles, level by level, and tile by tile within a level: (n_features,).

        Parameters
        ----------
        photograph : ndarray of shape (height, width, 3 or 4)
        pool : callable
            From a tensor (n, 3 or 4, height, width) to an array (n, n_features), level by level.
        widths : list of int
            The number of features of each level, of one tile.
        batch_size : int
            Tiles per call of `pool`.
        """
        parts = np.concatenate([pool(batch) for batch in self._batches(photograph, batch_size)])
        return np.concatenate([level.ravel() for level in np.split(parts, np.cumsum(widths)[:-1], axis=1)])

    def iter_maps(self, photograph, lay_out, levels, batch_size):
        """Yield the maps of the tiles, row by row, in batches: a list, one a level, (n_tiles, height, width, channels).

        Parameters
        ----------
        photograph : ndarray of shape (height, width, 3 or 4)
        lay_out : callable
            From a tensor (n, 3 or 4, height, width) to the maps of all levels.
        levels : list of Level
        batch_size : int
            Tiles per call of `lay_out`.

        Raises
        ------
        BackboneError
            If a level has another number of locations than its reduction says, so that maps do not join.
        """
        for batch in self._batches(photograph, batch_size):
            maps = lay_out(batch)
            for level, of_level in zip(levels, maps, strict=True):
                due = tuple(side // level.reduction for side in self.tiling.shape)
                if of_level.shape[1:3] != due:
                    raise BackboneError(
                        f"level {level.number} ({level.module!r}) has {of_level.shape[1]} x {of_level.shape[2]} "
                        f"locations of a tile, where {due[0]} x {due[1]} would join to a map. Leave it out, or take "
                        "another tile size."
                    )
            yield maps

    def _batches(self, photograph, batch_size):
        """Yield the pixels of tiles, tensors (n, 3 or 4, height, width), channels last in memory."""
        corners = self.tiling.corners
        for start in range(0, len(corners), batch_size):
            pixels = np.stack([self.tiling.cut(photograph, one) for one in corners[start : start + batch_size]])
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
