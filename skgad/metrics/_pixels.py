"""The public functions: pixel ROC AUC, pixel average precision, per-region overlap.

A map's values are distances, so unlike scores they are *higher* for more anomalous pixels. A pixel is called anomalous
at a threshold if its value is at or above it.

All of them go through the images once, count the pixels by value (`_tally`) and take areas (`_areas`).
"""

from numbers import Real

import numpy as np
from sklearn.utils import Bunch

from ._areas import area_up_to, average_precision, largest_f1
from ._checks import check_share
from ._regions import read_pixels
from ._tally import MAX_CELLS, PixelTally

_LOW_FPR = 0.05  # of MVTec AD 2


def pixel_scores(masks, maps, *, y=None, max_fpr=0.3):
    """Return pixel ROC AUC, pixel average precision and PRO AUC from one pass over the images, with error bounds.

    Parameters
    ----------
    masks : iterable of array-like of shape (height, width)
        Where each image is anomalous: booleans, 0 and 1, or 0 and 255. None, or no anomalous pixel, is a normal image.
    maps : iterable of array-like of shape (height, width)
        The distance of each pixel, of the mask's size: higher is more anomalous. For maps of scores, give ``-map``.
        Values are compared as float64.
        Sizes may differ from image to image. Masks and maps may both be generators: one image is held at a time.
    y : array-like of shape (n_images,), default=None
        Labels of the images, +1 (normal) or -1 (anomalous), where they are known. The masks must agree with them, so
        that an anomalous image whose mask is missing does not count as a normal one.
    max_fpr : float in (0, 1], default=0.3
        The false-positive rate up to which the PRO curve is integrated.

    Returns
    -------
    Bunch
        - ``roc_auc``, ``average_precision``, ``pro_auc`` : float, as of the functions below;
        - ``pro_auc_5`` : float, the same as ``pro_auc`` up to a rate of 5 %, as MVTec AD 2 has it;
        - ``f1_max`` : float, the largest F1 score of pixels at any threshold: one that the masks tell, and no detector
          knows. See `pixel_f1_score` for the one that was calibrated;
        - ``roc_auc_error``, ... : float, by how much each can be off: 0.0 for up to 1,048,576 distinct values in all
          maps, which then are all told apart;
        - ``n_normal_pixels``, ``n_anomalous_pixels`` : int.

    Raises
    ------
    ValueError
        If a mask or a map cannot be used, or a mask does not agree with its label (the message names its position), if
        there are not as many of one as of the other, or if all pixels are normal, or all anomalous.
    TypeError
        If `masks` or `maps` cannot be iterated over, or has no order.

    See Also
    --------
    pixel_roc_auc_score, pixel_average_precision_score, pro_auc_score, pro_curve

    Notes
    -----
    Pixels are counted by value. Where the distinct values are more than fit, neighbouring ones are counted together,
    whatever the order of the images; the bounds follow from the counts and hold always, not on average. On
    1,000 maps of 1024 x 1024 float32 values they were below 1e-5 (``examples/bench_metrics.py``).

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import pixel_scores
    >>> mask = np.array([[0, 0, 1], [0, 0, 1]])
    >>> found = np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.35]])
    >>> scores = pixel_scores([None, mask], [np.zeros((2, 3)), found])
    >>> scores.roc_auc, scores.roc_auc_error
    (0.95, 0.0)
    """
    check_share("max_fpr", max_fpr)
    ranking = _rank(masks, maps, y)
    scores = Bunch(n_normal_pixels=int(ranking.normal[-1]), n_anomalous_pixels=int(ranking.anomalous[-1]))
    for name, (value, error) in {
        "roc_auc": _roc_auc(ranking),
        "average_precision": average_precision(ranking.normal, ranking.anomalous),
        "pro_auc": _pro_auc(ranking, max_fpr),
        "pro_auc_5": _pro_auc(ranking, _LOW_FPR),
        "f1_max": largest_f1(ranking.normal, ranking.anomalous),
    }.items():
        scores[name], scores[f"{name}_error"] = value, 0.0 if ranking.exact else error
    return scores


