r"""A distance as a sum over features.

A Mahalanobis distance :math:`M(x) = \lVert \Sigma^{-1/2} (x - \mu) \rVert` is homogeneous in the deviation
:math:`d = x - \mu`, so that by Euler's theorem

.. math:: M = \sum_k d_k \frac{\partial M}{\partial x_k}, \qquad \nabla M = \Sigma^{-1} d / M

exactly. Sums of distances are sums of such terms; a projection P in front has both factors pulled back by its
transpose, and :math:`P P^\top = 1` leaves the sum as it is.
"""

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._conventions._levels import split_name

_BY = {"level": ["level"], "cell": ["level", "cell"], "channel": ["level", "cell", "channel"]}


def explain(detector, X, *, by="cell", normals=None):
    """Return what the distance of each image is made of.

    Parameters
    ----------
    detector : estimator
        Fitted: a `MahalanobisDetector`, or a pipeline that ends in one, behind an extractor, `LevelSelector`, `NPCA` or
        ``LevelwiseTransformer(PCA(...))``; `FPRThresholdCV` or `FullConformalThreshold` around it, or the whole line.
    X : array-like, frame or sequence of images
        Whatever `detector` takes.
    by : {"level", "cell", "channel"}, default="cell"
        How finely the distance is split.
    normals : array-like, frame or sequence of images, default=None
        Normal images, for the one that is most similar to each.

    Returns
    -------
    pandas.DataFrame
        A row for each image and part of its distance, with the columns ``image``, the position in `X`; ``level``,
        ``cell`` ("" without a grid) and ``channel``, as far as `by` goes, named as the columns of the fit;
        ``contribution``, in units of distance; and ``share``, of the image's distance (0 of an image at the mean, whose
        distance is 0). The contributions of an image add up to minus its score. With `normals`, ``most_similar``, the
        position of the one at the smallest distance from the image, in the detector's own metric.

    Raises
    ------
    ValueError
        If `by` is unknown, or something in `detector` cannot be explained: says what can.

    Notes
    -----
    A contribution is a deviation times what the distance grows by along it. It may be negative: the part makes the
    image less unusual, given the others. Features that correlate share what they have in common between them in no
    unique way, and levels see each other's defects: a share tells where the distance arises, and is no probability that
    the defect is there. Channels of cells of a grid that overlap (the whole image and its quarters) share likewise.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skgad import MahalanobisDetector
    >>> from skgad.inspection import explain
    >>> names = [f"level{level}__{i:04d}" for level in (1, 2) for i in range(3)]
    >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 6)), columns=names)
    >>> detector = MahalanobisDetector(levels="joint").fit(X)
    >>> odd = X[:1] + [0, 0, 0, 0, 9, 0]
    >>> parts = explain(detector, odd, by="level")
    >>> parts["level"][parts["share"].idxmax()]
    'level2'
    >>> bool(np.isclose(parts["contribution"].sum(), -detector.score_samples(odd)[0]))
    True
    """
    if by not in _BY:
        raise ValueError(f"by must be one of {', '.join(map(repr, _BY))}; got {by!r}.")
    *steps, last = list_steps(detector)
    for number, front in enumerate(steps):
        is_extractor = number == 0 and getattr(front, "learns_nothing", False)
        if not is_extractor and not hasattr(front, "pull_back"):
            raise ValueError(f"{front!r} cannot be explained. {_WHAT_CAN}")
    if not hasattr(last, "deviations_and_gradients"):
        raise ValueError(f"{last!r} cannot be explained. {_WHAT_CAN}")
    rows, names = _transform(steps, X), _find_names(steps, last)
    deviations, gradients = last.deviations_and_gradients(rows)
    for step in reversed([step for step in steps if hasattr(step, "pull_back")]):
        deviations, gradients = step.pull_back(deviations), step.pull_back(gradients)
    table = _tabulate(deviations * gradients, names, by)
    if normals is not None:
        nearest = last.distances_between(rows, _transform(steps, normals)).argmin(axis=1)
        table["most_similar"] = nearest[table["image"]]
    return table


_WHAT_CAN = (
    "A MahalanobisDetector can, alone or behind an extractor, LevelSelector, NPCA and LevelwiseTransformer(PCA(...)), "
    "and inside FPRThresholdCV or FullConformalThreshold."
)


def list_steps(detector):
    """Return the fitted steps of a detector, those inside others too, in the order of the data."""
    if isinstance(detector, FrozenEstimator):
        return list_steps(detector.estimator)
    if isinstance(detector, Pipeline):
        check_is_fitted(detector)
        return [part for _, step in detector.steps if step not in (None, "passthrough") for part in list_steps(step)]
    if hasattr(detector, "estimator") and not hasattr(detector, "detectors"):
        check_is_fitted(detector)
        return list_steps(detector.estimator_) if hasattr(detector, "estimator_") else [detector]
    return [detector]


def _transform(steps, X):
    """Return what the last step gets."""
    for step in steps:
        X = step.transform(X)
    return X


def _find_names(steps, last):
    """Return the names of the columns that the first step behind the extractor has learnt, if they had any."""
    first = next((step for step in steps if hasattr(step, "pull_back")), last)
    return getattr(first, "feature_names_in_", None)


def _tabulate(terms, names, by):
    """Return the terms (n_samples, n_features), summed by part, as a tidy frame."""
    n_samples, n_features = terms.shape
    parts = pd.DataFrame(
        [("", "", index) for index in range(n_features)] if names is None else [split_name(name) for name in names],
        columns=_BY["channel"],
    )
    keys = parts[_BY[by]]
    numbers, unique = pd.factorize(pd.MultiIndex.from_frame(keys))
    sums = np.zeros((n_samples, len(unique)))
    np.add.at(sums.T, numbers, terms.T)
    table = (
        pd.DataFrame(unique.to_list(), columns=_BY[by])
        if by != "level"
        else pd.DataFrame([key[0] if isinstance(key, tuple) else key for key in unique], columns=["level"])
    )
    result = pd.concat([table] * n_samples, ignore_index=True)
    result.insert(0, "image", np.repeat(np.arange(n_samples), len(unique)))
    totals = sums.sum(axis=1, keepdims=True)
    result["contribution"] = sums.ravel()
    result["share"] = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0).ravel()
    return result
