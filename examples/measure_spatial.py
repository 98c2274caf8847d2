"""Gaussians in space, the pooled model and PatchCore, on folders of images with masks.

For every folder in the layout of MVTec AD below ``--root``: image AUROC of each variant; pixel AUROC, average precision
and per-region overlap (up to 30 % false positives) of every kind of map, where there are masks. Each image goes through
the network once: the variants share its maps, which are held in memory, as much as the largest folder takes (about 5 MB
an image for EfficientNet-Lite2). Nothing is tuned: the variants are listed below, and all are shown.

    python examples/measure_spatial.py --root DIR --out spatial.csv

Times and sizes need an idle machine, and are measured apart, each detector side by side with the network:

    python examples/measure_spatial.py --root DIR --out times.csv --times mvtec_ad/bottle
"""

import argparse
import pickle
import time
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from skgad import NPCA, CombinedDetector, DeepFeatureTransformer, MahalanobisDetector
from skgad.datasets import load_image_folder
from skgad.metrics import pixel_scores
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector

ALL = tuple(range(1, 10))
PAPERS = {"gaussian": "tied", "neighborhood": 1, "standardize": False}
GAUSSIANS = {  # levels, and what differs from the paper
    "tied": (ALL, {}),
    "local": (ALL, {"gaussian": "local"}),
    "global": (ALL, {"gaussian": "global"}),
    "tied, NPCA 1 %": (ALL, {"n_components": 0.01}),
    "global, NPCA 1 %": (ALL, {"gaussian": "global", "n_components": 0.01}),
    "tied, 3 x 3": (ALL, {"neighborhood": 3}),
    "tied, standardized": (ALL, {"standardize": True}),
    "tied, 3 x 3, standardized": (ALL, {"neighborhood": 3, "standardize": True}),
    "global, levels 5-7, NPCA 1 %": ((5, 6, 7), {"gaussian": "global", "n_components": 0.01}),
    **{
        f"{kind}, levels 4-6{more}": ((4, 5, 6), {"gaussian": kind, **changes})
        for kind in ("tied", "local", "global")
        for more, changes in {
            "": {},
            ", 3 x 3": {"neighborhood": 3},
            ", standardized": {"standardize": True},
            ", 3 x 3, standardized": {"neighborhood": 3, "standardize": True},
        }.items()
    },
}
BEST = "local, levels 4-6, 3 x 3, standardized"  # the default of SpatialMahalanobisDetector
TIMED = ("tied", "local", "global", "tied, levels 4-6", "local, levels 4-6, 3 x 3", BEST)
AGGREGATES = ("max", "mean", "top")
PATCHCORE = "PatchCore"
PATCHCORES = {  # levels, smoothing of the maps
    PATCHCORE: ((4, 6), 4.0),
    "PatchCore, not smoothed": ((4, 6), 0.0),
    "PatchCore, levels 4-6": ((4, 5, 6), 4.0),
}


class StoredMaps(BaseEstimator):
    """An extractor that hands out maps it was given: what variants share."""

    maps: ClassVar[dict] = {}  # path -> maps of all levels

    def __init__(self, levels=ALL, image_size=None, on_bad_image="raise"):
        self.levels = levels
        self.image_size = image_size
        self.on_bad_image = on_bad_image

    def fit(self, X, y=None):
        self.levels_, self.image_size_ = list(self.levels), (self.image_size, self.image_size)
        return self

    def iter_maps(self, X, rows=None):
        rows = np.arange(len(X)) if rows is None else np.asarray(rows)
        for start in range(0, len(rows), 16):
            part = rows[start : start + 16]
            stored = [self.maps[X[row]] for row in part]
            yield part, [np.stack([maps[level - 1] for maps in stored]) for level in self.levels]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with data sets in the MVTec AD layout")
    parser.add_argument("--backbone", default="tf_efficientnet_lite2")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--sets", nargs="*", help="folders below the root; all by default")
    parser.add_argument(
        "--out", type=Path, required=True, help="a CSV file; sets that are in it are not measured again"
    )
    parser.add_argument("--methods", nargs="*", help="those whose names hold one of these; all by default")
    parser.add_argument("--times", help="measure times and sizes on this set instead")
    options = parser.parse_args()
    extractor = DeepFeatureTransformer(options.backbone, image_size=options.image_size)
    if options.times:
        table = measure_times(extractor, options.root / options.times)
        table.to_csv(options.out, index=False)
        print(table.to_string(index=False, float_format="%.2f"))
        return
    done = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=["set"])
    for name in options.sets or find_sets(options.root):
        if name not in set(done["set"]):
            rows = measure_set(extractor, options.root / name, options.methods or [""])
            done = pd.concat([done, pd.DataFrame({"set": name, **row} for row in rows)])
            done.to_csv(options.out, index=False)
            print(name, done[done["set"] == name].round(3).to_string(index=False), flush=True)
    report(done)


