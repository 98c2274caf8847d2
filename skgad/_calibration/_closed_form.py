"""Leave-one-out without refits, of a detector or of the pipeline that it ends: what is offered, and the scores.

A detector that leaves single rows out in closed form says so by ``leaves_out_in_closed_form()``, and does it in
``fit_score_out_of_fold``. In a pipeline it may stand behind steps that learn nothing (an extractor, a selection of
levels), and behind one projection whose rule it knows: ``find_cut()`` of the projection gives what it keeps, and
``score_left_out_behind`` of the detector selects the directions anew for each row. Rows that leave no digits to the
others are refitted.
"""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from .._conventions._scores import read_scores
from .._conventions._sklearn import safe_indexing


def is_offered(estimator):
    """Return whether a detector, or a pipeline, leaves single images out without refits."""
    return _find_tail(estimator) is not None


def fit_and_leave_one_out(estimator, X):
    """Fit a detector or pipeline on all images; return its scores of each by one that has not seen it, and by itself.

    Parameters
    ----------
    estimator : estimator
        For which `is_offered`; it is fitted.
    X : array-like, frame or sequence of length n_samples
        Normal images.

    Returns
    -------
    out_of_fold, in_sample : ndarray of shape (n_samples,)
    rows : array-like, frame or sequence
        What the steps that learn were fitted on.
    """
    rows = _fit_front(estimator, X)
    return *fit_tail(estimator, rows), rows


def fit_tail(estimator, rows):
    """Fit the steps that learn on their rows, and return the scores as `fit_and_leave_one_out` does."""
    if not isinstance(estimator, Pipeline):
        return estimator.fit_score_out_of_fold(rows, np.arange(_count(rows)))
    start, cut = _find_tail(estimator)
    tail = estimator[start:]
    if cut is None:
        return tail[-1].fit_score_out_of_fold(rows, np.arange(_count(rows)))
    n_components, leading = cut
    scores = clone(tail[-1]).score_left_out_behind(rows, n_components, leading=leading)
    tail.fit(rows, None)
    for row in np.flatnonzero(np.isnan(scores)):
        others = safe_indexing(rows, np.delete(np.arange(len(scores)), row))
        scores[row] = read_scores(clone(tail).fit(others, None), safe_indexing(rows, [row]))[0]
    return scores, read_scores(tail, rows)


def to_rows(estimator, X):
    """Return what the steps in front, which learn nothing, make of new images."""
    start = _find_tail(estimator)[0] if isinstance(estimator, Pipeline) else 0
    return estimator[:start].transform(X) if start else X


def learning_part(estimator):
    """Return a fitted detector, or the steps of its pipeline that learn: what takes such rows."""
    return estimator[_find_tail(estimator)[0] :] if isinstance(estimator, Pipeline) else estimator


def find_learnt_rows(estimator):
    """Return the rows that the steps that learn were fitted on, where the detector still has them; None elsewhere."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    _, cut = _find_tail(estimator)
    return last.learnt_rows() if cut is None and hasattr(last, "learnt_rows") else None


def with_new_tail(estimator):
    """Return a fitted detector or pipeline with the steps that learn made new; those in front are the same objects."""
    if not isinstance(estimator, Pipeline):
        return clone(estimator)
    start = _find_tail(estimator)[0]
    tail = [(name, clone(step)) for name, step in estimator.steps[start:]]
    return Pipeline([*estimator.steps[:start], *tail], memory=estimator.memory, verbose=estimator.verbose)


def _fit_front(estimator, X):
    """Fit the steps that learn nothing, and return what they make of the images, which go through them once."""
    start = _find_tail(estimator)[0] if isinstance(estimator, Pipeline) else 0
    if not start:
        return X
    if estimator.memory is None:  # then a part of a pipeline has the steps of the whole
        return estimator[:start].fit_transform(X, None)
    return estimator.fit(X, None)[:start].transform(X)


def learns_nothing(step):
    """Return whether a step of a pipeline gives the same whatever it was fitted on."""
    return getattr(step, "learns_nothing", False) or not get_tags(step).requires_fit


def _find_tail(estimator):
    """Return where the steps that learn begin, and what the projection among them keeps; None if it is not offered."""
    steps = [one for _, one in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    steps = [one for one in steps if one not in (None, "passthrough")]
    if not _leaves_out(steps[-1]) or (isinstance(estimator, Pipeline) and len(steps) < len(estimator.steps)):
        return None
    learning = [number for number, one in enumerate(steps) if not learns_nothing(one)]
    if learning == [len(steps) - 1]:
        return learning[0], None
    if learning != [len(steps) - 2, len(steps) - 1] or not hasattr(steps[-1], "score_left_out_behind"):
        return None
    find_cut = getattr(steps[-2], "find_cut", None)
    cut = None if find_cut is None else find_cut()
    return None if cut is None else (learning[0], cut)


def _leaves_out(detector):
    return hasattr(detector, "leaves_out_in_closed_form") and detector.leaves_out_in_closed_form()


def _count(X):
    return X.shape[0] if hasattr(X, "shape") else len(X)
