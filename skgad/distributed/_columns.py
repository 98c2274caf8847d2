"""A Gaussian over columns, learnt in parts: moments of the rows, those behind NPCA, and scores of rows left out."""

import copy
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .._calibration._closed_form import fit_tail
from .._calibration._out_of_fold import inflation
from .._calibration._score_sketch import ScoreSketch
from .._conventions._levels import frame
from .._detectors._mahalanobis import MahalanobisDetector
from ._folds import count_images_once, number_images, own_folds
from ._tasks import gather, score_unseen, summarise

_FEW = 1000  # rows up to which leave-one-out behind NPCA sums the fourth powers of all rows anew for each


def fit_columns(plan, parts, engine, source):
    """Return the fitted steps by their ids, a function that calibrates, or None, and the `Summary` of all parts."""
    _check_room(plan, parts, engine, source)
    shared = engine.share(source)
    fold_of = number_images(plan.cv, parts.n_images)
    summary, learnt, npca, detector = _learn(plan, parts, engine, shared, fold_of)
    distances = _measure_nothing(detector)
    fitted = {id(plan.detector): detector}
    if npca is not None:
        fitted[id(plan.npca)] = npca
    if plan.chi is not None:
        fitted[id(plan.chi)] = clone(plan.chi).fit(distances.loc[np.zeros(detector.n_samples_seen_, dtype=int)])
    if plan.calibrator is None:
        return fitted, None, summary
    if npca is not None and detector.n_samples_seen_ <= _FEW:
        scored = _score_together(plan, parts, engine, shared, summary)
    elif plan.cv == "loo" and detector.learnt_rows() is not None and npca is None:
        rows = detector.learnt_rows()
        scored = detector.leave_one_out_scores(rows), detector.score_samples(rows)
    else:
        scored = None
    if scored is not None:
        scores, ratio = scored[0], inflation(*scored)
    else:
        unseen = _leave_out(plan, summary, learnt, detector)
        scores, ratio = _score(plan, parts, engine, shared, summary, unseen, detector, npca, fold_of)
    calibrator = clone(plan.calibrator)
    n_images = detector.n_samples_seen_
    return fitted, partial(calibrator.take_scores, scores=scores, inflation=ratio, n_images=n_images), summary


def _check_room(plan, parts, engine, source):
    """Raise ValueError if workers have no room to merge the moments of a joint Gaussian."""
    if plan.detector.levels != "joint" or source.names is None or 2 * (parts.n_images or 0) <= len(source.names):
        return
    n_bytes = 8 * len(source.names) ** 2 * engine.n_merged
    if n_bytes > engine.find_memory():
        raise ValueError(
            f"levels='joint' over {len(source.names)} features takes {n_bytes / 1e9:.3g} GB where moments are merged, "
            f"and the smallest worker has {engine.find_memory() / 1e9:.3g} GB. Take fewer levels, grid=1, or a smaller "
            "network; or larger workers."
        )


def _learn(plan, parts, engine, shared, fold_of=None, places=None, without=None):
    """Return what all images, or all but one, teach: the summary, the moments, NPCA and the Gaussian behind it."""
    carrier = clone(plan.detector) if plan.npca is None else MahalanobisDetector()
    summary = engine.add_up(
        summarise, parts, lambda part: (shared, carrier, None, own_folds(fold_of, part), without), places
    )
    count_images_once(summary, parts, lambda model: model.n_samples_seen_, n_without=int(without is not None))
    learnt = _merge(list(summary.models.values()))
    if plan.npca is None:
        return summary, learnt, None, learnt
    npca = clone(plan.npca).fit_moments(learnt)
    behind = engine.share(npca)
    again = engine.add_up(summarise, parts, lambda part: (shared, plan.detector, behind, None, without), summary.places)
    _check_same(summary, again)
    return summary, learnt, npca, again.models[0]