def find_sets(root):
    return sorted(str(folder.parent.parent.relative_to(root)) for folder in root.glob("**/train/good"))


def measure_set(extractor, folder, wanted):
    data = load_image_folder(folder)
    train, test = [str(path) for path in data.X_train], [str(path) for path in data.X_test]
    extractor = clone(extractor).fit(train)
    StoredMaps.maps.clear()
    for paths in (train, test):
        for rows, maps in extractor.iter_maps(paths):
            for index, row in enumerate(rows):
                StoredMaps.maps[paths[row]] = [level[index].copy() for level in maps]
    size = extractor.image_size_[0]
    masks = read_masks(data, size)
    rows = []

    def is_wanted(method):
        return any(part in method for part in wanted)

    def score(method, detector, aggregate):
        rows.append({"method": method, "aggregate": aggregate, "image AUROC": auroc(detector, test, data.y_test)})

    def draw(method, detector):
        if masks is None:
            return
        usable, drawn = masks
        maps = (detector.score_maps([test[row]])[0] for row in usable)
        found = pixel_scores((drawn[row] for row in usable), maps, max_fpr=0.3)
        rows[-1].update({"pixel AUROC": found.roc_auc, "pixel AP": found.average_precision, "PRO": found.pro_auc})

    for method, (levels, changes) in GAUSSIANS.items():
        if not is_wanted(method):
            continue
        detector = SpatialMahalanobisDetector(StoredMaps(levels, size), **{**PAPERS, **changes})
        try:
            detector.fit(train)  # is there room?
        except ValueError as error:
            rows.append({"method": method, "aggregate": "-", "note": str(error)})
            continue
        for aggregate in AGGREGATES:
            score(method, detector.set_params(aggregate=aggregate).fit(train), aggregate)
            if aggregate == "max":
                draw(method, detector)
    for method, (levels, smoothing) in PATCHCORES.items():
        if not is_wanted(method):
            continue
        patchcore = PatchNeighborsDetector(StoredMaps(levels, size), smoothing=smoothing).fit(train)
        score(method, patchcore, "max")
        draw(method, patchcore)
    pooled_from_maps = PooledMaps()
    for method, steps in {"pooled": [], "pooled, NPCA 1 %": [NPCA(0.01)]}.items():
        if not is_wanted(method):
            continue
        score(method, make_pipeline(pooled_from_maps, *steps, MahalanobisDetector()).fit(train), "sum")
    pooled = make_pipeline(pooled_from_maps, NPCA(0.01), MahalanobisDetector())
    line = make_pipeline(PooledMaps(quarters=True), MahalanobisDetector(levels="joint"))
    tied = SpatialMahalanobisDetector(StoredMaps(ALL, size), **PAPERS)
    best = SpatialMahalanobisDetector(StoredMaps(GAUSSIANS[BEST][0], size))
    patchcore = PatchNeighborsDetector(StoredMaps(PATCHCORES[PATCHCORE][0], size))
    if is_wanted("make_line"):
        score("make_line", clone(line).fit(train), "sum")
    for method, first, second in [
        ("pooled NPCA 1 % + tied", pooled, tied),
        ("pooled NPCA 1 % + PatchCore", pooled, patchcore),
        ("make_line + PatchCore", line, patchcore),
        (f"make_line + {BEST}", line, best),
    ]:
        if not is_wanted(method):
            continue
        combined = CombinedDetector([("pooled", first), ("spatial", clone(second))])
        score(method, combined.fit(train), "max")
    return rows


