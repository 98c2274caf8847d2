"""Level names: how a column says which level of the network it belongs to.

A frame's columns carry the level, ``level7__0013``, and so do the columns that later steps make of them,
``level7__npca4`` or ``level7__chi112``. Whoever needs the levels asks `group_columns`; nobody else parses a name.
"""

import re
import sys

import numpy as np
import pandas as pd

TUNED = "tuned"  # in the name of a feature of a network that has learnt from the images
_LEVEL = re.compile(r"^((?:.+__)?level\d+)__")
_CELL = re.compile(r"__(tr\d+c\d+|g\d+r\d+c\d+)(?:g\d+r\d+c\d+)?__")  # a tile, with all its cells, or a cell
_PLACES = {"g1r0c0": "whole image", "g2r0c0": "upper left", "g2r0c1": "upper right"}
_PLACES |= {"g2r1c0": "lower left", "g2r1c1": "lower right"}
_CELL_FIRST = re.compile(r"(tr\d+c\d+(?:g\d+r\d+c\d+)?|g\d+r\d+c\d+)__")


def feature_names(level, n_features, cell=""):
    """Return the column names of a level's features: ``level7__0000``, ...; ``level7__g2r0c1__0000``, ... of a cell."""
    prefix = join(f"level{level}", cell) if cell else f"level{level}"
    return [f"{prefix}__{index:04d}" for index in range(n_features)]


def join(level, suffix):
    """Return the name of a column that a later step makes: ``level7__npca4``, or ``npca4`` without a level."""
    return f"{level}__{suffix}" if level else suffix


def choose_levels(levels, known, of):
    """Return the numbers that a parameter ``levels`` means, ascending.

    Parameters
    ----------
    levels : "all" or list of int
    known : list of int
    of : str
        Whose levels they are, for the error.

    Raises
    ------
    ValueError
        If it is neither, or a level is not known or comes twice; names the known ones.
    """
    if isinstance(levels, str) and levels == "all":
        return sorted(known)
    chosen = list(levels) if isinstance(levels, (list, tuple, range, np.ndarray)) else []
    integers = all(isinstance(level, (int, np.integer)) and not isinstance(level, bool) for level in chosen)
    if not chosen or not integers or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
        there = sorted(known) or "none (no column is named 'level7__…')"
        raise ValueError(f"levels must be 'all' or a list of different numbers out of {there}, {of}; got {levels!r}.")
    return sorted(int(level) for level in chosen)


def level_number(level):
    """Return the number of a level from its name: 7 for ``level7`` and ``left__level7``."""
    return int(level.rsplit("level", 1)[1])


def group_columns(names, n_features):
    """Return the columns of each level.

    Parameters
    ----------
    names : sequence of str, or None
        The column names; None for a plain array.
    n_features : int
        The number of columns.

    Returns
    -------
    dict of str to (slice or ndarray of int)
        The level's name and its columns, in order of first appearance. One group, named ``""``, where no column
        carries a level. A slice where the columns are adjacent, so that taking them copies nothing.

    Raises
    ------
    ValueError
        If some columns carry a level and others do not.
    """
    if names is None:
        return {"": slice(0, n_features)}
    matches = [_LEVEL.match(str(name)) for name in names]
    odd = [str(name) for name, match in zip(names, matches, strict=True) if match is None]
    if len(odd) == len(matches):
        return {"": slice(0, n_features)}
    if odd:
        raise ValueError(
            f"Some columns carry a level and some do not: {_shorten(odd)} lack the form 'level7__…'. "
            "Name them so, drop them, or pass a plain array to treat all columns as one group."
        )
    groups: dict[str, list[int]] = {}
    for index, match in enumerate(matches):
        groups.setdefault(match[1], []).append(index)  # type: ignore[index]  # none is None here
    return {level: _as_slice(indices) for level, indices in groups.items()}


def group_by_cell(names):
    """Return the columns of each cell of a grid, over all levels: ``level7__g2r0c1__0013`` is of the cell "g2r0c1".

    Where photographs are cut into tiles, of each tile: ``level7__tr0c1g2r1c0__0013`` is of the tile "tr0c1".

    Parameters
    ----------
    names : sequence of str, or None
        The column names; None for a plain array.

    Returns
    -------
    dict of str to ndarray of int
        The cell's or the tile's name and its columns, in order of first appearance; empty where no column carries
        a cell.

    Raises
    ------
    ValueError
        If some columns carry a cell and others do not.
    """
    matches = [_CELL.search(str(name)) for name in ([] if names is None else names)]
    odd = [str(name) for name, match in zip([] if names is None else names, matches, strict=True) if match is None]
    if odd and len(odd) < len(matches):
        raise ValueError(
            f"Some columns carry a cell and some do not: {_shorten(odd)} lack the form 'level7__g2r0c1__…'."
        )
    cells: dict[str, list[int]] = {}
    for index, match in enumerate([] if odd else matches):
        cells.setdefault(match[1], []).append(index)  # type: ignore[index]  # none is None here
    return {cell: np.asarray(indices) for cell, indices in cells.items()}


def split_name(name):
    """Return the level, the cell and the rest of a column's name: ("level7", "g2r0c1", "0013"); "" for what is not."""
    level = _LEVEL.match(name)
    rest = name[level.end() :] if level else name
    cell = _CELL_FIRST.match(rest) if level else None
    return level[1] if level else "", cell[1] if cell else "", rest[cell.end() :] if cell else rest


def name_part(level, cell):
    """Return "level 4, upper left" for level4 and g2r0c0."""
    name = level.replace("level", "level ") if level else "all features"
    return f"{name}, {name_cell(cell)}" if cell else name


def name_cell(cell):
    """Return "upper left" for g2r0c0, and so on."""
    if cell in _PLACES:
        return _PLACES[cell]
    found = re.fullmatch(r"(?:tr(\d+)c(\d+))?(?:g(\d+)r(\d+)c(\d+))?", cell)
    if found is None:
        return cell
    tile_row, tile_column, side, row, column = (int(one or -1) for one in found.groups())
    tile = [f"tile in row {tile_row + 1}, column {tile_column + 1}"] if tile_row >= 0 else []
    place = [f"row {row + 1}, column {column + 1} of {side} x {side}"] if side > 1 else []
    return ", ".join(tile + place)


def mark_learnt(names):
    """Return names of features as those of features that were learnt: ``level7__tuned0013`` for ``level7__0013``."""
    parts = (str(name).rpartition("__") for name in names)
    return np.asarray([f"{front}{line}{TUNED}{last}" for front, line, last in parts], dtype=object)


def frame(values, names, like=None):
    """Return a frame with these column names: polars if `like` is one, otherwise pandas, with the index of `like`."""
    if _is_polars(like):
        return type(like)(values, schema=list(names), orient="row")
    index = like.index if isinstance(like, (pd.DataFrame, pd.Series)) else None
    return pd.DataFrame(values, columns=names, index=index, copy=False)


def frame_like(values, names, X):
    """Return `values` in the container of `X`: a frame for a pandas or polars frame, otherwise the array itself.

    `names` may be a function that is called only where names are needed.
    """
    if not isinstance(X, pd.DataFrame) and not _is_polars(X):
        return values
    return frame(values, names() if callable(names) else names, like=X)


def _is_polars(X):
    polars = sys.modules.get("polars")  # whoever passes a polars frame has imported polars
    return polars is not None and isinstance(X, polars.DataFrame)


def _as_slice(indices):
    first, last = indices[0], indices[-1]
    return slice(first, last + 1) if last - first + 1 == len(indices) else np.asarray(indices)


def _shorten(names, most=5):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
