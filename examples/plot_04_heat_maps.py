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
# All maps have one colour scale: they are in units of distance, and none is scaled by itself. The white line encloses
# what exceeds the pixel threshold. The score of an image is minus the largest distance of a level, averaged over the
# levels; the histogram shows scores without their sign.

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image


def shrink(map_):
    """Return a map, which has the network's input size, at the size of the images."""
    return np.asarray(Image.fromarray(map_).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


pieces = [new_clean[0], *damaged[:3]]
maps = [shrink(one) for one in inspector.score_maps(pieces)]
threshold = inspector.estimator_.pixel_threshold_

figure = plt.figure(figsize=(10.5, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[2, 1.2])
axes = left.subplots(2, 4)
for column, (piece, one, title) in enumerate(zip(pieces, maps, ["clean", *kinds[:3]], strict=True)):
    axes[0, column].imshow(piece)
    axes[0, column].set_title(title)
    heat = axes[1, column].imshow(one, cmap="inferno", vmin=0, vmax=max(one.max() for one in maps))
    axes[1, column].contour(one, [threshold], colors="white", linewidths=0.8)
for axis in axes.flat:
    axis.axis("off")
left.colorbar(heat, ax=axes, label="distance", shrink=0.8)

distances = {"clean, not learnt": -inspector.score_samples(new_clean), "damaged": -inspector.score_samples(damaged)}
bins = np.geomspace(*np.percentile(np.concatenate(list(distances.values())), [0, 100]), 30)
axis = right.subplots()
for title, values in distances.items():
    axis.hist(values, bins=bins, alpha=0.7, label=title)
axis.axvline(-inspector.offset_, color="black", linestyle="--", label="threshold for 5 %")
axis.set_xscale("log")
axis.set_xticks([20, 30, 50, 80], ["20", "30", "50", "80"], minor=False)
axis.xaxis.set_minor_formatter("")
axis.set_xlabel("distance of the image")
axis.set_ylabel("pieces of cloth")
axis.legend()

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "heat_maps.png", dpi=80, pil_kwargs={"optimize": True})
plt.show()

# %%
# How well the pixels are found
# -----------------------------
# The masks are known, since the damage was painted. A clean piece has no mask, and its pixels count as normal ones. PRO
# counts each damaged place once, however small it is; average precision is low where maps are coarser than the damage.

from skgad.metrics import pixel_scores

size = inspector.estimator_.features_.image_size_
drawn = [np.asarray(Image.fromarray(mask).resize((size, size))) for mask in masks]
measures = pixel_scores([*drawn, *[None] * len(new_clean)], inspector.score_maps([*damaged, *new_clean]))
for name in ["roc_auc", "average_precision", "pro_auc"]:
    print(f"{name:18s} {measures[name]:.3f}")
