"""A dirty training set: how many defects are found in it, how many normal images are lost, what rate and AUROC become.

Mixes 0, 1, 2, 5 and 10 % of defective images into the normal ones, by `TrainingSetCleaner` at a false-discovery rate of
10 %, and judges images kept apart at a target of 5 %: by the detector of all, that of the cleaned set, and that of the
normal ones. Run with ``python examples/measure_dirty_training_set.py --sets DIR/mvtec_ad/bottle ...``; needs the extra
``demo``. Five minutes on two CPU cores, and more once, to compute the features, which are kept.
"""

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector, TrainingSetCleaner
from skgad.datasets import load_elpv, load_image_folder

SHARES, N_DRAWS, FPR = (0.0, 0.01, 0.02, 0.05, 0.1), 3, 0.05


def judge(train, test, y):
    """Return the AUROC, the false-positive rate and the share of defects found, in %."""
    detector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=FPR).fit(train)
    alarms = detector.predict(test) == -1
    auroc = roc_auc_score(y == 1, detector.score_samples(test))
    return 100 * np.array([auroc, alarms[y == 1].mean(), alarms[y == -1].mean()])


def draw(normal, defective, share, seed):
    """Return a training set, which of it are defects, and a test set with labels."""
    rng = np.random.default_rng(seed)
    normal, defective = (table.iloc[rng.permutation(len(table))] for table in (normal, defective))
    learnt, new = normal[: len(normal) * 7 // 10], normal[len(normal) * 7 // 10 :]
    n_hidden = round(share * len(learnt) / (1 - share))
    train = pd.concat([learnt, defective[:n_hidden]])
    test = pd.concat([new, defective[n_hidden:]])
    y = np.repeat([1, -1], [len(new), len(defective) - n_hidden])
    return train, np.arange(len(train)) >= len(learnt), test, y


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=[])
    arguments = parser.parse_args()
    start = time.monotonic()
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", cache=True)
    data = {}
    for kind in ("mono", "poly"):
        paths, y = load_elpv(kind)
        data[f"ELPV {kind}"] = extractor.fit_transform(paths), y
    for folder in arguments.sets:
        found = load_image_folder(folder)
        features = extractor.fit_transform([*found.X_train, *found.X_test])
        y = np.concatenate([np.ones(len(found.X_train), dtype=int), found.y_test])
        data[folder.rstrip("/").rsplit("/", 1)[-1]] = features, y
    print("AUROC / false alarms at 5 % / defects found, in %: of all, cleaned, of the normal ones alone")
    for name, (features, y) in data.items():
        for share in SHARES:
            rows = []
            for seed in range(N_DRAWS):
                train, hidden, test, labels = draw(features[y == 1], features[y == -1], share, seed)
                cleaner = TrainingSetCleaner().fit(train)
                taken = ~cleaner.kept_
                rates = [judge(one, test, labels) for one in (train, cleaner.clean(train), train[~hidden])]
                counts = [hidden.sum(), (taken & hidden).sum(), (~hidden).sum(), (taken & ~hidden).sum()]
                rows.append(np.concatenate([counts, *rates]))
            n_hidden, found, n_normal, lost, *rates = np.mean(rows, axis=0)
            triples = "   ".join(f"{a:5.1f} /{b:5.1f} /{c:5.1f}" for a, b, c in np.reshape(rates, (3, 3)))
            print(
                f"{name:12s} {share:4.0%}: {found:4.1f} of {n_hidden:4.1f} found, {lost:4.1f} of {n_normal:.0f} normal "
                f"lost   {triples}",
                flush=True,
            )
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
