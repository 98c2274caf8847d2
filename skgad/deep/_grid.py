"""The cells that a level is averaged over: the whole image, or grids of it. No torch."""

import numpy as np


def read_grid(grid):
    """Return the sides of the grids that a parameter means: (1,) for 1, (1, 2) for (1, 2).

    Raises
    ------
    ValueError
        If it is neither a positive int nor a sequence of different ones.
    """
    sides = grid if isinstance(grid, (tuple, list)) else (grid,)
    integers = all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) and side > 0 for side in sides)
    if not sides or not integers or len(set(sides)) < len(sides):
        raise ValueError(
            "grid must be a positive int, 2 for 2 x 2 cells, or a tuple of different ones, (1, 2) for the whole image "
            f"and its quarters; got {grid!r}."
        )
    return tuple(int(side) for side in sides)


def name_cells(sides):
    """Return the names of the cells, row by row: "g2r0c0", "g2r0c1", ...; "" for the whole image alone."""
    if sides == (1,):
        return [""]
    return [f"g{side}r{row}c{column}" for side in sides for row in range(side) for column in range(side)]
