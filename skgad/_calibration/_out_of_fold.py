"""Scores of images by detectors that have not seen them: which images are left out together, and who scores them.

A detector that can leave images out more cheaply than by refits says so by a method

``fit_score_out_of_fold(X, fold)``
    `fold` holds an int for each image; images that share it are left out together. The detector is fitted on all
    images, and returns two arrays of shape (n_samples,): the score of each image by a detector fitted without its fold,
    and its score by the detector fitted on all. It returns NotImplemented where it has no cheaper way for such folds.
    Metadata that its ``fit`` asks for come as keywords.

Both arrays come from one call since a detector that streams over images can score them twice in one pass. Whatever
lacks the method, a pipeline for instance, is cloned and refitted for each fold.
"""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, LeaveOneOut, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from .._conventions._masked import refuse_masked
from .._conventions._parameters import check_splitter
from .._conventions._scores import check_scores, check_shape, read_scores
from .._conventions._sklearn import safe_indexing, slice_metadata
from .._conventions._warnings import warn
from ..exceptions import WorkingPointWarning
from ._closed_form import fit_and_leave_one_out, is_offered

_FOLDS = 20
_FEWEST_FOLDS = 5  # without two of fewer folds, a fit tells nothing about one of all images


class OutOfFold(NamedTuple):
    """A detector fitted on all normal images, their scores by it and by others, and what these tell."""

    estimator: Any  # a clone
    out_of_fold: np.ndarray  # of shape (n_normals,)
    in_sample: np.ndarray
    # by how much the scores of new images rise, on average, from the models of the folds to the one of all images, as
    # far as a further fit tells; NaN where there is none
    drift: float
    rows: Any  # what the steps that learn were fitted on, where single images were left out in closed form; or None


def is_frozen(estimator):
    """Return whether a detector is to be taken as it is, fitted on other images: a `FrozenEstimator`.

    Raises
    ------
    ValueError
        If one step of a pipeline is frozen, and another would be fitted anew; or, as a NotFittedError, if what is
        frozen was never fitted.
    """
    if isinstance(estimator, Pipeline):
        *before, (_, last) = estimator.steps
        if not is_frozen(last):
            _refuse_frozen(before)
            return False
        for name, step in before:
            if step not in (None, "passthrough") and get_tags(step).requires_fit and not is_frozen(step):
                raise ValueError(
                    f"estimator is a pipeline with a frozen last step, and step {name!r}, which would be fitted anew "
                    "under it. Freeze the whole fitted pipeline, FrozenEstimator(pipeline), or nothing of it."
                )
        return True
    if not isinstance(estimator, FrozenEstimator):
        return False
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise NotFittedError(
            f"estimator={estimator!r} is frozen, but was never fitted. Fit it on other normal images than those that "
            "calibrate it; or pass it without FrozenEstimator, and it is fitted here."
        ) from error
    return True


def _refuse_frozen(steps):
    """Refuse frozen steps that learnt: had they learnt from these images, no score would be out of fold."""
    for name, step in steps:
        if isinstance(step, FrozenEstimator) and get_tags(step).requires_fit:
            raise ValueError(
                f"estimator is a pipeline whose step {name!r} is frozen, and whose last step would be fitted in folds: "
                "what the frozen step has learnt from these images would not be left out. Freeze the whole fitted "
                "pipeline, FrozenEstimator(pipeline), or nothing of it."
            )


def number_groups(groups, n_samples, rows):
    """Return the number of the group of each image in `rows`: from 0, without gaps, an int array."""
    refuse_masked("groups", groups)
    groups = np.asarray(groups)
    if groups.shape != (n_samples,):
        raise ValueError(f"groups must hold one group an image, shape ({n_samples},); got shape {groups.shape}.")
    numbers, _ = pd.factorize(groups[rows])
    if (numbers < 0).any():
        raise ValueError(f"groups has a missing value at image {rows[np.argmin(numbers)]}; give it a group.")
    return numbers