def pixel_roc_auc_score(masks, maps, *, y=None):
    """Return the area under the pixels' ROC curve: how often an anomalous pixel's distance exceeds a normal one's.

    Parameters
    ----------
    masks, maps, y : as of `pixel_scores`

    Returns
    -------
    float
        In [0, 1]. Ties count half. Every pixel of every image counts the same, so large anomalies dominate.

    Raises
    ------
    ValueError, TypeError
        As `pixel_scores` does.

    See Also
    --------
    pixel_scores : All figures in one pass, with bounds on their errors.
    pro_auc_score : Every region counts the same.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import pixel_roc_auc_score
    >>> mask = np.array([[0, 0, 1], [0, 0, 1]])
    >>> pixel_roc_auc_score([mask], [np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.35]])])
    0.875
    """
    return _roc_auc(_rank(masks, maps, y))[0]


def pixel_average_precision_score(masks, maps, *, y=None):
    """Return the pixels' average precision: precision, averaged over the anomalous pixels as they are found.

    Parameters
    ----------
    masks, maps, y : as of `pixel_scores`

    Returns
    -------
    float
        In (0, 1]. A random map gets the share of anomalous pixels. As in scikit-learn, without interpolation.

    Raises
    ------
    ValueError, TypeError
        As `pixel_scores` does.

    See Also
    --------
    pixel_scores : All figures in one pass, with bounds on their errors.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import pixel_average_precision_score
    >>> mask = np.array([[0, 0, 1], [0, 0, 1]])
    >>> round(pixel_average_precision_score([mask], [np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.35]])]), 4)
    0.8333
    """
    ranking = _rank(masks, maps, y)
    return average_precision(ranking.normal, ranking.anomalous)[0]


def pixel_f1_score(masks, maps, threshold, *, y=None):
    """Return the F1 score of pixels at a threshold that was calibrated: SegF1 of MVTec AD 2.

    Parameters
    ----------
    masks, maps : as of `pixel_scores`
    threshold : float
        The detector's ``pixel_threshold_``: pixels beyond it are called anomalous.
    y : array-like of shape (n_images,), default=None
        As of `pixel_scores`.

    Returns
    -------
    float
        In [0, 1], over the pixels of all images.

    Raises
    ------
    ValueError, TypeError
        As `pixel_scores` does, and if no pixel is anomalous or the threshold is no finite number.

    References
    ----------
    Heckler-Kram et al., "The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly Detection", 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import pixel_f1_score
    >>> mask = np.array([[0, 0, 1], [0, 0, 1]])
    >>> pixel_f1_score([mask], [np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.35]])], threshold=0.3)
    0.8
    """
    if not isinstance(threshold, Real) or isinstance(threshold, bool) or not np.isfinite(float(threshold)):
        raise ValueError(f"threshold must be a finite number, a detector's pixel_threshold_; got {threshold!r}.")
    n_true = n_called = n_anomalous = 0
    for normal, anomalous, _ in read_pixels(masks, maps, y):
        found = int((anomalous > threshold).sum())
        n_true, n_called = n_true + found, n_called + found + int((normal > threshold).sum())
        n_anomalous += len(anomalous)
    if not n_anomalous:
        raise ValueError("No pixel is anomalous, so there is nothing to find. Give the masks of anomalous images.")
    return 2 * n_true / (n_called + n_anomalous)


def pro_auc_score(masks, maps, *, y=None, max_fpr=0.3):
    """Return the area under the PRO curve up to a false-positive rate, divided by that rate.

    Parameters
    ----------
    masks, maps, y : as of `pixel_scores`
    max_fpr : float in (0, 1], default=0.3
        Where to stop; 0.3 in the papers. The curve is cut there on the straight line between its points.

    Returns
    -------
    float
        In [0, 1]. A random map gets ``max_fpr / 2``.

    Raises
    ------
    ValueError, TypeError
        As `pixel_scores` does; ValueError also if `max_fpr` does not lie in (0, 1].

    See Also
    --------
    pro_curve : The curve, and what a region is.
    pixel_scores : All figures in one pass, with bounds on their errors.

    References
    ----------
    P. Bergmann, M. Fauser, D. Sattlegger, C. Steger, "The MVTec Anomaly Detection Dataset", IJCV 129 (2021), section 4.
    O. Rippel, A. Chavan, C. Lei, D. Merhof, "Transfer Learning Gaussian Anomaly Detection by Fine-Tuning
    Representations" (2021), section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import pro_auc_score
    >>> mask = np.array([[0, 0, 1], [0, 0, 1]])
    >>> round(pro_auc_score([mask], [np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.35]])]), 4)
    0.5833
    """
    check_share("max_fpr", max_fpr)
    return _pro_auc(_rank(masks, maps, y), max_fpr)[0]


