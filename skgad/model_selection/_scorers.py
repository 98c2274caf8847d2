"""Scorers: callables ``(estimator, X, y) -> float``, higher is better, for ``scoring=`` of a search.

Each takes labels +1 (normal) and -1 (anomalous), refuses all others, and has the anomalies as its positive class where
that matters: scikit-learn's own ``scoring="average_precision"`` would rate how well *normal* images are found.
"""

import numpy as np
from sklearn import metrics

from .._conventions._labels import check_labels
from .._conventions._parameters import check_share
from .._conventions._scores import read_scores


def auroc_scorer(estimator, X, y):
    """Return the area under the ROC curve: the probability that an anomalous image scores below a normal one.

    Parameters
    ----------
    estimator : fitted outlier detector
        Higher scores are more normal.
    X : array-like, frame or sequence of length n_samples
        What it takes.
    y : array-like of shape (n_samples,)
        +1 (normal) and -1 (anomalous), both kinds.

    Returns
    -------
    float
        1 for a perfect ranking, about 0.5 for a random one.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import MahalanobisDetector
    >>> from skgad.model_selection import auroc_scorer
    >>> X, y = np.array([[0.0], [1.0], [0.4], [9.0]]), [1, 1, 1, -1]
    >>> auroc_scorer(MahalanobisDetector().fit(X, y), X, y)
    1.0
    """
    anomalous, distances = _read(estimator, X, y)
    return float(metrics.roc_auc_score(anomalous, distances))


def average_precision_scorer(estimator, X, y):
    """Return the average precision of the anomalies, with the lowest scores ranked first.

    Its level depends on the share of anomalies: a random ranking gets just that share.

    Parameters
    ----------
    estimator : fitted outlier detector
        Higher scores are more normal.
    X : array-like, frame or sequence of length n_samples
        What it takes.
    y : array-like of shape (n_samples,)
        +1 (normal) and -1 (anomalous), both kinds.

    Returns
    -------
    float
        At most 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import MahalanobisDetector
    >>> from skgad.model_selection import average_precision_scorer
    >>> X, y = np.array([[0.0], [1.0], [0.4], [9.0]]), [1, 1, 1, -1]
    >>> average_precision_scorer(MahalanobisDetector().fit(X, y), X, y)
    1.0
    """
    anomalous, distances = _read(estimator, X, y)
    return float(metrics.average_precision_score(anomalous, distances))


def neg_fpr_at_tpr_scorer(estimator, X, y, *, tpr=0.95):
    """Return minus the share of normal images called anomalous at the threshold that finds a share of the anomalies.

    Parameters
    ----------
    estimator : fitted outlier detector
        Higher scores are more normal.
    X : array-like, frame or sequence of length n_samples
        What it takes.
    y : array-like of shape (n_samples,)
        +1 (normal) and -1 (anomalous), both kinds.
    tpr : float in (0, 1], default=0.95
        The share of the anomalies that must be found. ``functools.partial`` fixes another one for ``scoring=``.

    Returns
    -------
    float
        From -1 to 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import MahalanobisDetector
    >>> from skgad.model_selection import neg_fpr_at_tpr_scorer
    >>> X, y = np.array([[0.0], [1.0], [0.4], [0.9]]), [1, 1, 1, -1]
    >>> round(neg_fpr_at_tpr_scorer(MahalanobisDetector().fit(X, y), X, y), 2)
    -0.67
    """
    check_share("tpr", tpr, closed=True)
    anomalous, distances = _read(estimator, X, y)
    ranked = np.sort(distances[anomalous])[::-1]
    threshold = ranked[int(np.ceil(tpr * len(ranked) - 1e-9)) - 1]
    return -float(np.mean(distances[~anomalous] >= threshold))


def partial_auroc_scorer(estimator, X, y, *, max_fpr=0.1):
    """Return the area under the ROC curve up to a false-positive rate, standardised to [0.5, 1] for better than chance.

    Parameters
    ----------
    estimator : fitted outlier detector
        Higher scores are more normal.
    X : array-like, frame or sequence of length n_samples
        What it takes.
    y : array-like of shape (n_samples,)
        +1 (normal) and -1 (anomalous), both kinds.
    max_fpr : float in (0, 1], default=0.1
        Where to stop. McClish's standardisation, as in scikit-learn.

    Returns
    -------
    float
        1 for a perfect ranking, about 0.5 for a random one.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import MahalanobisDetector
    >>> from skgad.model_selection import partial_auroc_scorer
    >>> X, y = np.array([[0.0], [1.0], [0.4], [9.0]]), [1, 1, 1, -1]
    >>> partial_auroc_scorer(MahalanobisDetector().fit(X, y), X, y)
    1.0
    """
    check_share("max_fpr", max_fpr, closed=True)
    anomalous, distances = _read(estimator, X, y)
    return float(metrics.roc_auc_score(anomalous, distances, max_fpr=max_fpr))


def _read(estimator, X, y):
    """Return which images are anomalous, and minus the estimator's scores."""
    y = check_labels(y)
    if len(set(y)) < 2:
        raise ValueError(f"Both normal (+1) and anomalous (-1) images are needed to score; all labels are {y[0]}.")
    scores = read_scores(estimator, X)
    if np.isnan(scores).any():
        raise ValueError(f"{estimator!r} gives NaN to image {np.argmax(np.isnan(scores))}; scores must be numbers.")
    return y == -1, -scores