class Scores:
    """The scores of all images: in their order up to a size, and a sketch of them beyond."""

    def __init__(self, size=1_000_000):
        self._size, self._parts, self._n_waiting, self._sketch = size, [], 0, None
        self.n_images = 0

    def add(self, scores):
        """Take some in."""
        self._parts.append(scores)
        self._n_waiting += len(scores)
        self.n_images += len(scores)
        if self._n_waiting > self._size:
            self._fold()

    def get(self):
        """Return them, or those that stand for them."""
        if self._sketch is None:
            return np.concatenate([np.empty(0), *self._parts])
        self._fold()
        return self._sketch.representatives()

    def _fold(self):
        more = ScoreSketch(np.concatenate([np.empty(0), *self._parts]), self._size)
        self._sketch = more if self._sketch is None else self._sketch.merge(more)
        self._parts, self._n_waiting = [], 0


def _check_same(one, other):
    learnt = [{part: n_used for part, (_, n_used) in each.places.items()} for each in (one, other)]
    if learnt[0] != learnt[1]:
        part = next(part for part in learnt[0] if learnt[0][part] != learnt[1].get(part))
        raise RuntimeError(f"Part {part} has other images that can be used than in the first pass. Fit anew.")


def _merge(models):
    total = copy.copy(models[0])
    for model in models[1:]:
        total.merge(model)
    return total


def _measure_nothing(detector):
    """Return the distances of one row of zeros: what is singular is refused here, not at the first score."""
    rows = np.zeros((1, detector.n_features_in_))
    names = getattr(detector, "feature_names_in_", None)
    return detector.transform(rows if names is None else frame(rows, names))


def _leave_out(plan, summary, learnt, detector):
    """Return what scores rows of each fold without it."""
    if plan.cv == "loo" and plan.npca is None:
        return {0: detector.measure_left_out()}
    if plan.cv == "loo":
        return {0: learnt.measure_left_out_behind(detector, plan.npca.n_components)}
    models = summary.models
    return {fold: _merge([other for number, other in models.items() if number != fold]) for fold in models}


def _score(plan, parts, engine, shared, summary, unseen, detector, npca, fold_of):
    """Return the scores of all images by detectors that have not seen them, and the inflation of their distances."""
    unseen = {fold: engine.share(one) for fold, one in unseen.items()}
    whole = engine.share(detector)
    behind = None if npca is None else engine.share(npca)

    def arguments(part):
        own = own_folds(fold_of, part)
        folds = [0] if own is None else np.unique(own).tolist()
        needed = {fold: unseen[fold] for fold in folds if fold in unseen}
        return shared, needed, whole, behind, own, summary.places[part.number][1]

    scores, unseen_squares, seen_squares, largest = Scores(), 0.0, 0.0, -np.inf
    for scored in engine.map(score_unseen, parts.make(), arguments, summary.places):
        for row in np.flatnonzero(np.isinf(scored.scores)):
            scored.scores[row] = _score_alone(plan, parts, engine, shared, summary, scored, row)
        scores.add(scored.scores)
        unseen_squares += np.square(scored.scores).sum()
        seen_squares += scored.in_sample
        largest = max(largest, scored.largest)
    if scores.n_images != detector.n_samples_seen_:
        raise RuntimeError(f"{scores.n_images} images were scored, and {detector.n_samples_seen_} learnt.")
    ratio = float(unseen_squares / seen_squares) if largest <= 0 and seen_squares else np.nan
    return scores.get(), ratio


def _score_alone(plan, parts, engine, shared, summary, scored, row):
    """Return the score of an image beside which nothing is left of the others' moments: all others are summed anew."""
    position = scored.positions[row]
    _, _, npca, others = _learn(plan, parts, engine, shared, places=summary.places, without=position)
    part = next(part for part in parts.make() if part.number == scored.number)
    [rows] = engine.map(gather, [part], lambda part: (shared,), summary.places)
    values = rows.values[row : row + 1] if npca is None else npca.transform(rows.values[row : row + 1])
    score = others.score_samples(values)[0]
    if not np.isfinite(score):
        raise ValueError(f"Image {position} has the score {score} by all others; scores must be finite.")
    return score


def _score_together(plan, parts, engine, shared, summary):
    """Return the scores of a few images, out of fold and in sample, from all of their features."""
    gathered = engine.map(gather, parts.make(), lambda part: (shared,), summary.places)
    rows = np.concatenate([np.asarray(rows.values) for rows in gathered])
    names = getattr(next(iter(summary.models.values())), "feature_names_in_", None)
    tail = Pipeline([("npca", clone(plan.npca)), ("detector", clone(plan.detector))])
    return fit_tail(tail, rows if names is None else frame(rows, names))
