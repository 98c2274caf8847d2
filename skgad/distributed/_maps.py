"""Gaussians over maps, learnt in parts: sums of maps, then distances of images that were left out, then their scores."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from .._calibration._out_of_fold import inflation
from .._conventions._parameters import read_fpr
from ._folds import count_images_once, number_images, own_folds
from ._pixels import MOST_PIXELS, PixelSketch
from ._engines import find
from ._tasks import Summary, find_address, load_items, name_errors

_FOLDS = 5  # of a fit that standardizes distances, as on one machine


@dataclass
class MapsSource:
    """What is sent once to each worker: the detector, started or fitted, and the files of its distances."""

    detector: Any
    kept: Any


@dataclass
class ScoredMaps:
    """The scores of a part's images, and the largest pixels of their maps."""

    scores: np.ndarray  # (2, n_images): by what has not seen them, and by what has
    largest: Any
    notes: set = field(default_factory=set)


def fit_maps(plan, parts, engine, kept):
    """Return the fitted steps by their ids, a function that calibrates, or None, and the `Summary` of all parts."""
    detector, empty = _begin(plan, parts, engine)
    calibrates = plan.calibrator is not None
    standardizes = detector.standardizes()
    fold_of = number_images(plan.cv, parts.n_images)
    if fold_of is None and standardizes:
        fold_of = np.arange(parts.n_images) % min(_FOLDS, parts.n_images)
    source = engine.share(MapsSource(detector, kept))
    memory = engine.share(empty)
    summary = _reduce(engine, parts, learn_part, lambda part: (source, memory, own_folds(fold_of, part)))
    count_images_once(summary, parts, lambda model: model.n_images // detector.count_maps())
    whole = _add(summary.models)
    detector.keep_parts(whole)
    if not (calibrates or standardizes):
        return {id(plan.detector): detector}, None, summary
    if standardizes and parts.n_images < 3:
        raise ValueError(
            f"n_samples = {parts.n_images} normal images are too few to standardize distances by: three are the least."
        )
    source, all_images = engine.share(MapsSource(detector, kept)), engine.share(whole)
    unseen = {
        fold: engine.derive(leave_out, source, all_images, engine.share(one)) for fold, one in summary.models.items()
    }

    def needed(part):
        own = own_folds(fold_of, part)
        return own, {int(fold): unseen[int(fold)] for fold in np.unique(own)}

    others: dict = {}
    if standardizes:
        sums = _reduce(engine, parts, sum_part, lambda part: (source, *needed(part)), summary.places).models
        total = _add(sums)
        detector.set_standards(total)
        others = {fold: total.without(one).standards() for fold, one in sums.items()}
        if not calibrates:
            return {id(plan.detector): detector}, None, summary
        source = engine.share(MapsSource(detector, kept))
    shared_others = engine.share(others)
    largest = _expect_pixels(detector, parts.n_images)
    empty_pixels = engine.share(_expect_pixels(detector, parts.n_images))

    def arguments(part):
        return (source, *needed(part), shared_others, empty_pixels), summary.places[part.number][0]

    scores = []
    for scored in engine.map(score_part, parts.make(), arguments):
        scores.append(scored.scores)
        largest.merge(scored.largest)
    found = np.concatenate(scores, axis=1)
    if found.shape[1] != parts.n_images:
        raise RuntimeError(f"{found.shape[1]} images were scored, of {parts.n_images}.")
    detector.keep_pixels(largest)
    calibrator = clone(plan.calibrator)
    ratio = inflation(*found)
    return {id(plan.detector): detector}, partial(calibrator.take_scores, scores=found[0], inflation=ratio), summary


def begin(part, more, detector, n_images):
    """Return the detector, its fit started, and an empty memory about the mean of the first images."""
    items = load_items(part)
    for other in more:
        items = list(items) + list(load_items(other))
    with name_errors(part):
        return detector, detector.begin_parts(items, n_images)


def learn_part(part, source, memory, folds):
    """Return the `Summary` of what is learnt of a part's images, by fold."""
    items = load_items(part)
    folds = np.zeros(len(items), int) if folds is None else folds
    with name_errors(part):
        models = {
            int(fold): source.detector.learn_part(items, np.flatnonzero(folds == fold), memory)
            for fold in np.unique(folds)
        }
    places = {part.number: (find_address(), len(items))}
    return Summary(part.number, part.number, len(items), models, places=places)


def leave_out(source, whole, one):
    """Return what measures maps without those of a fold."""
    return source.detector.leave_out(whole, one)


def sum_part(part, source, folds, unseen):
    """Return the `Summary` of the distances of a part's images, by fold; they are kept for the pass that scores."""
    measured = _measure(part, source, folds, unseen)
    models = {fold: source.detector.sum_distances(one) for fold, one in measured.items()}
    return Summary(part.number, part.number, len(folds), models, places={part.number: (find_address(), len(folds))})


def score_part(part, source, folds, unseen, others, largest):
    """Return the `ScoredMaps` of a part."""
    items = load_items(part)
    largest = _copy(largest)
    scores = np.full((2, len(items)), np.nan)
    for fold, measured in _measure(part, source, folds, unseen, keeps=bool(others)).items():
        own = folds == fold
        scores[:, own] = source.detector.score_part(items, iter(measured), largest, others.get(fold))[:, own]
    return ScoredMaps(scores, largest)


def _begin(plan, parts, engine):
    first, more, count = None, [], 0
    for part in parts.make():
        first, more = (part, more) if first is None else (first, [*more, part])
        count += len(part.positions)
        if count >= 16:
            break
    arguments = (more, clone(plan.detector), parts.n_images)
    [found] = engine.map(begin, [first], lambda part: (arguments, None))
    return found


def _reduce(engine, parts, task, arguments, places=None):
    total = None
    more = lambda part: (arguments(part), places[part.number][0] if places else None)  # noqa: E731
    for summary in engine.reduce(task, parts.make(), more, parts.n_parts):
        total = summary if total is None else total.merge(summary)
    return total


def _measure(part, source, folds, unseen, keeps=True):
    """Return what `measure_part` yields, of each fold: from the disk where it was kept."""
    kept = source.kept.load(part.number, source.kept.run) if keeps else None
    if kept is not None:
        return _from_arrays(kept)
    items = load_items(part)
    with name_errors(part):
        measured = {
            int(fold): list(source.detector.measure_part(items, np.flatnonzero(folds == fold), find(unseen[int(fold)])))
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
    for name in sorted((name for name in arrays if name.endswith("rows")), key=lambda name: [*map(int, name.split()[:2])]):
        fold, number, _ = name.split()
        kinds = []
        for kind in range(2):
            n_levels = sum(other.startswith(f"{fold} {number} {kind} ") for other in arrays)
            kinds.append([arrays[f"{fold} {number} {kind} {level}"] for level in range(n_levels)])
        measured.setdefault(int(fold), []).append((arrays[name], *kinds))
    return measured


def _expect_pixels(detector, n_images):
    largest = detector.expect_pixels(n_images)
    return largest if largest.size <= MOST_PIXELS else PixelSketch(read_fpr(detector.pixel_fpr))


def _copy(largest):
    import copy

    return copy.deepcopy(largest)


def _add(models):
    total = None
    for _, one in sorted(models.items()):
        total = one if total is None else total.merge(one)
    return total
