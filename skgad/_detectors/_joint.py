"""All levels as the blocks of one Gaussian."""

import re

import numpy as np

from .._conventions._warnings import warn

_NPCA_COLUMN = re.compile(r"(?:^|__)npca\d+$")


def check_levels(levels):
    """Raise ValueError unless this says how levels are modelled."""
    if not isinstance(levels, str) or levels not in ("each", "joint"):
        raise ValueError(
            f"levels must be 'each' (a Gaussian of each level) or 'joint' (one over all of them); got {levels!r}. "
            "To choose some levels, put LevelSelector in front, or give levels= to the extractor."
        )


def join_blocks(groups, n_features):
    """Return the columns of the joint Gaussian, as those of one level, and the size of each of its blocks.

    Parameters
    ----------
    groups : dict of str to (slice or ndarray of int)
        The columns of each level.
    n_features : int
        The number of all columns.

    Returns
    -------
    columns : dict of str to (slice or ndarray of int)
        One entry, "joint".
    blocks : dict of str to int
    """
    indices = [np.arange(n_features)[columns] for columns in groups.values()]
    joined = np.concatenate(indices)
    columns = slice(0, n_features) if np.array_equal(joined, np.arange(n_features)) else joined
    return {"joint": columns}, {name: len(each) for name, each in zip(groups, indices, strict=True)}


def is_behind_npca(names):
    """Return whether all of these columns, none of them if there are no names, were made by `NPCA`."""
    return names is not None and all(_NPCA_COLUMN.search(str(name)) for name in names)


def warn_behind_npca(names):
    """Warn if the features of a joint Gaussian were reduced to directions of little variance, level by level."""
    if is_behind_npca(names):
        warn(
            "NPCA stands in front of levels='joint'. A joint Gaussian weighs the directions itself, and what is left "
            "of each level no longer correlates with the others: NPCA costs it detections. Leave NPCA out.",
            UserWarning,
        )
