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
# Look at the first of the list, and learn again
# ----------------------------------------------
# Someone looks at the lowest scores, twice as many as cells are hidden, and takes out what is defective.

looked_at = order[: 2 * n_hidden]
taken_out = looked_at[hidden[looked_at]]
cleaned = MahalanobisDetector().fit(np.delete(dirty.to_numpy(), taken_out, axis=0))
for title, model, X in [
    ("as it came", detector, test),
    (f"{len(taken_out)} taken out", cleaned, test.to_numpy()),
    ("all taken out", MahalanobisDetector().fit(normal), test),
]:
    print(f"AUROC on new cells, {title:14s}  {roc_auc_score(y_test, model.score_samples(X)):.3f}")
