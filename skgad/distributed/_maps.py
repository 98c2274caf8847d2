"""Gaussians over maps, learnt in parts: sums of maps, then distances of images left out, then their scores."""

from functools import partial

import numpy as np
from sklearn.base import clone

from .._calibration._out_of_fold import inflation
from .._conventions._parameters import read_fpr
from .._gaussian._places import PIVOT_IMAGES
from ..spatial import _in_parts as in_parts
from ._folds import count_images_once, number_images, own_folds
from ._map_tasks import MapsSource, begin, learn_part, leave_out, score_part, sum_part
from ._pixels import MOST_PIXELS, PixelSketch

_FOLDS = 5  # of a fit that standardizes distances, as on one machine


def fit_maps(plan, parts, engine, kept):
    """Return the fitted steps by their ids, a function that calibrates, or None, and the `Summary` of all parts."""
    detector, empty, notes = _begin(plan, parts, engine)
    calibrates = plan.calibrator is not None
    standardizes = in_parts.standardizes(detector)
    fold_of = number_images(plan.cv, parts.n_images)
    if fold_of is None and standardizes:
        fold_of = np.arange(parts.n_images) % min(_FOLDS, parts.n_images)
    source = engine.share(MapsSource(detector, kept))
    memory = engine.share(empty)
    summary = engine.add_up(learn_part, parts, lambda part: (source, memory, own_folds(fold_of, part)))
    summary.notes |= notes
    count_images_once(summary, parts, lambda model: in_parts.count_images_in(detector, model))
    whole = _add(summary.models)
    in_parts.keep(detector, whole)
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
        sums = engine.add_up(sum_part, parts, lambda part: (source, *needed(part)), summary.places).models
        total = _add(sums)
        in_parts.set_standards(detector, total)
        others = {fold: total.without(one).standards() for fold, one in sums.items()}
        if not calibrates:
            return {id(plan.detector): detector}, None, summary
        source = engine.share(MapsSource(detector, kept))
    shared_others = engine.share(others)
    largest = _expect_pixels(detector, parts.n_images)
    empty_pixels = engine.share(_expect_pixels(detector, parts.n_images))

    def arguments(part):
        return source, *needed(part), shared_others, empty_pixels

    scores = []
    for scored in engine.map(score_part, parts.make(), arguments, summary.places):
        scores.append(scored.scores)
        largest.merge(scored.largest)
    found = np.concatenate(scores, axis=1)
    if found.shape[1] != parts.n_images:
        raise RuntimeError(f"{found.shape[1]} images were scored, of {parts.n_images}.")
    in_parts.keep_pixels(detector, largest)
    calibrator = clone(plan.calibrator)
    ratio = inflation(*found)
    return {id(plan.detector): detector}, partial(calibrator.take_scores, scores=found[0], inflation=ratio), summary


def _begin(plan, parts, engine):
    some, count = [], 0
    for part in parts.make():
        some.append(part)
        count += len(part.positions)
        if count >= PIVOT_IMAGES:
            break
    first, *more = some
    arguments = more, clone(plan.detector), parts.n_images
    [found] = engine.map(begin, [first], lambda part: arguments)
    return found


def _expect_pixels(detector, n_images):
    largest = in_parts.expect_pixels(detector, n_images)
    return largest if largest.size <= MOST_PIXELS else PixelSketch(read_fpr(detector.pixel_fpr))


def _add(models):
    total = None
    for _, one in sorted(models.items()):
        total = one if total is None else total.merge(one)
    return total