def pro_curve(masks, maps, *, y=None):
    """Return the per-region overlap at each false-positive rate.

    A *region* is a connected component of a mask, over the eight neighbours of a pixel. Its overlap is the share of its
    pixels that are called anomalous, and PRO is the mean over the regions of all images: a small region counts as much
    as a large one. The false-positive rate is the share of all normal pixels, those of anomalous images included, that
    are called anomalous.

    Parameters
    ----------
    masks, maps, y : as of `pixel_scores`

    Returns
    -------
    fpr : ndarray of shape (n_points,)
        False-positive rates, rising from 0 to 1.
    pro : ndarray of shape (n_points,)
        Per-region overlaps, rising from 0 to 1.
    thresholds : ndarray of shape (n_points,)
        Falling from infinity. A pixel counts as anomalous if its distance is at or above the threshold, so pixels of
        equal distance come together: one point.

    Raises
    ------
    ValueError, TypeError
        As `pixel_scores` does.

    See Also
    --------
    pro_auc_score : The area under it.
    sklearn.metrics.roc_curve : The same of pixels, or of images.

    Notes
    -----
    Every point is exact. Points on the inside of a level or an upright stretch are left out: they change no area.
    Beyond 1,048,576 distinct values others are left out too; `pixel_scores` tells by how much that can change an area.

    MVTec's evaluation of its 3D data set places a point at each normal pixel only, and tells tied ones apart, which
    takes overlap away from maps with ties. Without ties, the curves
    differ by at most one normal pixel, a step of ``1 / n_normal_pixels`` in the rate.

    References
    ----------
    P. Bergmann, M. Fauser, D. Sattlegger, C. Steger, "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised
    Anomaly Detection", CVPR 2019; the same, "Uninformed Students: Student-Teacher Anomaly Detection with Discriminative
    Latent Embeddings", CVPR 2020 (where the curve is from); "The MVTec Anomaly Detection Dataset", IJCV 129 (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.metrics import pro_curve
    >>> mask = np.array([[0, 0, 1], [0, 0, 1]])
    >>> fpr, pro, thresholds = pro_curve([mask], [np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.35]])])
    >>> fpr.tolist(), pro.tolist(), thresholds.tolist()
    ([0.0, 0.0, 0.25, 0.25, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0], [inf, 0.9, 0.4, 0.35, 0.1])
    """
    ranking = _rank(masks, maps, y)
    level, upright = np.diff(ranking.overlap) == 0, np.diff(ranking.normal) == 0
    inside = (level[1:] & level[:-1]) | (upright[1:] & upright[:-1])
    keep = np.concatenate([[True], ~inside, [True]])
    return (ranking.normal / ranking.normal[-1])[keep], ranking.overlap[keep], ranking.thresholds[keep]


def _roc_auc(ranking):
    return area_up_to(ranking.normal / ranking.normal[-1], ranking.anomalous / ranking.anomalous[-1])


def _pro_auc(ranking, max_fpr):
    return area_up_to(ranking.normal / ranking.normal[-1], ranking.overlap, max_fpr)


def _rank(masks, maps, y=None, max_cells=MAX_CELLS):
    """Return the ranking of all pixels of all images."""
    tally = PixelTally(max_cells)
    n_normal = n_anomalous = 0
    for normal, anomalous, shares in read_pixels(masks, maps, y):
        tally.add(normal, anomalous, shares)
        n_normal, n_anomalous = n_normal + len(normal), n_anomalous + len(anomalous)
    if not n_anomalous:
        raise ValueError(
            f"None of the {n_normal} pixels is anomalous, so there is nothing to find. Give the masks of anomalous "
            "images; None, or a mask without any anomalous pixel, marks a normal image."
        )
    if not n_normal:
        raise ValueError(
            f"All {n_anomalous} pixels are anomalous, so there are no false positives to count. Add normal images "
            "(mask None), or masks that leave something normal."
        )
    return tally.rank()
