"""How well scores tell anomalous images from normal ones: over all thresholds, and at the one that was calibrated."""

from numbers import Real

import numpy as np
from sklearn import metrics
from sklearn.utils import Bunch

from ._checks import check_labels, check_share


def image_scores(y, scores, *, threshold=None, max_fpr=0.05):
    """Return how well scores find the anomalous images, over all thresholds and at one.

    Parameters
    ----------
    y : array-like of shape (n_images,)
        Labels, +1 (normal) or -1 (anomalous).
    scores : array-like of shape (n_images,)
        Higher is more normal, as ``score_samples`` gives them. For distances, give ``-distances``.
    threshold : float, default=None
        The detector's ``offset_``, calibrated on normal images: images whose score is below it are called anomalous.
        None leaves out what needs it.
    max_fpr : float in (0, 1], default=0.05
        For ``tpr``.

    Returns
    -------
    Bunch
        - ``roc_auc``, ``average_precision`` : float, the anomalous images being the positive ones;
        - ``tpr`` : float, the largest share of the anomalous images that is found at a false-positive rate of at most
          `max_fpr`, at a threshold that *the test images* tell;
        - ``f1_max`` : float, the largest F1 score at any threshold that the test images tell: an upper bound that no
          detector reaches, which does not know their labels;
        - ``f1``, ``recall``, ``precision``, ``fpr`` : float, at `threshold`; only if there is one. Precision is NaN
          where nothing is called anomalous;
        - ``n_normal``, ``n_anomalous`` : int.

    Raises
    ------
    ValueError
        If labels or scores cannot be used, all images are normal, or all anomalous, or a parameter is out of range.

    See Also
    --------
    pixel_scores : The same of pixels and regions.

    Examples
    --------
    >>> from skgad.metrics import image_scores
    >>> found = image_scores([1, 1, 1, -1, -1], [-1.0, -2.0, -6.0, -5.0, -9.0], threshold=-4.0)
    >>> round(found.roc_auc, 3), found.f1_max, found.recall, round(found.fpr, 3)
    (0.833, 0.8, 1.0, 0.333)
    """
    check_share("max_fpr", max_fpr)
    anomalous = check_labels(y) == -1
    distances = -_check_scores(scores, len(anomalous))
    n_anomalous = int(anomalous.sum())
    if n_anomalous in (0, len(anomalous)):
        kind = "anomalous" if n_anomalous else "normal"
        raise ValueError(f"All {len(anomalous)} images are {kind}: there is nothing to tell apart. Give both kinds.")
    fpr, tpr, _ = metrics.roc_curve(anomalous, distances, drop_intermediate=False)
    n_true, n_called = tpr * n_anomalous, tpr * n_anomalous + fpr * (len(anomalous) - n_anomalous)
    found = Bunch(
        roc_auc=float(metrics.roc_auc_score(anomalous, distances)),
        average_precision=float(metrics.average_precision_score(anomalous, distances)),
        tpr=float(tpr[fpr <= max_fpr].max()),
        f1_max=float((2 * n_true / (n_called + n_anomalous)).max()),
        n_normal=len(anomalous) - n_anomalous,
        n_anomalous=n_anomalous,
    )
    if threshold is not None:
        found.update(_rate_at(anomalous, distances, threshold))
    return found


def _rate_at(anomalous, distances, threshold):
    if not isinstance(threshold, Real) or isinstance(threshold, bool) or not np.isfinite(float(threshold)):
        raise ValueError(f"threshold must be a finite number, a detector's offset_; got {threshold!r}.")
    called = distances > -float(threshold)
    n_true, n_called, n_anomalous = int((called & anomalous).sum()), int(called.sum()), int(anomalous.sum())
    return {
        "f1": 2 * n_true / (n_called + n_anomalous),
        "recall": n_true / n_anomalous,
        "precision": n_true / n_called if n_called else float("nan"),
        "fpr": (n_called - n_true) / (len(anomalous) - n_anomalous),
    }


def _check_scores(scores, n_images):
    values = np.asarray(scores)
    if values.shape != (n_images,) or values.dtype.kind not in "iuf":
        raise ValueError(f"scores must hold a number for each of the {n_images} images; got shape {values.shape}.")
    if not np.isfinite(values).all():
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"scores[{position}] is {values[position]}: leave the image out of y and scores.")
    return values.astype(np.float64)
