"""Do leave-one-out scores find defective images in a training set?

Mixes 1, 2 and 5 % of defective solar cells into the normal ones and ranks the training cells, by leave-one-out scores
and by the plain scores of the detector that was fitted on them.

Run with ``python examples/measure_dirty_training_set.py``; needs the extra ``demo``. Three minutes on two CPU cores.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from skgad import DeepFeatureTransformer, MahalanobisDetector
from skgad.datasets import load_elpv

N_DRAWS = 5


def draw(y, share, seed):
    """Return all normal rows and as many defective ones as make this share."""
    normal, defective = (np.flatnonzero(y == label) for label in (1, -1))
    count = round(share * len(normal) / (1 - share))
    return np.concatenate([normal, np.random.default_rng(seed).choice(defective, count, replace=False)])


def main():
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", verbose=1)
    for kind in ("mono", "poly"):
        images, y = load_elpv(kind)
        features = extractor.fit_transform(images)
        for title, columns in (("level 7", features.filter(like="level7__")), ("sum", features)):
            for share in (0.01, 0.02, 0.05):
                areas = []
                for seed in range(N_DRAWS):
                    rows = draw(y, share, seed)
                    X = columns.iloc[rows]
                    detector = MahalanobisDetector().fit(X)
                    both = detector.leave_one_out_scores(X), detector.score_samples(X)
                    areas.append([roc_auc_score(y[rows], scores) for scores in both])
                left_out, plain = 100 * np.mean(areas, axis=0)
                print(
                    f"{kind}  {title:8s} {share:4.0%} defective: AUROC left out {left_out:.1f} %, plain {plain:.1f} %"
                )


if __name__ == "__main__":
    main()
