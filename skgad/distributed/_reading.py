"""A part's images become features, where the images are: from the disk where they were kept, or through the network."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._conventions._levels import frame
from ._kept import make_key
from ._workers import find_address, name_errors, renumber

_LISTED = 20  # images of a part that cannot be used and are named


@dataclass
class Rows:
    """The features of a part's images that can be used."""

    values: Any  # a frame, or what came
    positions: np.ndarray
    n_images: int
    bad: list
    n_bad: int
    notes: set


@dataclass
class Source:
    """What turns images into features, wherever they are: it is sent once to each worker."""

    front: Any  # fitted; None where the items are features already
    names: Any  # of the features; None where they have none
    describes: str
    kept: Any
    extractor: Any = None  # of a detector that takes images


def read_rows(part, source, keeps=True):
    """Return the `Rows` of a part: from the disk, or through the network, and then to the disk."""
    if source.front is None:
        items = load_items(part)
        return Rows(items, np.asarray(part.positions), len(items), [], 0, set())
    kept, key = source.kept, ""
    if keeps:
        key = _make_key(part, source)
        arrays = kept.load(part.number, key)
        if arrays is not None:
            return _from_arrays(arrays, part, source.names)
        if part.items is None:
            raise RuntimeError(
                f"The features of images {part.positions[0]} to {part.positions[-1]} are no longer in {kept.folder}, "
                "and the iterator is used up. Is there room? Give another folder, checkpoint=, and run it again."
            )
    return _extract(part, source, key, keeps)


def _make_key(part, source):
    if part.items is None:
        return None
    return source.kept.run if source.kept.checkpoint is None else make_key(source.describes, load_items(part))


def _extract(part, source, key, keeps):
    items = load_items(part)
    with name_errors(part) as notes:
        found = source.front.transform(items)
    values, names = np.asarray(found), getattr(found, "columns", None)
    tolerates = any(getattr(step, "on_bad_image", None) == "nan" for _, step in source.front.steps)
    usable = ~np.isnan(values).any(axis=1) if tolerates else np.ones(len(values), dtype=bool)
    bad = explain_all(part, source, items, np.flatnonzero(~usable))
    arrays = {
        "values": values[usable],
        "usable": usable,
        "bad": np.array([position for position, _ in bad], dtype=np.int64),
        "reasons": np.array([reason for _, reason in bad], dtype=str),
    }
    if keeps:
        obstacle = source.kept.save(part.number, key, arrays)
        if obstacle:
            where = f" on worker {find_address()}" if find_address() else ""
            notes.add(
                (
                    UserWarning,
                    f"Features could not be kept{where}: {obstacle}. Images go through the network again in each pass.",
                )
            )
    return replace(_from_arrays(arrays, part, names), notes=notes)


def _from_arrays(arrays, part, names):
    usable, values = arrays["usable"], arrays["values"]
    bad = list(zip(arrays["bad"].tolist(), arrays["reasons"].tolist(), strict=True))
    values = values if names is None else frame(values, names)
    positions = np.asarray(part.positions)[usable]
    return Rows(values, positions, len(usable), bad, int(np.count_nonzero(~usable)), set())


def explain_all(part, source, items, rows):
    """Return why images cannot be used: (position, reason) of the first of them."""
    return [(int(part.positions[row]), _explain(part, source, items, row)) for row in rows[:_LISTED]]


def _explain(part, source, items, row):
    try:
        if source.front is None:
            next(iter(copy.copy(source.extractor).set_params(on_bad_image="raise").iter_maps(items[row : row + 1])))
        else:
            _clone_with(source.front, "raise").transform(items[row : row + 1])
    except Exception as error:  # whatever it is, it belongs to this image
        return renumber(str(error), part.positions[row : row + 1])
    return f"image {part.positions[row]} could not be read before, and can now"


def _clone_with(front, on_bad_image):
    """Return a copy of fitted steps whose extractor does this with images that cannot be used."""
    front = copy.copy(front)
    front.steps = [
        (name, copy.copy(step).set_params(on_bad_image=on_bad_image) if hasattr(step, "on_bad_image") else step)
        for name, step in front.steps
    ]
    return front


def load_items(part):
    """Return a part's images or rows, computed here where they are Dask's."""
    if hasattr(part.items, "dask"):
        items = part.items.compute(scheduler="synchronous")
        return items if hasattr(items, "shape") else list(items)
    return part.items


def take_rows(values, rows):
    """Return some rows of a frame or an array."""
    if len(rows) == len(values):
        return values
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]