class PooledMaps(BaseEstimator):
    """The pooled features of the same maps, as `DeepFeatureTransformer` gives them; of `make_line` with quarters."""

    def __init__(self, quarters=False):
        self.quarters = quarters

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        pooled = [np.concatenate([self._pool(level) for level in StoredMaps.maps[path]]) for path in X]
        levels = StoredMaps.maps[X[0]]
        names = [f"level{n}__{i:05d}" for n, level in enumerate(levels, 1) for i in range(len(self._pool(level)))]
        return pd.DataFrame(np.stack(pooled), columns=names)

    def _pool(self, level):
        """Return the means of a map over the whole and, with quarters, over the locations that each of them touches."""
        parts = [level]
        if self.quarters:
            halves = [[slice(0, -(-side // 2)), slice(side // 2, side)] for side in level.shape[:2]]
            parts += [level[rows, columns] for rows in halves[0] for columns in halves[1]]
        return np.concatenate([part.mean(axis=(0, 1)) for part in parts])


def auroc(detector, paths, y):
    return roc_auc_score(y, detector.score_samples(paths))


def read_masks(data, size):
    """Return which test images can be judged by pixels, and a mask for each; None where there are no masks."""
    if all(mask is None for mask in data.mask_test):
        return None
    drawn, usable = {}, []
    for row, (mask, label) in enumerate(zip(data.mask_test, data.y_test, strict=True)):
        if mask is None and label == -1:
            continue  # nobody has said where the defect is
        usable.append(row)
        drawn[row] = np.zeros((size, size), bool) if mask is None else read_mask(mask, size)
    return usable, drawn


@cache
def read_mask(path, size):
    return np.asarray(Image.open(path).convert("L").resize((size, size), Image.Resampling.NEAREST)) > 0


def measure_times(extractor, folder, rounds=5, n_images=64):
    """Return the time to fit and to score an image, side by side with the network alone, and the size of a pickle."""
    data = load_image_folder(folder)
    train, images = list(data.X_train), list(data.X_test)[:n_images]
    detectors = {
        method: SpatialMahalanobisDetector(clone(extractor).set_params(levels=list(levels)), **{**PAPERS, **changes})
        for method, (levels, changes) in GAUSSIANS.items()
        if method in TIMED
    }
    part = clone(extractor).set_params(levels=list(PATCHCORES[PATCHCORE][0]))
    for share in (0.01, 0.1):
        detectors[f"{PATCHCORE}, {share:.0%}"] = PatchNeighborsDetector(part, coreset=share)
    detectors["pooled, NPCA 1 %"] = make_pipeline(extractor, NPCA(0.01), MahalanobisDetector())
    rows = []
    for method, detector in detectors.items():
        begun = time.perf_counter()
        detector.fit(train)
        fit = time.perf_counter() - begun
        inner = detector[0] if method.startswith("pooled") else detector.features_
        times = {"network": [], "scores": [], "maps": []}
        for _ in range(rounds):
            for what, call in {
                "network": lambda: inner.transform(images),  # noqa: B023
                "scores": lambda: detector.score_samples(images),  # noqa: B023
                "maps": lambda: getattr(detector, "score_maps", detector.score_samples)(images),  # noqa: B023
            }.items():
                begun = time.perf_counter()
                call()
                times[what].append((time.perf_counter() - begun) / len(images) * 1e3)
        median = {what: float(np.median(values)) for what, values in times.items()}
        rows.append(
            {
                "method": method,
                "fit, s": fit,
                "network, ms an image": median["network"],
                "score, ms": median["scores"],
                "map, ms": median["maps"],
                "map / network - 1": median["maps"] / median["network"] - 1,
                "file, MB": len(pickle.dumps(detector)) / 1e6,
            }
        )
        print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.2f"), flush=True)
    return pd.DataFrame(rows)


def report(table):
    for measure in ("image AUROC", "pixel AUROC", "pixel AP", "PRO"):
        if measure not in table or table[measure].isna().all():
            continue
        wide = table.dropna(subset=[measure]).pivot_table(
            index=["method", "aggregate"], columns="set", values=measure, sort=False
        )
        wide["mean"] = wide.mean(axis=1, skipna=False)
        print(f"\n{measure}, %\n{(100 * wide).round(1).to_string()}")


if __name__ == "__main__":
    main()
