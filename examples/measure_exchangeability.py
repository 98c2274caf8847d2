"""The table in docs/conventions.md: what a calibrated threshold does when new images are not like the old ones.

Run with ``python examples/measure_exchangeability.py``; needs the extra ``demo``. Two minutes on two CPU cores.
"""

import numpy as np
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_elpv

N_SPLITS = 5


def splits(n_samples, how):
    for seed in range(N_SPLITS):
        if how == "contiguous":
            test = np.arange(seed * n_samples // N_SPLITS, (seed + 1) * n_samples // N_SPLITS)
            yield np.setdiff1d(np.arange(n_samples), test), test
            continue
        order = np.random.default_rng(seed).permutation(n_samples)
        train, test = order[: n_samples * 6 // 10], order[n_samples * 6 // 10 :]
        yield (np.sort(train) if how == "random, in order" else train), test


def main():
    shuffled = KFold(20, shuffle=True, random_state=0)
    for kind in ("mono", "poly"):
        paths, y = load_elpv(kind)
        features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[7], verbose=1).fit_transform(paths[y == 1])
        for name, cv, how in [
            ("contiguous folds", 20, "random"),
            ("contiguous folds", 20, "random, in order"),
            ("shuffled folds", shuffled, "random, in order"),
            ("contiguous folds", 20, "contiguous"),
            ("shuffled folds", shuffled, "contiguous"),
        ]:
            detector = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=0.05, cv=cv)
            rates = [
                (detector.fit(features.iloc[train]).predict(features.iloc[test]) == -1).mean()
                for train, test in splits(len(features), how)
            ]
            print(f"{kind}  {name:16s}  {how:16s}  {np.mean(rates):.3f}  {np.round(rates, 3)}")


if __name__ == "__main__":
    main()
