"""
Which levels, and how many directions?
======================================

A grid search over the levels of the network and the ratio of NPCA, as over any scikit-learn pipeline. The network runs
once over each photograph: `cache=True` keeps the features of all levels.

The images come from the package elpv-dataset (CC BY-NC-SA 4.0: non-commercial use only).
"""

# %%
# Images and labels
# -----------------
# Labels are +1 (normal) and -1 (defective). Every fit, in the folds and in the refit, leaves the defective ones out:
# they only judge.

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad.datasets import load_elpv

images, y = load_elpv(kind="mono")
images, unseen, y, y_unseen = train_test_split(images, y, test_size=0.3, stratify=y, random_state=0)
print(f"{len(y)} cells to search with, {(y == -1).sum()} of them defective; {len(y_unseen)} kept for the end")

# %%
# The search
# ----------
# A ratio of 1.0 keeps all directions; 0.01 those that carry 1 % of the variance of normal images. The cells come in an
# order, so the folds are shuffled.

levels = [[5], [6], [7], [8], [6, 7], "all"]
ratios = [1.0, 0.1, 0.01, 0.001]
extractor = DeepFeatureTransformer("tf_efficientnet_lite0", cache=True)
search = GridSearchCV(
    make_pipeline(extractor, NPCA(), MahalanobisDetector()),
    {"deepfeaturetransformer__levels": levels, "npca__n_components": ratios},
    scoring="roc_auc",
    cv=StratifiedKFold(3, shuffle=True, random_state=0),
).fit(images, y)
print("chosen:", search.best_params_)
search

# %%
# What the search saw
# -------------------
# The number in each field is the area under the ROC curve (AUROC), averaged over the folds.

import matplotlib.pyplot as plt

table = search.cv_results_["mean_test_score"].reshape(len(levels), len(ratios))
figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
image = axes.imshow(table, cmap="viridis", aspect="auto")
axes.set_xticks(range(len(ratios)), [f"{100 * ratio:g} %" for ratio in ratios])
axes.set_yticks(range(len(levels)), [str(one) for one in levels])
axes.set_xlabel("variance kept by NPCA")
axes.set_ylabel("levels")
for (row, column), value in np.ndenumerate(table):
    dark = value < np.mean([table.min(), table.max()])
    axes.text(column, row, f"{value:.3f}", ha="center", va="center", color="white" if dark else "black")
figure.colorbar(image, label="AUROC, mean of three folds")
plt.show()

# %%
# What it is worth
# ----------------
# The best of many results looks better than it is, so it is judged on cells that the search has not seen. The default,
# all levels and NPCA 1 %, needs no defective image at all.

default = make_pipeline(extractor, NPCA(0.01), MahalanobisDetector()).fit(images, y)
for title, model in [("the search's choice", search.best_estimator_), ("all levels, NPCA 1 %", default)]:
    print(f"AUROC on the unseen cells, {title:20s}  {search.scorer_(model, unseen, y_unseen):.3f}")
