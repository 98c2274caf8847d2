"""Scores of any outlier detector, skgad's or not: had, read, and checked. Higher is more normal."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ._masked import refuse_masked


def check_has_scores(parameter, estimator):
    """Raise TypeError unless an estimator has ``score_samples`` or ``decision_function``."""
    if not hasattr(estimator, "score_samples") and not hasattr(estimator, "decision_function"):
        raise TypeError(f"{parameter} must have score_samples or decision_function; {estimator!r} has neither.")


def read_scores(estimator, X):
    """Return a fitted detector's scores: ``score_samples``, else ``decision_function``.

    Raises
    ------
    TypeError
        If its scores have PyOD's sign.
    ValueError
        If `X` is a masked array.
    """
    refuse_masked("X", X)
    if hasattr(estimator, "score_samples"):
        return np.asarray(estimator.score_samples(X))
    refuse_other_sign(estimator)
    return np.asarray(estimator.decision_function(X))


def refuse_other_sign(estimator):
    """Raise TypeError if a fitted detector without ``score_samples`` shows by ``decision_scores_`` that it is PyOD's.

    PyOD's ``decision_function`` is higher for more anomalous images, and nothing else would tell.
    """
    last = estimator
    while isinstance(last, (Pipeline, FrozenEstimator)):
        last = last.steps[-1][1] if isinstance(last, Pipeline) else last.estimator
    if hasattr(last, "decision_scores_") and not hasattr(last, "score_samples"):
        raise TypeError(
            f"{last!r} has decision_scores_, so it is a detector in PyOD's manner, whose decision_function is higher "
            "for more anomalous images; here higher is more normal. Wrap it in an estimator whose score_samples(X) "
            "gives -detector.decision_function(X)."
        )


def check_scores(estimator, scores, rows):
    """Return scores as float64, or raise ValueError unless there is a finite one for each image.

    `rows` are the positions of the images in what the caller gave, for the error.
    """
    scores = check_shape(estimator, np.asarray(scores, dtype=np.float64), len(rows))
    if not np.isfinite(scores).all():
        odd = int(np.argmin(np.isfinite(scores)))
        raise ValueError(
            f"{estimator!r} gives the score {scores[odd]} to normal image {rows[odd]}; scores must be finite."
        )
    return scores


def check_shape(estimator, scores, n_samples):
    """Return scores, or raise ValueError unless there is one for each image."""
    if scores.shape != (n_samples,):
        raise ValueError(f"{estimator!r} gives scores of shape {scores.shape} for {n_samples} images; want one each.")
    return scores
