"""What runs where the images are: a part is read, and moments or scores of it come back."""

import re
import sys
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from .._conventions._levels import frame
from ..exceptions import ImageError, ImageWarning
from ._kept import make_key

_LISTED = 20  # images of a part that cannot be used and are named


@dataclass
class Summary:
    """What is known of some adjacent parts; of none of their images is anything left but sums."""

    first: int  # of the parts
    last: int
    n_images: int  # that were looked at
    models: dict  # of fold to what has learnt its images
    bad: list = field(default_factory=list)  # of (position, why) of images that cannot be used
    n_bad: int = 0
    places: dict = field(default_factory=dict)  # of part to (worker, number of images that were used)
    notes: set = field(default_factory=set)  # warnings: (category, text)

    def merge(self, other):
        """Return that of these parts and the next ones."""
        if other.first != self.last + 1:
            raise RuntimeError(f"Part {other.first} came after part {self.last}: images would be counted twice, or lost.")
        models = dict(self.models)
        for fold, model in other.models.items():
            models[fold] = models[fold].merge(model) if fold in models else model
        return Summary(
            self.first,
            other.last,
            self.n_images + other.n_images,
            models,
            self.bad + other.bad,
            self.n_bad + other.n_bad,
            {**self.places, **other.places},
            self.notes | other.notes,
        )


@dataclass
class Scored:
    """The scores of a part's images."""

    number: int
    positions: np.ndarray  # of images that could be used
    scores: np.ndarray
    n_images: int
    inside: tuple = (0.0, 0.0, -np.inf)  # sums of squares out of fold and in sample, and the largest of all scores
    bad: list = field(default_factory=list)
    n_bad: int = 0
    notes: set = field(default_factory=set)


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


def find_worker():
    """Return the Dask worker that this runs on; None elsewhere."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def fit_front(part, front):
    """Return the steps that learn nothing, fitted, and the names of the features; the network is loaded for it."""
    items = load_items(part)
    with name_errors(part), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = front.fit(items, None).transform(items[:1])
    names = [str(name) for name in first.columns] if hasattr(first, "columns") else None
    return front, names, _take_notes(caught)


def summarise(part, source, carrier, npca=None, folds=None):
    """Return the `Summary` of a part.

    Parameters
    ----------
    part : Part
    source : Source
    carrier : estimator
        A detector with ``partial_fit`` and ``merge``, that has learnt nothing.
    npca : NPCA, default=None
        Fitted, that stands in front of it.
    folds : ndarray of int, default=None
        Of each image of the part; None for one.
    """
    rows = read_rows(part, source)
    values = rows.values if npca is None or not len(rows.positions) else npca.transform(rows.values)
    fold = np.zeros(rows.n_images, int) if folds is None else folds
    fold = fold[np.isin(part.positions, rows.positions)]
    models = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of a fit are said once, by the fit
        for number in np.unique(fold):
            own = np.flatnonzero(fold == number)
            models[int(number)] = clone(carrier).partial_fit(take_rows(values, own))
    return Summary(
        part.number,
        part.number,
        rows.n_images,
        models,
        rows.bad,
        rows.n_bad,
        {part.number: (find_address(), len(rows.positions))},
        rows.notes,
    )


def merge_all(summaries):
    """Return the summary of several, which are adjacent and in order."""
    first, *others = summaries
    for other in others:
        first = first.merge(other)
    return first


def score_unseen(part, source, unseen, whole, npca=None, folds=None, n_used=None):
    """Return the scores of a part's images by detectors that have not seen them, `Scored`.

    Parameters
    ----------
    part : Part
    source : Source
    unseen : dict of int to estimator
        Of each fold what has not seen it; fold 0 without `folds`. Takes what stands in front of `npca`.
    whole : estimator
        That has seen all.
    npca : NPCA, default=None
    folds : ndarray of int, default=None
    n_used : int, default=None
        How many images of the part were learnt.
    """
    rows = read_rows(part, source)
    if n_used is not None and len(rows.positions) != n_used:
        raise RuntimeError(
            f"Of the images {part.positions[0]} to {part.positions[-1]}, {n_used} could be used in the first pass and "
            f"{len(rows.positions)} in a later one: they were changed meanwhile. Fit anew."
        )
    scores = np.empty(len(rows.positions))
    fold = np.zeros(rows.n_images, int) if folds is None else folds
    fold = fold[np.isin(part.positions, rows.positions)]
    for number in np.unique(fold):
        own = np.flatnonzero(fold == number)
        scores[own] = unseen[int(number)].score_samples(take_rows(rows.values, own))
    _refuse_infinite(scores, rows.positions, part)
    seen = np.empty(0)
    if len(scores):
        seen = whole.score_samples(rows.values if npca is None else npca.transform(rows.values))
    sums = np.square(scores).sum(), np.square(seen).sum(), max(scores.max(initial=-np.inf), seen.max(initial=-np.inf))
    return Scored(part.number, rows.positions, scores, rows.n_images, sums, notes=rows.notes)


def score_all(part, source, detector):
    """Return the scores of a part's images by a fitted detector; NaN for images that cannot be used."""
    rows = read_rows(part, source, keeps=False)
    scores = np.full(rows.n_images, np.nan)
    if len(rows.positions):
        scores[np.isin(part.positions, rows.positions)] = detector.score_samples(rows.values)
    return Scored(part.number, np.asarray(part.positions), scores, rows.n_images, (), rows.bad, rows.n_bad, rows.notes)


