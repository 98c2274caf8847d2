"""What runs where the images are, of lines of columns: a part is read, and moments or scores of it come back."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone

from ._reading import explain_all, load_items, read_rows, take_rows
from ._summaries import Scored, Summary
from ._workers import find_address, name_errors


def fit_front(part, front):
    """Return the steps that learn nothing, fitted, and the names of the features; the network is loaded for it."""
    items = load_items(part)
    with name_errors(part) as notes:
        first = front.fit(items, None).transform(items[:1])
    names = [str(name) for name in first.columns] if hasattr(first, "columns") else None
    return front, names, notes


def summarise(part, source, carrier, npca=None, folds=None, without=None):
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
    without : int, default=None
        The position of an image that is not to be learnt.
    """
    rows = read_rows(part, source)
    n_used = len(rows.positions)
    if without is not None and without in rows.positions:
        others = np.flatnonzero(rows.positions != without)
        rows = replace(rows, values=take_rows(rows.values, others), positions=rows.positions[others])
    values = rows.values if npca is None or not len(rows.positions) else npca.transform(rows.values)
    fold = np.zeros(rows.n_images, int) if folds is None else folds
    fold = fold[np.isin(part.positions, rows.positions)]
    models = {}
    with name_errors(part):  # and of what is warned of nothing: it is said once, by the fit
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
        {part.number: (find_address(), n_used)},
        rows.notes,
    )


def score_unseen(part, source, unseen, whole, npca=None, folds=None, n_used=None):
    """Return the scores of a part's images by detectors that have not seen them, `Scored`.

    Minus infinity for an image beside which nothing is left of the others.

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
    seen = np.empty(0)
    if len(scores):
        seen = whole.score_samples(rows.values if npca is None else npca.transform(rows.values))
    return Scored(
        part.number,
        rows.positions,
        scores,
        rows.n_images,
        in_sample=float(np.square(seen).sum()),
        largest=max(scores.max(initial=-np.inf), seen.max(initial=-np.inf)),
    )


def score_all(part, source, detector):
    """Return the scores of a part's images by a fitted detector; NaN for images that cannot be used."""
    if source.front is None and source.extractor is not None:
        return _score_images(part, source, detector)
    rows = read_rows(part, source, keeps=False)
    scores = np.full(rows.n_images, np.nan)
    if len(rows.positions):
        scores[np.isin(part.positions, rows.positions)] = detector.score_samples(rows.values)
    positions = np.asarray(part.positions)
    return Scored(part.number, positions, scores, rows.n_images, rows.bad, rows.n_bad, rows.notes)


def _score_images(part, source, detector):
    """Return the same by a detector that takes images."""
    items = load_items(part)
    with name_errors(part) as notes:
        scores = detector.score_samples(items)
    odd = np.flatnonzero(np.isnan(scores))
    bad = explain_all(part, source, items, odd)
    return Scored(part.number, np.asarray(part.positions), scores, len(items), bad, len(odd), notes)


def gather(part, source):
    """Return the `Rows` of a part: for what takes all of a few images together."""
    return read_rows(part, source)
