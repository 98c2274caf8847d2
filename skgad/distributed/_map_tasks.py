"""What runs where the images are, of lines with maps: sums of maps, distances, and the scores that they make."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..spatial import _in_parts as in_parts
from ._derived import find
from ._reading import load_items
from ._summaries import ScoredMaps, Summary
from ._workers import find_address, name_errors


@dataclass
class MapsSource:
    """What is sent once to each worker: the detector, started or fitted, and the files of its distances."""

    detector: Any
    kept: Any


def begin(part, more, detector, n_images):
    """Return the detector, its fit started, an empty memory about the mean of the first images, and warnings."""
    positions = np.concatenate([one.positions for one in (part, *more)])
    items = load_items(part) if not more else [item for one in (part, *more) for item in load_items(one)]
    with name_errors(part._replace(positions=positions)) as notes:
        empty = in_parts.begin(detector, items, n_images)
    return detector, empty, notes


def learn_part(part, source, memory, folds):
    """Return the `Summary` of what is learnt of a part's images, by fold."""
    items = load_items(part)
    folds = np.zeros(len(items), int) if folds is None else folds
    with name_errors(part) as notes:
        models = {
            int(fold): in_parts.learn(source.detector, items, np.flatnonzero(folds == fold), memory)
            for fold in np.unique(folds)
        }
    places = {part.number: (find_address(), len(items))}
    return Summary(part.number, part.number, len(items), models, places=places, notes=notes)


def leave_out(source, whole, one):
    """Return what measures maps without those of a fold."""
    return in_parts.leave_out(source.detector, whole, one)


def sum_part(part, source, folds, unseen):
    """Return the `Summary` of the distances of a part's images, by fold; they are kept for the pass that scores."""
    measured = _measure(part, source, folds, unseen)
    models = {fold: in_parts.sum_distances(one) for fold, one in measured.items()}
    return Summary(part.number, part.number, len(folds), models, places={part.number: (find_address(), len(folds))})


def score_part(part, source, folds, unseen, others, largest):
    """Return the `ScoredMaps` of a part."""
    items = load_items(part)
    largest = copy.deepcopy(largest)  # what Dask has given may be given again
    scores = np.full((2, len(items)), np.nan)
    for fold, measured in _measure(part, source, folds, unseen, keeps=bool(others)).items():
        own = folds == fold
        scores[:, own] = in_parts.score(source.detector, items, iter(measured), largest, others.get(fold))[:, own]
    return ScoredMaps(scores, largest)


def _measure(part, source, folds, unseen, keeps=True):
    """Return what `measure_part` yields, of each fold: from the disk where it was kept."""
    kept = source.kept.load(part.number, source.kept.run) if keeps else None
    if kept is not None:
        return _from_arrays(kept)
    items = load_items(part)
    with name_errors(part):
        measured = {
            int(fold): list(
                in_parts.measure(source.detector, items, np.flatnonzero(folds == fold), find(unseen[int(fold)]))
            )
            for fold in np.unique(folds)
        }
    if keeps:
        source.kept.save(part.number, source.kept.run, _to_arrays(measured))  # without room it is measured again
    return measured


def _to_arrays(measured):
    arrays = {}
    for fold, batches in measured.items():
        for number, (rows, *kinds) in enumerate(batches):
            arrays[f"{fold} {number} rows"] = rows
            for kind, levels in enumerate(kinds):
                for level, distances in enumerate(levels):
                    arrays[f"{fold} {number} {kind} {level}"] = distances
    return arrays


def _from_arrays(arrays):
    measured: dict = {}
    for name in sorted(
        (name for name in arrays if name.endswith("rows")), key=lambda name: [*map(int, name.split()[:2])]
    ):
        fold, number, _ = name.split()
        kinds = []
        for kind in range(2):
            n_levels = sum(other.startswith(f"{fold} {number} {kind} ") for other in arrays)
            kinds.append([arrays[f"{fold} {number} {kind} {level}"] for level in range(n_levels)])
        measured.setdefault(int(fold), []).append((arrays[name], *kinds))
    return measured