def gather(part, source):
    """Return the features of a part: for what takes all of a few images together."""
    rows = read_rows(part, source)
    return np.asarray(rows.values)


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
                f"The features of images {part.positions[0]} to {part.positions[-1]} are no longer in {kept.folder}, and "
                "the iterator is used up. Is there room? Give another folder, checkpoint=, and run it again."
            )
    return _extract(part, source, key, keeps)


def _make_key(part, source):
    if part.items is None:
        return None
    return source.kept.run if source.kept.checkpoint is None else make_key(source.describes, load_items(part))


def _extract(part, source, key, keeps):
    items = load_items(part)
    with name_errors(part), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = source.front.transform(items)
    values, names = np.asarray(found), getattr(found, "columns", None)
    notes = {note for note in _take_notes(caught) if note[0] is not ImageWarning}
    usable = ~np.isnan(values).any(axis=1)
    bad = [(int(part.positions[row]), _explain(part, source, items, row)) for row in np.flatnonzero(~usable)[:_LISTED]]
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


def _explain(part, source, items, row):
    """Return why an image cannot be used."""
    front = clone_with(source.front, "raise")
    try:
        front.transform(items[row : row + 1])
    except Exception as error:  # whatever it is, it belongs to this image
        return _renumber(str(error), part.positions[row : row + 1])
    return f"image {part.positions[row]} could not be read before, and can now"


def clone_with(front, on_bad_image):
    """Return a copy of fitted steps whose extractor does this with images that cannot be used."""
    import copy

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


def _refuse_infinite(scores, positions, part):
    odd = np.flatnonzero(~np.isfinite(scores))
    if len(odd):
        position = positions[odd[0]]
        name = _name(part, position)
        raise ValueError(
            f"Image {position}{name} lies so far from all others that nothing is left of them beside it, so that it has "
            "no score by the others. Is it a photograph like them? Leave it out, or fit on one machine."
        )


def _name(part, position):
    from .._images._files import is_path

    if hasattr(part.items, "dask"):
        return ""
    row = int(np.flatnonzero(np.asarray(part.positions) == position)[0])
    item = part.items[row] if isinstance(part.items, list) else None
    return f", {item}" if item is not None and is_path(item) else ""


class name_errors:  # noqa: N801
    """A context in which errors are about the images of a part: told by their position among all, and the worker."""

    def __init__(self, part):
        self.part = part

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            return
        where = f" (worker {find_address()})" if find_address() else ""
        if isinstance(error, ImageError):
            raise ImageError(_renumber(str(error), self.part.positions) + where) from None
        if where and isinstance(error, Exception):
            first, last = self.part.positions[0], self.part.positions[-1]
            error.add_note(f"With images {first} to {last}, on worker {find_address()}.")


def _renumber(text, positions):
    """Return what is said of an image of a part, said of its position among all."""
    return re.sub(r"^image (\d+)", lambda match: f"image {positions[int(match[1])]}", text)


def find_address():
    worker = find_worker()
    return "" if worker is None else worker.address


def _take_notes(caught):
    return {(one.category, str(one.message)) for one in caught if issubclass(one.category, Warning)}