def choose_cv(cv, estimator, *, grouped):
    """Return what cv=None means: leave-one-out where that takes no refits, twenty folds elsewhere; else `cv`."""
    if cv is not None:
        return cv
    return "loo" if not grouped and is_offered(estimator) else _FOLDS


def find_splitter(cv, n_groups, *, grouped):
    """Return the splitter that `cv` means for so many images, or groups of them; None for "loo"."""
    if isinstance(cv, str):
        _check_word(cv, grouped)
        return None
    check_splitter(cv)
    if not counts_folds(cv):
        return check_cv(cv)
    if cv > n_groups:
        what = "groups of normal images: n_groups" if grouped else "normal images: n_samples"
        raise ValueError(
            f"cv={cv} asks for more folds than there are {what} = {n_groups}. Lower cv, {n_groups} at most, or give "
            f"more {'groups' if grouped else 'images'}."
        )
    return GroupKFold(cv) if grouped else check_cv(cv)


def find_consumer(cv):
    """Return the splitter that metadata such as groups can go to; None for a word, a number, a list of folds."""
    return cv if hasattr(cv, "split") and not isinstance(cv, (str, type)) else None


def counts_folds(cv):
    """Return whether `cv` is a number of folds."""
    return isinstance(cv, Integral) and not isinstance(cv, bool)


def list_folds(splitter, normals, metadata):
    """Return the folds of a splitter as a list of positions among the normal images."""
    folds = splitter.split(normals.X, np.ones(len(normals), dtype=int), **metadata)
    return [(_read_positions(train), _read_positions(test)) for train, test in folds]


def _read_positions(part):
    """Return a part of a fold as an array of positions; a mask will do."""
    part = np.asarray(part)
    if part.dtype == bool:
        return np.flatnonzero(part)
    if part.size and not np.issubdtype(part.dtype, np.integer):
        raise ValueError(f"cv must give the positions of images, as ints, or masks; got {part.dtype}.")
    return part.astype(np.intp)


def fit_and_score(estimator, normals, folds, groups, *, metadata, n_jobs, verbose, check_drift=True):
    """Fit a detector on all normal images, and score each by one that has not seen its fold.

    Parameters
    ----------
    estimator : estimator
        Not a frozen one.
    normals : Normals
    folds : list of (train, test), or None
        Positions among them. None leaves out one image at a time.
    groups : ndarray of int of shape (n_normals,) or None
        No group may fall on both sides of a fold.
    metadata : dict
        What goes to each ``fit``; arrays of a value an image go with their images.
    n_jobs, verbose : int or None, int
        Of joblib.
    check_drift : bool, default=True
        Whether to spend a further fit on `drift`.

    Returns
    -------
    OutOfFold
    """
    X, n_samples = normals.X, len(normals)
    fold = np.arange(n_samples) if folds is None else number_folds(folds, n_samples, groups)
    fitted = clone(estimator)
    scores: Any = NotImplemented
    rows = None
    if folds is None and not metadata and is_offered(fitted):
        *scores, rows = fit_and_leave_one_out(fitted, X)
    elif fold is not None and hasattr(fitted, "fit_score_out_of_fold"):
        scores = fitted.fit_score_out_of_fold(X, fold, **metadata)
    refit = scores is NotImplemented
    if refit:
        in_sample = read_scores(fitted.fit(X, None, **metadata), X)  # first: its errors count rows as the caller does
        singles = list(LeaveOneOut().split(np.empty(n_samples))) if folds is None else folds
        scores = _refit(estimator, X, singles, metadata, n_jobs, verbose), in_sample
    out_of_fold, in_sample = (check_scores(estimator, one, normals.rows) for one in scores)
    checks = check_drift and refit and folds is not None
    drift = _measure_drift(clone(estimator), X, folds, metadata, out_of_fold) if checks else np.nan
    return OutOfFold(fitted, out_of_fold, in_sample, drift, rows)


def inflation(out_of_fold, in_sample):
    """Return the ratio of mean squared distances, NaN where the scores are not minus a distance."""
    inside = np.mean(np.square(in_sample))
    if max(out_of_fold.max(), in_sample.max()) > 0 or inside == 0:
        return np.nan
    return float(np.mean(np.square(out_of_fold)) / inside)


