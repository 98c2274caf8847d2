"""Can levels and NPCA ratio be chosen from normal images only?

The criterion (the idea of the fine-tuning paper, section 4): cross-validated AUROC of normal images against mildly
altered normal images. Each fold is fitted on normals, and judges held-out normals against altered copies of them. The
choice is compared with the best choice in hindsight (by test labels) and with always taking all levels and NPCA 1 %.

Run with ``SKGAD_IMAGE_FOLDERS=… python examples/measure_selection.py``; ELPV comes from the extra ``demo``, further
sets from a folder of folders in the MVTec layout. Fifteen minutes on two CPU cores.
"""

import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
from joblib import Memory
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, train_test_split
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad.datasets import load_elpv, load_image_folder
from skgad.model_selection import LevelSelector

LEVELS = ([5], [6], [7], [8], [9], [6, 7], [7, 8], [6, 7, 8], "all")
RATIOS = (1.0, 0.1, 0.01, 0.001, 0.0001)
DEFAULT = ("all", 0.01)
MEMORY = Memory(tempfile.mkdtemp(), verbose=0)
MOST_NORMALS = 400  # of each set, so that all sets take about as long


def alter(path, rng):
    """Return an image with one of three local changes: a hole, a patch moved within it, or confetti."""
    image = np.asarray(Image.open(path).convert("RGB")).copy()
    height, width = image.shape[:2]
    side = int(rng.uniform(0.08, 0.2) * min(height, width))
    top, left, other_top, other_left = (int(rng.integers(0, length - side)) for length in (height, width) * 2)
    where = np.s_[top : top + side, left : left + side]
    scheme = rng.integers(3)
    if scheme == 0:
        image[where] = image.mean(axis=(0, 1))
    elif scheme == 1:
        image[where] = image[other_top : other_top + side, other_left : other_left + side]
    else:
        for _ in range(8):
            size = max(side // 5, 2)
            y, x = int(rng.integers(0, height - size)), int(rng.integers(0, width - size))
            image[y : y + size, x : x + size] = rng.integers(0, 256, size=3)
    return image


def load_sets():
    """Yield name, training paths, test paths and labels."""
    for kind in ("mono", "poly"):
        paths, y = load_elpv(kind)
        train, held_out = train_test_split(paths[y == 1], train_size=0.6, random_state=0)
        yield (
            f"elpv {kind}",
            train,
            np.concatenate([held_out, paths[y == -1]]),
            np.repeat([1, -1], [len(held_out), (y == -1).sum()]),
        )
    root = os.environ.get("SKGAD_IMAGE_FOLDERS")
    for folder in sorted(Path(root).glob("*/*")) if root else []:
        if (folder / "train" / "good").is_dir():
            data = load_image_folder(folder)
            yield folder.name, data.X_train, data.X_test, data.y_test


def fit(features, levels, ratio):
    npca = NPCA(ratio, memory=MEMORY)  # each level of each fold is decomposed once, for all candidates
    return make_pipeline(LevelSelector(levels), npca, MahalanobisDetector()).fit(features)


def criterion(normal, altered, levels, ratio):
    areas = []
    for train, held_out in KFold(5, shuffle=True, random_state=0).split(normal):
        detector = fit(normal.iloc[train], levels, ratio)
        scores = [detector.score_samples(one.iloc[held_out]) for one in (normal, altered)]
        areas.append(roc_auc_score(np.repeat([1, -1], len(held_out)), np.concatenate(scores)))
    return np.mean(areas)


def main():
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0")
    rows = []
    print(f"{'AUROC %':14s} {'chosen':>8s} {'default':>8s} {'best':>8s}   chosen levels and ratio")
    for name, train, test, y in load_sets():
        rng = np.random.default_rng(0)
        train = rng.permutation(train)[:MOST_NORMALS]
        normal, tested = extractor.fit_transform(train), extractor.transform(test)
        altered = clone(extractor).fit_transform([alter(path, rng) for path in train])
        candidates = list(itertools.product(LEVELS, RATIOS))
        chosen = max(candidates, key=lambda candidate: criterion(normal, altered, *candidate))
        areas = [roc_auc_score(y, fit(normal, *candidate).score_samples(tested)) for candidate in candidates]
        row = areas[candidates.index(chosen)], areas[candidates.index(DEFAULT)], max(areas)
        rows.append(row)
        print(f"{name:14s} {100 * row[0]:8.1f} {100 * row[1]:8.1f} {100 * row[2]:8.1f}   {chosen}", flush=True)
    print(f"{'mean':14s} " + " ".join(f"{100 * value:8.1f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
