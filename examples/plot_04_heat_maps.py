"""
Heat maps: where is the defect?
===============================

A piece of cloth is drawn by a formula, with holes, scratches and stains painted on some pieces. A Gaussian over the
feature maps of the network learns from clean pieces only, and shows where others differ.

Nothing here is a photograph, so the pictures may be shown anywhere.
"""

# %%
# Cloth, clean and damaged
# ------------------------

import numpy as np
from scipy import ndimage

SIZE = 160


def weave(rng):
    """Return a piece of cloth: two threads that cross, uneven lighting, grain. Floats in [0, 1]."""
    row, column = np.mgrid[:SIZE, :SIZE] + rng.uniform(0, 8, size=2)[:, None, None]
    threads = np.sin(2 * np.pi * row / 8) * np.sin(2 * np.pi * column / 8)
    light = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 30, mode="wrap")
    grain = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 0.7)
    grey = 0.55 + 0.14 * threads + 2.0 * light + 0.05 * grain
    return np.clip(grey[..., None] * [1.0, 0.93, 0.8], 0, 1)


def damage(cloth, kind, rng):
    """Return a damaged copy, and the mask of the damage."""
    row, column = np.mgrid[:SIZE, :SIZE] - rng.integers(40, SIZE - 40, size=2)[:, None, None]
    angle = rng.uniform(0, np.pi)
    along, across = row * np.sin(angle) + column * np.cos(angle), row * np.cos(angle) - column * np.sin(angle)
    mask = {
        "hole": np.hypot(row, column) < rng.uniform(6, 10),
        "scratch": (np.abs(across) < 1.6) & (np.abs(along) < rng.uniform(25, 40)),
        "stain": np.hypot(1.5 * across, along) < rng.uniform(14, 20),
    }[kind]
    soft = ndimage.gaussian_filter(mask.astype(float), 1.0 if kind != "stain" else 3.0)[..., None]
    paint = {"hole": np.full(3, 0.1), "scratch": np.full(3, 0.95), "stain": cloth * [0.75, 0.7, 0.6]}[kind]
    return cloth * (1 - soft) + paint * soft, mask


rng = np.random.default_rng(0)
clean = [weave(rng) for _ in range(60)]
kinds = ["hole", "scratch", "stain"] * 5
damaged, masks = (list(part) for part in zip(*(damage(weave(rng), kind, rng) for kind in kinds), strict=True))
new_clean = [weave(rng) for _ in range(30)]

# %%
# Learn from clean pieces
# -----------------------
# The threads lie anywhere, so that one Gaussian serves all locations: ``gaussian="global"``. `FPRThresholdCV` sets a
# threshold for images, and one for pixels, from maps of pieces that the Gaussian has not seen.

from skgad import DeepFeatureTransformer, FPRThresholdCV
from skgad.spatial import SpatialMahalanobisDetector

features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3, 4, 5])
detector = SpatialMahalanobisDetector(features, gaussian="global", pixel_fpr=0.001)
inspector = FPRThresholdCV(detector, fpr=0.05).fit(clean)
print("alarms on new clean pieces:  ", np.mean(inspector.predict(new_clean) == -1))
print("alarms on damaged pieces:    ", np.mean(inspector.predict(damaged) == -1))

# %%
# Maps and scores
# ---------------
# `AnomalyMapDisplay` draws a map over its image. Colours go from 0 to twice the pixel threshold on every image, so that
# pictures compare; the solid line encloses what exceeds the threshold, the dashed one what was painted. The score of an
# image is minus the largest distance of a level, averaged over the levels: `ScoreHistogramDisplay` shows the scores on
# either side of the threshold for images.

from pathlib import Path

import matplotlib.pyplot as plt

from skgad.plotting import AnomalyMapDisplay, ScoreHistogramDisplay

pieces = {"clean": new_clean[0], **dict(zip(kinds[:3], damaged[:3], strict=True))}
painted = [None, *masks[:3]]

figure = plt.figure(figsize=(11, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[2, 1.35])
axes = left.subplots(2, 4)
for column, ((title, piece), mask) in enumerate(zip(pieces.items(), painted, strict=True)):
    axes[0, column].imshow(piece)
    axes[0, column].set_title(title)
    axes[0, column].axis("off")
    display = AnomalyMapDisplay.from_estimator(inspector, piece, mask=mask, colorbar=column == 3, ax=axes[1, column])
    if display.legend_ is not None:
        display.legend_.remove()
scores = inspector.score_samples([*new_clean, *damaged])
labels = np.repeat([1, -1], [len(new_clean), len(damaged)])
ScoreHistogramDisplay.from_predictions(labels, scores, threshold=inspector.offset_, ax=right.subplots())

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "heat_maps.png", dpi=80, pil_kwargs={"optimize": True})
plt.show()

# %%
# How well the pixels are found
# -----------------------------
# The masks are known, since the damage was painted. A clean piece has no mask, and its pixels count as normal ones. PRO
# counts each damaged place once, however small it is; average precision is low where maps are coarser than the damage.

from PIL import Image

from skgad.metrics import pixel_scores

height, width = inspector.estimator_.features_.image_size_
drawn = [np.asarray(Image.fromarray(mask).resize((width, height))) for mask in masks]
measures = pixel_scores([*drawn, *[None] * len(new_clean)], inspector.score_maps([*damaged, *new_clean]))
for name in ["roc_auc", "average_precision", "pro_auc"]:
    print(f"{name:18s} {measures[name]:.3f}")
