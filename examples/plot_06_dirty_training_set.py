"""
A dirty training set: who does not belong?
==========================================

Some defective cells slipped in among the normal ones. The score of each image by a Gaussian of all the others, in
closed form, shows them: no labels are needed, only someone who looks at the first of the list.

The images come from the package elpv-dataset (CC BY-NC-SA 4.0: non-commercial use only).
"""

# %%
# Normal cells, and 5 % that are none
# -----------------------------------

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skgad import DeepFeatureTransformer, MahalanobisDetector
from skgad.datasets import load_elpv

images, y = load_elpv(kind="mono")
features = DeepFeatureTransformer("tf_efficientnet_lite0", cache=True).fit_transform(images).filter(like="level7__")
normal, new_normal = train_test_split(features[y == 1], train_size=0.6, random_state=0)
defective = features[y == -1].sample(frac=1, random_state=0)
n_hidden = round(0.05 * len(normal))
dirty = pd.concat([normal, defective[:n_hidden]])
hidden = np.repeat([False, True], [len(normal), n_hidden])
test, y_test = (
    pd.concat([new_normal, defective[n_hidden:]]),
    np.repeat([1, -1], [len(new_normal), len(defective) - n_hidden]),
)
print(f"{len(dirty)} cells that are said to be normal; {n_hidden} are not")

# %%
# Scores without oneself
# ----------------------

detector = MahalanobisDetector().fit(dirty)
scores = detector.leave_one_out_scores(dirty)
order = np.argsort(scores)
print("AUROC of the hidden cells:", round(roc_auc_score(hidden, -scores), 3))
for n_looked_at in (n_hidden, 2 * n_hidden, 4 * n_hidden):
    print(f"among the {n_looked_at:3d} lowest scores: {hidden[order[:n_looked_at]].sum():2d} of {n_hidden}")

# %%
# A training score hides its owner
# --------------------------------
# Each image pulls the Gaussian towards itself, so that plain training scores lie on another scale than those of new
# images. Left out, hidden cells lie where new defective ones lie, and normal cells where new normal ones lie.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 1, figsize=(6.5, 5), sharex=True, layout="constrained")
new = -detector.score_samples(test)
parts = {
    "training scores": -detector.score_samples(dirty),
    "leave-one-out scores": -scores,
}
bins = np.linspace(0, np.quantile(new, 0.98), 50)
for axis, (title, distances) in zip(axes, parts.items(), strict=True):
    for label, values, color in [
        ("said to be normal", distances[~hidden], "tab:blue"),
        ("hidden", distances[hidden], "tab:orange"),
    ]:
        axis.hist(values.clip(max=bins[-1]), bins, density=True, alpha=0.6, label=label, color=color)
    for label, values, color in [
        ("new normal", new[y_test == 1], "tab:blue"),
        ("new defective", new[y_test == -1], "tab:orange"),
    ]:
        axis.hist(values.clip(max=bins[-1]), bins, density=True, histtype="step", label=label, color=color)
    axis.set_title(title)
    axis.set_ylabel("density")
axes[0].legend()
axes[1].set_xlabel("distance")
plt.show()

# %%
# Take out what lies too far out, and learn again
# -----------------------------------------------
# How far is too far? The middle of the distances has a law, which says how many of that size there should be;
# `TrainingSetCleaner` takes out what is too much, such that about one in ten of them is normal after all, and goes on
# with the rest. Someone should look at them.

from skgad import FPRThresholdCV, TrainingSetCleaner

cleaner = TrainingSetCleaner(MahalanobisDetector()).fit(dirty)
taken_out = ~cleaner.kept_
print(
    f"taken out: {(taken_out & hidden).sum()} of {n_hidden} that are hidden, {(taken_out & ~hidden).sum()} normal cells"
)

for title, X in [("as it came", dirty), ("cleaned", cleaner.clean(dirty)), ("all hidden ones taken out", normal)]:
    line = FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(X)
    alarms = line.predict(test) == -1
    print(
        f"{title:26s} AUROC on new cells {roc_auc_score(y_test, line.score_samples(test)):.3f}, "
        f"false alarms {alarms[y_test == 1].mean():.1%}, defects found {alarms[y_test == -1].mean():.1%}"
    )

# %%
# Few hidden cells cost little AUROC, and most of the alarms: they set the threshold.
