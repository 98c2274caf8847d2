"""Does the rate that was asked for come? Tables and a plot, on real images, for the working points that skgad knows.

Run with ``SKGAD_IMAGE_FOLDERS=… python examples/measure_working_point.py --out working_point`` (or ``--root …``); ELPV
comes from the extra ``demo``, further sets from a folder of folders in the MVTec layout. About half an hour on one CPU
core. Features and distances stay in the folder: a second run takes two minutes.

The normal images of a set, training and test, are pooled and split at random, 60 % to learn from, ten times. Anomalous
images choose nothing. What is in the folder afterwards: `report.md`, `cells.csv`, `working_point.png`.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from _working_point_report import draw, write
from _working_point_scores import compare_with_skgad, score_split
from _working_point_tables import count_alarms, measure_cost, measure_new_parts

from skgad import DeepFeatureTransformer
from skgad.datasets import load_elpv, load_image_folder

BACKBONE = "tf_efficientnet_lite0.in1k"
TRAIN_SHARE = 0.6


def load_sets(root):
    """Yield the name, the paths and the labels of each set."""
    for kind in ("mono", "poly"):
        yield f"elpv {kind}", *load_elpv(kind)
    for folder in sorted(Path(root).glob("*/*")) if root else []:
        if (folder / "train" / "good").is_dir():
            data = load_image_folder(folder)
            paths, y = [*data.X_train, *data.X_test], np.concatenate([np.ones(len(data.X_train), int), data.y_test])
            yield folder.name, np.asarray(paths), y


def make_splits(y, n_splits):
    """Return for each split the positions to learn from, and those of the held-out normal images."""
    normal, rng = np.flatnonzero(y == 1), np.random.default_rng(0)
    cut = int(TRAIN_SHARE * len(normal))
    return [(order[:cut], order[cut:]) for order in (rng.permutation(normal) for _ in range(n_splits))]


def collect(name, frame, y, splits, folder):
    """Return the distances of each split, computed once."""
    columns = {}
    for index, column in enumerate(frame.columns):
        level = column.split("__")[0]
        columns[level] = slice(columns.get(level, slice(index, 0)).start, index + 1)
    folder.mkdir(parents=True, exist_ok=True)
    result = []
    for number, (train, held_out) in enumerate(splits):
        file = folder / f"{name} {number}.npz"
        others = np.concatenate([held_out, np.flatnonzero(y == -1)])
        if not file.exists():
            np.savez(file, **score_split(frame.to_numpy(), columns, train, others))
            print(f"{name}, split {number + 1} of {len(splits)}", flush=True)
        with np.load(file) as scores:
            result.append(dict(scores))
    return result


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="working_point", type=Path, help="the folder for tables and plot")
    parser.add_argument("--root", default=os.environ.get("SKGAD_IMAGE_FOLDERS"), help="folders in the MVTec layout")
    parser.add_argument("--splits", default=10, type=int, help="random splits of the normal images")
    return parser.parse_args()


def main():
    arguments = read_arguments()
    extractor = DeepFeatureTransformer(BACKBONE, cache=str(arguments.out / "cache"), verbose=1)
    sets, parts, worst = {}, None, 0.0
    for name, paths, y in load_sets(arguments.root):
        frame, splits = extractor.fit_transform(paths), make_splits(y, arguments.splits)
        scores = collect(name, frame, y, splits, arguments.out / "scores")
        others = np.concatenate([splits[0][1], np.flatnonzero(y == -1)])
        worst = max(worst, compare_with_skgad(frame, splits[0][0], others, scores[0]))
        sets[name] = splits, scores
        if name == "commutator":
            parts = measure_new_parts(frame[y == 1], [path.name.split("_")[0] for path in map(Path, paths[y == 1])])
    cells = count_alarms(sets)
    write(arguments.out, sets, cells, parts, measure_cost(), worst)
    draw(arguments.out / "working_point.png", cells)


if __name__ == "__main__":
    main()
