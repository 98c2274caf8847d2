"""From features to distances: the paper's Gaussians and compressions, each level and their sum.

One eigendecomposition a level serves every ratio: it turns the features into their principal components, of which each
compression keeps some. A rotation changes no Mahalanobis distance, Ledoit and Wolf's shrinkage included.
"""

from typing import NamedTuple

import numpy as np

from .._conventions._levels import group_columns, level_number
from .._conventions._scores import read_scores
from .._detectors._mahalanobis import MahalanobisDetector
from .._detectors._npca import NPCA
from ._published import AUGMENTED

SUM = "sum"
_COVARIANCES = {"L2": "identity", "SED": "diagonal", "Mahalanobis": "ledoit_wolf"}

# What is kept of the principal components, and the share of the variance that decides it.
COMPRESSIONS = {
    "PCA 99 %": ("leading", 0.99),
    "PCA 95 %": ("leading", 0.95),
    "NPCA 1 %": ("trailing", 1 - 0.01),
    "NPCA 0.1 %": ("trailing", 1 - 0.001),
    "NPCA 0.01 %": ("trailing", 1 - 0.0001),
}
_AUGMENTED_COMPRESSIONS = ("PCA 99 %", "NPCA 1 %")


class Row(NamedTuple):
    """The distances of the test images by one method at one level."""

    method: str
    level: str  # "1", ..., or "sum"
    n_features: int  # degrees of freedom of the distance; 0 where it follows no law
    distances: np.ndarray  # (n_test,), higher is more anomalous


def score_gaussians(train, test):
    """Return the rows of L2, SED and Mahalanobis distance (Table I).

    L2 and SED were averaged, not summed, over the features before the square root: a factor that only the sum sees.

    Parameters
    ----------
    train, test : DataFrame of shape (n_images, n_features)

    Returns
    -------
    list of Row
    """
    rows = []
    for method, covariance in _COVARIANCES.items():
        detector = MahalanobisDetector(covariance).fit(train)
        averaged = method != "Mahalanobis"
        rows += _read_rows(method, detector.transform(test), averaged=averaged)
    return rows


def score_compressions(train, test):
    """Return the rows of PCA and negated PCA, as published (Table III)."""
    rotation = NPCA(1.0, rule="published").fit(train)
    return _score_kept(rotation, COMPRESSIONS, [rotation.transform(train)], rotation.transform(test), "")


def score_augmented(make_blocks, test):
    """Return the rows of the Gaussian, alone, behind PCA 99 % and behind NPCA 1 %, of pooled passes (Tables IV, V).

    The passes are gone through twice: for the components, then for the Gaussians of what is kept of them. Neither needs
    more than a block in memory, and both are exact.

    Parameters
    ----------
    make_blocks : callable
        Returns an iterator over frames: the features of all passes, some rows at a time.
    test : DataFrame
    """
    rotation, detector = NPCA(1.0, rule="published"), MahalanobisDetector()
    for block in make_blocks():
        rotation.partial_fit(block)
        detector.partial_fit(block)
    rows = _read_rows("Mahalanobis" + AUGMENTED, detector.transform(test))
    kept = {name: COMPRESSIONS[name] for name in _AUGMENTED_COMPRESSIONS}
    blocks = (rotation.transform(block) for block in make_blocks())
    return rows + _score_kept(rotation, kept, blocks, rotation.transform(test), AUGMENTED)


def score_detector(name, detector, train, test):
    """Return the row of an outlier detector, higher score = more normal, on all levels together: its own sum."""
    distances = -read_scores(detector.fit(train), test)
    return [Row(name, SUM, 0, np.asarray(distances, dtype=np.float64))]


def find_kept(variances, end, share):
    """Return the slice of the principal components that the published numbers kept.

    With k the first zero-based index at which the cumulative share of the variance exceeds `share`, leading ones are 0
    to k, trailing ones k - 1 and later.

    Parameters
    ----------
    variances : ndarray of shape (n_components,)
        In decreasing order.
    end : {"leading", "trailing"}
    share : float in (0, 1)
    """
    crossing = int(np.searchsorted(np.cumsum(variances / variances.sum()), share, side="right"))
    return slice(0, crossing + 1) if end == "leading" else slice(max(crossing - 1, 0), len(variances))


def _score_kept(rotation, compressions, train, test, suffix):
    """Return the rows of Gaussians of some of the components, learnt from blocks of rotated features."""
    positions = np.arange(test.shape[1])
    groups = [positions[columns] for columns in group_columns(test.columns, test.shape[1]).values()]
    kept, detectors = {}, {}
    for name, (end, share) in compressions.items():
        pairs = zip(groups, rotation.explained_variance_, strict=True)
        kept[name] = np.concatenate([columns[find_kept(variances, end, share)] for columns, variances in pairs])
        detectors[name] = MahalanobisDetector()
    for block in train:
        for name, detector in detectors.items():
            detector.partial_fit(block.iloc[:, kept[name]])
    rows = []
    for name, detector in detectors.items():
        rows += _read_rows(name + suffix, detector.transform(test.iloc[:, kept[name]]))
    return rows


def _read_rows(method, distances, averaged=False):
    """Return a row for each level of a frame of distances, and one for the sum."""
    rows, total = [], np.zeros(len(distances))
    for column in distances.columns:
        level, law = column.rsplit("__", 1)
        n_features = int("".join(filter(str.isdigit, law)))
        values = distances[column].to_numpy()
        rows.append(Row(method, str(level_number(level)), n_features, values))
        total += values / np.sqrt(n_features) if averaged else values
    return [*rows, Row(method, SUM, 0, total)]
