"""The line that `make_line` returns beside the papers' sum of levels and other forms of a Gaussian, on real images.

For every folder in the layout of MVTec AD below ``--root``, learnt from its training folder and judged on its test
folder, and for both kinds of ELPV, one random split: image AUROC of each variant; what an image costs beyond the
network, and the file of the line, with ``--times``. Nothing is tuned: all variants are listed below, and shown.

    python examples/measure_line.py --root DIR --out line.csv [--times mvtec_ad/bottle]

The features of an image go through the network once, and stay in the folder of ``--cache``.
"""

import argparse
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skgad import NPCA, CellwiseDetector, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector, make_line
from skgad.datasets import load_elpv, load_image_folder

JOINT = MahalanobisDetector(levels="joint")
VARIANTS = {  # the grids whose cells are taken, and the detector
    "each level, sum (the papers')": ((1,), MahalanobisDetector()),
    "each level, NPCA 1 %, sum": ((1,), make_pipeline(NPCA(0.01), MahalanobisDetector())),
    "joint": ((1,), JOINT),
    "joint, NPCA 1 % in front": ((1,), make_pipeline(NPCA(0.01), JOINT)),
    "joint, grid (1, 2): make_line": ((1, 2), JOINT),
    "joint, grid 2": ((2,), JOINT),
    "joint, grid 3": ((3,), JOINT),
    "joint, grid 4": ((4,), JOINT),
    "a cell, grid 2, maximum": ((2,), CellwiseDetector()),
    "a cell, grid 3, maximum": ((3,), CellwiseDetector()),
}
GRIDS = (1, 2, 3, 4)


def load_sets(root):
    """Yield the name, training images, test images and labels of each set."""
    for folder in sorted(folder.parent.parent for folder in root.glob("**/train/good")):
        data = load_image_folder(folder)
        yield folder.name, list(data.X_train), list(data.X_test), data.y_test
    for kind in ("mono", "poly"):
        images, y = load_elpv(kind)
        train, held_out = train_test_split(images[y == 1], train_size=0.6, random_state=0)
        labels = np.repeat([1, -1], [len(held_out), (y == -1).sum()])
        yield f"ELPV {kind}", train, np.concatenate([held_out, images[y == -1]]), labels


def choose(features, grids):
    """Return the columns of some grids, named as the extractor names them with these alone."""
    chosen = [name for name in features.columns if any(f"__g{side}r" in name for side in grids)]
    part = features[chosen]
    return part.rename(columns=lambda name: name.replace("__g1r0c0", "")) if grids == (1,) else part


def measure_set(extractor, train, test, y):
    learnt, new = (extractor.fit_transform(images) for images in (train, test))
    scores = {}
    for name, (grids, detector) in VARIANTS.items():
        fitted = clone(detector).fit(choose(learnt, grids))
        scores[name] = roc_auc_score(y, fitted.score_samples(choose(new, grids)))
    line = FPRThresholdCV(JOINT, fpr=0.05).fit(choose(learnt, (1, 2)))
    called = line.predict(choose(new, (1, 2))) == -1
    scores["make_line, target 5 %: false alarms"] = called[y == 1].mean()
    scores["make_line, target 5 %: found"] = called[y == -1].mean()
    return scores


def measure_times(backbone, folder, rounds=7, n_images=64):
    """Print what an image costs beyond the network, side by side, and the size of the detector's file."""
    data = load_image_folder(folder)
    line = make_line(backbone).set_params(detector__fpr=0.05)
    begun = time.perf_counter()
    line.fit(data.X_train)
    fit = time.perf_counter() - begun
    extractor, detector, images = line[0], line[-1], list(data.X_test)[:n_images]
    plain = clone(extractor).set_params(grid=1).fit(images)
    seconds = {"network, grid 1": [], "network, grid (1, 2)": [], "line": [], "detector": [], "detector, one image": []}
    for _ in range(rounds):
        features = extractor.transform(images)
        for what, call in {
            "network, grid 1": lambda: plain.transform(images),
            "network, grid (1, 2)": lambda: extractor.transform(images),
            "line": lambda: line.predict(images),
            "detector": lambda: detector.predict(features),  # noqa: B023
            "detector, one image": lambda: [detector.predict(features[i : i + 1]) for i in range(n_images)],  # noqa: B023
        }.items():
            begun = time.perf_counter()
            call()
            seconds[what].append((time.perf_counter() - begun) / n_images * 1e3)
    begun = time.perf_counter()
    clone(detector).fit(extractor.transform(data.X_train))
    print(f"{folder.name}, {len(data.X_train)} images: fit {fit:.1f} s, file {len(pickle.dumps(line)) / 1e6:.1f} MB")
    for what, values in seconds.items():
        print(f"  {what}: {np.median(values):.2f} ms an image")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with data sets in the MVTec AD layout")
    parser.add_argument("--backbone", default="tf_efficientnet_lite2")
    parser.add_argument("--out", type=Path, default=Path("line.csv"), help="a CSV file")
    parser.add_argument("--cache", help="a folder for the features, half a megabyte an image")
    parser.add_argument("--times", help="measure times and sizes on this set instead")
    options = parser.parse_args()
    if options.times:
        measure_times(options.backbone, options.root / options.times)
        return
    extractor = DeepFeatureTransformer(options.backbone, grid=GRIDS, cache=options.cache)
    table = {}
    for name, train, test, y in load_sets(options.root):
        table[name] = measure_set(extractor, train, test, y)
        print(name, flush=True)
    frame = 100 * pd.DataFrame(table)
    folders = [name for name in frame if not name.startswith("ELPV")]
    frame["mean of the folders"] = frame[folders].mean(axis=1)
    frame.to_csv(options.out, float_format="%.2f")
    print(frame.round(1).to_string())


if __name__ == "__main__":
    main()