def _check_word(cv, grouped):
    if cv == "loo" and grouped:
        raise ValueError(
            "cv='loo' leaves single images out, and their groups would stay in. With groups, pass "
            "cv=LeaveOneGroupOut(), which refits, or a number of folds."
        )
    if cv != "loo":
        hint = "; for a detector that is fitted already, pass FrozenEstimator(detector)" if cv == "prefit" else ""
        raise ValueError(f"cv must be an int, 'loo', a splitter or an iterable of folds{hint}; got {cv!r}.")


def _refit(estimator, X, folds, metadata, n_jobs, verbose):
    tasks = (delayed(_score_fold)(clone(estimator), X, train, test, metadata) for train, test in folds)
    scores = np.concatenate(Parallel(n_jobs=n_jobs, verbose=verbose)(tasks))
    result = np.empty(len(scores))
    result[np.concatenate([test for _, test in folds])] = scores
    return result


def _measure_drift(estimator, X, folds, metadata, scores):
    """Return by how much the scores of two folds rise when only their own fold is left out, instead of both.

    From the models of the folds to the final one, which learns from a fold more, they rise by about as much again.
    """
    if len(folds) < _FEWEST_FOLDS:
        return np.nan
    (train, first), (_, second) = folds[0], folds[len(folds) // 2]
    both = np.concatenate([first, second])
    try:
        _fit_rows(estimator, X, np.setdiff1d(train, second), metadata)
        return float(np.mean(scores[both] - read_scores(estimator, safe_indexing(X, both))))
    except Exception as error:  # a check only; detectors raise what they like on few images
        warn(
            f"fpr may not hold: without two folds the detector cannot be fitted ({error}), so the models of the folds "
            "tell little about the final one. Take more folds, or cv='loo'.",
            WorkingPointWarning,
        )
        return np.nan


def _score_fold(estimator, X, train, test, metadata):
    _fit_rows(estimator, X, train, metadata)
    return check_shape(estimator, read_scores(estimator, safe_indexing(X, test)), len(test))


def _fit_rows(estimator, X, rows, metadata):
    estimator.fit(safe_indexing(X, rows), None, **slice_metadata(X, metadata, rows))


def number_folds(folds, n_samples, groups):
    """Return the number of each image's fold; None where some fold leaves images out that it does not test."""
    tests = np.zeros(n_samples, dtype=int)
    fold = np.empty(n_samples, dtype=int)
    whole = True
    for number, (train, test) in enumerate(folds):
        learnt = _check_fold(number, train, test, n_samples, groups)
        tests += np.bincount(test, minlength=n_samples)
        fold[test] = number
        whole &= np.count_nonzero(learnt) + len(test) == n_samples
    if not (tests == 1).all():
        odd = int(np.argmax(tests != 1))
        raise ValueError(
            f"cv must test each normal image once; image {odd} of {n_samples} is tested {tests[odd]} times."
        )
    return fold if whole else None


def _check_fold(number, train, test, n_samples, groups):
    """Return which images the fold learns from, as a mask, or raise ValueError if it is no fold of these images."""
    if not len(train) or not len(test):
        part = "test" if len(train) else "training"
        raise ValueError(f"Fold {number} of cv is without normal images in its {part} part; use fewer folds.")
    if max(np.max(train), np.max(test)) >= n_samples or min(np.min(train), np.min(test)) < 0:
        raise ValueError(
            f"Fold {number} of cv gives positions beyond the {n_samples} normal images; rows at -1 are left out before "
            "cv, and positions count from 0."
        )
    learnt = np.zeros(n_samples, dtype=bool)
    learnt[train] = True
    if learnt[test].any():
        raise ValueError(
            f"In fold {number} of cv, training and test images overlap; these scores would not be out of fold."
        )
    if groups is not None and np.intersect1d(groups[train], groups[test]).size:
        raise ValueError(
            f"Fold {number} of cv has images of one group in training and in test; pass an int, GroupKFold or "
            "LeaveOneGroupOut, which keep groups together."
        )
    return learnt
