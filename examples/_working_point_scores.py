"""Distances for measure_working_point.py, of all levels, reductions and folds, fast.

A rotation changes no distance, so each level is turned into the span of its training rows first; then one
eigendecomposition of a fold's covariance serves PCA, both NPCA and no reduction, since the Gaussian of principal
components is diagonal. Leave-one-out, full conformal prediction and the joint Gaussian are the package's own;
`compare_with_skgad` checks the rest by it.
"""

from functools import partial

import numpy as np
import pandas as pd
from scipy import linalg
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from skgad import NPCA, FPRThresholdCV, FullConformalThreshold, LevelwiseTransformer, MahalanobisDetector

REDUCTIONS = {
    "none": (),
    "PCA 99 %": (partial(LevelwiseTransformer, PCA(0.99)),),
    "NPCA 1 %": (partial(NPCA, 0.01),),
    "NPCA 0.1 %": (partial(NPCA, 0.001),),
}
CUTS = {"PCA 99 %": (0.99, True), "NPCA 1 %": (0.01, False), "NPCA 0.1 %": (0.001, False)}
LEVEL, SUM = "level 7", "sum"
JOINT = "joint"  # no reduction, and one Gaussian over all levels in place of a sum
MODELS = (*REDUCTIONS, JOINT)


def pipeline(model):
    if model == JOINT:
        return MahalanobisDetector(levels="joint")
    return make_pipeline(*(make() for make in REDUCTIONS[model]), MahalanobisDetector())


class Level:
    """The rows of one level: training rows in at most as many coordinates as there are rows, and the others."""

    def __init__(self, train, others):
        self.n_features = train.shape[1]
        mean = train.mean(axis=0, dtype=np.float64)
        train, others = train - mean, others - mean
        self.rest = np.zeros(len(others))  # squared distance of the others from the span of the training rows
        if len(train) <= self.n_features:
            _, singular, axes = linalg.svd(train, full_matrices=False)
            axes = axes[singular > 1e-10 * singular[0]]
            turned = others @ axes.T
            self.rest = np.square(others - turned @ axes).sum(axis=1)
            train, others = train @ axes.T, turned
        self.train, self.others, self.scatter = train, others, train.T @ train

    def distances(self, learn, held_out, reductions, *, others=False, empirical=False):
        """Return for each reduction the squared distances to the Gaussian of some training rows.

        A dict of (squares of the held-out rows, squares of the others or None, number of features).
        """
        left = np.setdiff1d(np.arange(len(self.train)), learn, assume_unique=True)
        out, n = self.train[left], len(learn)
        mean = -out.sum(axis=0) / n  # the training rows have mean zero
        covariance = (self.scatter - out.T @ out) / n - np.outer(mean, mean)
        variances, axes = linalg.eigh(covariance, driver="evd", check_finite=False, overwrite_a=True)
        variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
        own = np.square((self.train[learn] - mean) @ axes)
        asked = np.square((self.train[held_out] - mean) @ axes)
        new = np.square((self.others - mean) @ axes) if others else None
        result = {}
        for reduction in reductions:
            kept = self._kept(reduction, variances, n)
            n_features = self.n_features if reduction == "none" else kept.stop - kept.start
            spread, floor = variances[kept], 0.0
            if not empirical:
                shrinkage = _shrinkage(spread, own[:, kept].sum(axis=1), n, n_features)
                floor = shrinkage * spread.sum() / n_features
                spread = (1 - shrinkage) * spread + floor
            elif n <= n_features:
                continue
            weights = 1 / spread
            squares = new[:, kept] @ weights if others else None
            if others and reduction == "none" and not empirical:
                squares += self.rest / floor
            result[reduction] = asked[:, kept] @ weights, squares, n_features
        return result

    def _kept(self, reduction, variances, n):
        if reduction == "none":
            return slice(0, len(variances))
        n_found = int(np.count_nonzero(variances > max(n, self.n_features) * np.finfo(float).eps * variances[0]))
        ratios = np.cumsum(variances[:n_found] / variances[:n_found].sum())
        share = {"PCA 99 %": 0.99, "NPCA 1 %": 1 - 0.01, "NPCA 0.1 %": 1 - 0.001}[reduction]
        crossing = int(np.searchsorted(ratios, share, side="right"))
        return slice(0, crossing + 1) if reduction.startswith("PCA") else slice(min(crossing + 1, n_found - 1), n_found)


