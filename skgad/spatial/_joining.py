"""Tiles of a photograph: their maps one below the other, or their distances joined to those of the photograph."""

import numpy as np

from .._images._tiles import TiledMap


def gather_tiles(batches, n_tiles):
    """Yield rows and maps of all tiles of a photograph together, (n_tiles, height, width, channels) a level."""
    waiting: list = []
    for rows, maps in batches:
        waiting.append(maps)
        if sum(len(each[0]) for each in waiting) == n_tiles:
            yield np.repeat(rows[:1], n_tiles), [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
            waiting = []


def stack_tiles(batches, n_tiles):
    """Yield rows and maps of whole photographs from those of their tiles, (1, n_tiles * height, width, channels)."""
    for rows, maps in gather_tiles(batches, n_tiles):
        yield rows[:1], [level.reshape(1, -1, *level.shape[2:]) for level in maps]


def join_tiles(measured, tiling):
    """Yield rows and distances of whole photographs from those of their tiles.

    Parameters
    ----------
    measured : iterable of (rows, distances, ...)
        One or more lists of distances, one a level, (n_tiles, height, width), of the next tiles of a photograph; or, as
        `stack_tiles` has them, (1, n_tiles * height, width).
    tiling : Tiling

    Yields
    ------
    rows : ndarray of int of shape (1,)
    distances, ... : list of ndarray of shape (1, height, width)
        Of the photograph.
    """
    wholes = None
    for rows, *kinds in measured:
        wholes = wholes or [[TiledMap(tiling) for _ in levels] for levels in kinds]
        for whole, levels in zip(wholes, kinds, strict=True):
            for one, level in zip(whole, levels, strict=True):
                one.add(split_tiles(level, tiling))
        if wholes[0][0].is_whole:
            yield rows[:1], *([one.join()[np.newaxis] for one in whole] for whole in wholes)
            wholes = None


def split_tiles(distances, tiling):
    """Return distances (n, height, width) of tiles, which may lie one below the other."""
    reduction = tiling.shape[1] // distances.shape[2]
    return distances.reshape(-1, tiling.shape[0] // reduction, distances.shape[2])
