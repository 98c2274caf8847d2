"""
Choosing a threshold: the rate asked for, and the rate reached
==============================================================

Four ways to a threshold, and what each of them does to normal images that were not used to set it.

The images come from the package elpv-dataset (CC BY-NC-SA 4.0: non-commercial use only).
"""

# %%
# Level 7 of the solar cells
# --------------------------

import numpy as np
from sklearn.frozen import FrozenEstimator

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_elpv

images, y = load_elpv(kind="mono")
features = DeepFeatureTransformer("tf_efficientnet_lite0", cache=True).fit_transform(images).filter(like="level7__")
normal, defective = features[y == 1].to_numpy(), features[y == -1].to_numpy()
print(f"{len(normal)} normal and {len(defective)} defective cells, {normal.shape[1]} features")

# %%
# Four thresholds, ten random splits
# ----------------------------------
# Each split learns from 60 % of the normal cells. A p-value at or below the target is an alarm: that is what
# ``predict`` does, for all targets at once.
#
# - *chi-square law*: the paper's; it takes the Gaussian for the truth.
# - *quantile of the training distances*: what many scripts do. The images that shaped the Gaussian lie too close to it.
# - *leave-one-out*: ``FPRThresholdCV``, each cell scored by a detector that has not seen it.
# - *split*: half of the cells to learn from, the other half to calibrate on.

from scipy.stats import chi2

targets = np.array([0.01, 0.02, 0.05, 0.1, 0.2])


def count_alarms(train, held_out):
    """Return for each way the share of held-out rows that raise an alarm, at each target."""
    detector = MahalanobisDetector().fit(train)
    distances, learnt = -detector.score_samples(held_out), -detector.score_samples(train)
    left_out = FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(train)
    half = FrozenEstimator(MahalanobisDetector().fit(train[::2]))
    split = FPRThresholdCV(half, fpr=0.05).fit(train[1::2])
    return {
        "chi-square law": [np.mean(distances**2 > chi2.ppf(1 - rate, train.shape[1])) for rate in targets],
        "quantile of the training distances": [np.mean(distances > np.quantile(learnt, 1 - rate)) for rate in targets],
        "leave-one-out": [np.mean(left_out.p_values(held_out) <= rate) for rate in targets],
        "split": [np.mean(split.p_values(held_out) <= rate) for rate in targets],
    }


rng = np.random.default_rng(0)
reached, found = [], []
for _ in range(10):
    order = rng.permutation(len(normal))
    cut = int(0.6 * len(normal))
    reached.append(count_alarms(normal[order[:cut]], normal[order[cut:]]))
    found.append(count_alarms(normal[order[:cut]], defective))

# %%
# The rates
# ---------

print(f"{'false alarms in %, target':36s}" + "".join(f"{100 * rate:7.0f}" for rate in targets) + "   found at 5 %")
for way in reached[0]:
    rates = 100 * np.mean([one[way] for one in reached], axis=0)
    print(f"{way:36s}" + "".join(f"{rate:7.1f}" for rate in rates) + f"{np.mean([one[way][2] for one in found]):14.1%}")

# %%
# Both detect more where they raise more alarms: a threshold is to be compared at the rate that it reaches, not at the
# one that it promises. Lines are means of ten splits, bands reach from the lowest to the highest.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
axes.plot(targets, targets, color="black", linestyle=":", label="what was asked for")
for way in reached[0]:
    rates = np.array([one[way] for one in reached])
    (line,) = axes.plot(targets, rates.mean(axis=0), marker="o", label=way)
    axes.fill_between(targets, rates.min(axis=0), rates.max(axis=0), color=line.get_color(), alpha=0.15)
axes.set_xlabel("false-positive rate asked for")
axes.set_ylabel("rate reached on held-out normal cells")
axes.set_xscale("log")
axes.set_yscale("log")
marks = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
axes.set_xticks(targets, [f"{100 * rate:g} %" for rate in targets])
axes.set_yticks(marks, [f"{100 * rate:g} %" for rate in marks])
axes.minorticks_off()
axes.set_ylim(0.004, 0.8)
axes.legend()
plt.show()

# %%
# In plain words
# --------------

print(FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(normal).summary())