def two_folds(n, n_folds):
    """Return what `FPRThresholdCV` checks the stability of a fit by: two folds, their images, and all other images."""
    folds = [test for _, test in KFold(n_folds).split(np.arange(n))]
    chosen = folds[0], folds[n_folds // 2]
    pair = np.concatenate(chosen)
    return chosen, pair, np.setdiff1d(np.arange(n), pair)


def score_split(features, groups, train, others):
    """Return all distances of a split, summed over the levels and of level 7.

    Parameters
    ----------
    features : ndarray of shape (n_images, n_features)
    groups : dict of str to slice
        The columns of each level.
    train, others : ndarray of int
        Positions; the others are held-out normal and anomalous images.

    Returns
    -------
    dict of str to ndarray
        "sum/NPCA 1 %/loo" and the like. ``dof`` has one entry a level.
    """
    parts = {}
    for name, columns in groups.items():
        _score_level(parts, name, features[train, columns], features[others, columns])
    names = [f"{name}__{i}" for name, columns in groups.items() for i in range(columns.start, columns.stop)]
    frames = [pd.DataFrame(features[rows], columns=names) for rows in (train, others)]
    _score_joint(parts, *frames)
    for key, model, columns in (
        (f"{SUM}/none", MahalanobisDetector(), names),
        (f"{LEVEL}/none", MahalanobisDetector(), names[groups["level7"]]),
        (f"{SUM}/{JOINT}", pipeline(JOINT), names),
    ):
        detector = FullConformalThreshold(model, fpr=0.5).fit(frames[0][columns])
        parts[f"{key}/full conformal"] = detector.p_values(frames[1][columns])
    return {key: np.concatenate(value) if key.endswith("dof") else value for key, value in parts.items()}


def _score_level(parts, name, train, others):
    level, n = Level(train, others), len(train)
    everything, half = np.arange(n), n // 2

    def add(reduction, what, values):
        for levels in (SUM, LEVEL) if name == "level7" else (SUM,):
            key = f"{levels}/{reduction}/{what}"
            parts[key] = [*parts.get(key, []), values] if what == "dof" else parts.get(key, 0.0) + values

    def out_of_fold(folds, reductions):
        result = {reduction: np.empty(n) for reduction in reductions}
        for learn, held_out in folds:
            for reduction, (squares, *_) in level.distances(learn, held_out, reductions).items():
                result[reduction][held_out] = np.sqrt(squares)
        return result

    for reduction, (inside, new, dof) in level.distances(everything, everything, REDUCTIONS, others=True).items():
        add(reduction, "in sample", np.sqrt(inside))
        add(reduction, "others", np.sqrt(new))
        add(reduction, "dof", [dof])
    halves = level.distances(everything[:half], everything[half:], REDUCTIONS, others=True)
    for reduction, (calibration, new, _) in halves.items():
        add(reduction, "split", np.sqrt(calibration))
        add(reduction, "others by half", np.sqrt(new))
    if name == "level7":
        plain = level.distances(everything, everything, REDUCTIONS, others=True, empirical=True)
        for reduction, (_, new, _) in plain.items():
            parts[f"{LEVEL}/{reduction}/others, empirical"] = np.sqrt(new)
    for n_folds in (5, 20):
        for reduction, values in out_of_fold(KFold(n_folds).split(everything), REDUCTIONS).items():
            add(reduction, f"{n_folds} folds", values)
        _, pair, learn = two_folds(n, n_folds)
        for reduction, (squares, *_) in level.distances(learn, pair, REDUCTIONS).items():
            add(reduction, f"{n_folds} folds, two out", np.sqrt(squares))
    for reduction, (keeps, leading) in CUTS.items():
        behind = MahalanobisDetector().score_left_out_behind(train, keeps, leading=leading)
        add(reduction, "leave-one-out", -behind)
    add("none", "leave-one-out", -MahalanobisDetector().fit(train).leave_one_out_scores(train))


def _score_joint(parts, train, others):
    """Add the distances to the joint Gaussian."""
    n, key = len(train), f"{SUM}/{JOINT}"
    detector = pipeline(JOINT)
    left_out, inside = detector.fit_score_out_of_fold(train, np.arange(n))
    parts[f"{key}/leave-one-out"], parts[f"{key}/in sample"] = -left_out, -inside
    parts[f"{key}/others"], parts[f"{key}/dof"] = -detector.score_samples(others), [[train.shape[1]]]
    half = pipeline(JOINT).fit(train[: n // 2])
    parts[f"{key}/split"] = -half.score_samples(train[n // 2 :])
    parts[f"{key}/others by half"] = -half.score_samples(others)
    for n_folds in (5, 20):
        values = np.empty(n)
        for learn, held_out in KFold(n_folds).split(train):
            values[held_out] = -pipeline(JOINT).fit(train.iloc[learn]).score_samples(train.iloc[held_out])
        parts[f"{key}/{n_folds} folds"] = values
        _, pair, learn = two_folds(n, n_folds)
        parts[f"{key}/{n_folds} folds, two out"] = (
            -pipeline(JOINT).fit(train.iloc[learn]).score_samples(train.iloc[pair])
        )


def compare_with_skgad(frame, train, others, scores):
    """Return the largest relative difference of these distances from those of the package, over the reductions."""
    worst = 0.0
    for reduction in MODELS:
        detector = FPRThresholdCV(pipeline(reduction), fpr=0.2, cv=5).fit(frame.iloc[train])
        pairs = [
            (detector.out_of_fold_scores_, scores[f"sum/{reduction}/5 folds"]),
            (detector.score_samples(frame.iloc[others]), scores[f"sum/{reduction}/others"]),
        ]
        worst = max(worst, *(np.abs(-theirs / ours - 1).max() for theirs, ours in pairs))
    return worst


def _shrinkage(variances, squared_norms, n_samples, n_features):
    """Return the intensity of Ledoit and Wolf, from the variances along the axes and the squared norms of the rows."""
    norm = np.square(variances).sum()
    noise = (np.square(squared_norms).mean() - norm) / (n_samples * n_features)
    signal = norm / n_features - (variances.sum() / n_features) ** 2
    return min(max(noise, 0.0) / signal, 1.0) if signal > 0 else 0.0
