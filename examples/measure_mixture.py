"""The table of docs/when_it_fails.md on several normal modes: one Gaussian, a mixture, a model each.

Mono- and polycrystalline solar cells together, 352 + 552 and 30 + 552 of them, and folders in the MVTec layout as one
product family. Run with ``python examples/measure_mixture.py --sets DIR/mvtec_ad/bottle ...``; needs the extra
``demo``. Six minutes on two CPU cores, and more once, to compute the features, which are kept.
"""

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector, MahalanobisMixture
from skgad.datasets import load_elpv, load_image_folder

FPR = 0.05


def judge(detector, test, categories=None):
    """Return the scores and the alarms of some images."""
    options = {} if categories is None else {"categories": categories}
    return detector.score_samples(test), detector.predict(test, **options) == -1


def compare(train, kinds, test, y, test_kinds, levels):
    """Return for each model and product the AUROC and the share of false alarms, and the number of modes found."""
    rows = {}

    def add(title, scores, alarms):
        for kind in np.unique(test_kinds):
            here = test_kinds == kind
            auroc = roc_auc_score(y[here] == 1, scores[here])
            rows[title, kind] = 100 * auroc, 100 * alarms[here & (y == 1)].mean(), 100 * alarms[here & (y == -1)].mean()

    add("one Gaussian", *judge(FPRThresholdCV(MahalanobisDetector(levels=levels), fpr=FPR).fit(train), test))
    found = None
    for title, options in (
        ("mixture, tied", {}),
        ("mixture, a covariance each", {"tied": False}),
        ("mixture, tied, as many as products", {"n_modes": len(np.unique(kinds))}),
        ("mixture, a covariance each, as many", {"n_modes": len(np.unique(kinds)), "tied": False}),
    ):
        mixture = MahalanobisMixture(levels=levels, random_state=0, **options)
        try:
            detector = FPRThresholdCV(mixture, fpr=FPR).fit(train)
        except ValueError as error:
            print(f"      {title}: {error}")
            continue
        add(title, *judge(detector, test))
        inner = detector.estimator_
        found = inner.n_modes_ if found is None else found
        try:
            by_mode = FPRThresholdCV(mixture, fpr=FPR).fit(train, categories=inner.find_modes(train))
            add(f"{title}, threshold a mode", *judge(by_mode, test, inner.find_modes(test)))
        except ValueError:
            pass  # a mode of fewer images than the rate takes
    by_kind = FPRThresholdCV(MahalanobisMixture(len(np.unique(kinds)), levels=levels, random_state=0), fpr=FPR)
    add("mixture, threshold a known product", *judge(by_kind.fit(train, categories=kinds), test, test_kinds))
    scores, alarms = np.empty(len(test)), np.empty(len(test), dtype=bool)
    for kind in np.unique(kinds):
        own = FPRThresholdCV(MahalanobisDetector(levels=levels), fpr=FPR).fit(train[kinds == kind])
        here = test_kinds == kind
        scores[here], alarms[here] = judge(own, test[here])
    add("a model each", scores, alarms)
    return rows, found


def report(title, draws, levels):
    """Print the mean over draws."""
    results, modes = zip(*[compare(*draw, levels) for draw in draws], strict=True)
    print(f"{title}, levels={levels!r}: {sorted(modes)} modes found in {len(draws)} splits")
    for key in results[0]:
        values = np.mean([one[key] for one in results if key in one], axis=0)
        print(f"  {key[0]:52s} {key[1]:12s} AUROC {values[0]:5.1f}  false {values[1]:5.1f} %  found {values[2]:5.1f} %")


def draw_cells(features, labels, n_mono, seed):
    train, kinds, test, y, test_kinds = [], [], [], [], []
    rng = np.random.default_rng(seed)
    for kind, table in features.items():
        normal = rng.permutation(np.flatnonzero(labels[kind] == 1))
        n_train = len(normal) * 6 // 10
        learnt = normal[: n_mono if kind == "mono" and n_mono else n_train]
        judged = np.concatenate([normal[n_train:], np.flatnonzero(labels[kind] == -1)])
        train.append(table.iloc[learnt])
        test.append(table.iloc[judged])
        kinds += [kind] * len(learnt)
        test_kinds += [kind] * len(judged)
        y.append(labels[kind][judged])
    return pd.concat(train), np.array(kinds), pd.concat(test), np.concatenate(y), np.array(test_kinds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=[])
    arguments = parser.parse_args()
    start = time.monotonic()
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", cache=True)
    features, labels = {}, {}
    for kind in ("mono", "poly"):
        paths, labels[kind] = load_elpv(kind)
        features[kind] = extractor.fit_transform(paths).reset_index(drop=True)
    for n_mono in (None, 30):
        for levels in ("each", "joint"):
            draws = [draw_cells(features, labels, n_mono, seed) for seed in range(3)]
            report(f"ELPV, {n_mono or 352} mono and 552 poly", draws, levels)
    if arguments.sets:
        parts = []
        for folder in arguments.sets:
            data, name = load_image_folder(folder), folder.rstrip("/").rsplit("/", 1)[-1]
            learnt, judged = (extractor.fit_transform(list(one)) for one in (data.X_train, data.X_test))
            parts.append((learnt, [name] * len(learnt), judged, np.asarray(data.y_test), [name] * len(judged)))
        frames, kinds, tests, y, test_kinds = zip(*parts, strict=True)
        family = (
            pd.concat(frames),
            np.concatenate(kinds),
            pd.concat(tests),
            np.concatenate(y),
            np.concatenate(test_kinds),
        )
        for levels in ("each", "joint"):
            report(f"{len(parts)} folders as one family", [family], levels)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
