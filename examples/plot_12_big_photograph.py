"""
Big photographs, small defects
==============================

A camera of many megapixels sees a hole of six pixels; squeezed to the square of a network, nothing is left of it. Cut
into tiles, the photograph is seen at its own resolution, in bounded memory, and the hole is boxed in its own pixels.

Nothing here is a photograph, so the pictures may be shown anywhere.
"""

# %%
# Cloth, 1400 x 1000 pixels
# -------------------------

import numpy as np

HEIGHT, WIDTH = 1000, 1400


def weave(rng):
    """Return a piece of cloth, uint8: threads that lie anywhere, uneven light, grain."""
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) + rng.uniform(0, 500, size=(2, 1, 1)).astype(np.float32)
    threads = np.sin(2 * np.pi * column / 9) * np.sin(2 * np.pi * row / 7)
    light = 6 * np.sin(column / 700) + 5 * np.cos(row / 500)
    grey = 150 + 25 * threads + light + 9 * rng.standard_normal(threads.shape, dtype=np.float32)
    return np.clip(grey, 0, 255).astype(np.uint8)


rng = np.random.default_rng(0)
clean = [weave(rng) for _ in range(8)]
holed = weave(rng)
row, column = np.mgrid[-3:3, -3:3] + 0.5
holed[700:706, 1100:1106][np.hypot(row, column) < 3] = 40

# %%
# Tiles
# -----
# ``tiles=256`` cuts squares of 256 pixels that overlap by a quarter. The cloth looks alike everywhere, so that all of
# them share one Gaussian, ``shared=True``: each tile of each photograph is learnt like an image. Scores, thresholds and
# p-values count photographs.

from skgad import DeepFeatureTransformer, FPRThresholdCV
from skgad.spatial import SpatialMahalanobisDetector

features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[4, 5], tiles=256)
detector = SpatialMahalanobisDetector(features, gaussian="global", shared=True, pixel_fpr=1e-5)
inspector = FPRThresholdCV(detector, fpr=0.2, cv=4).fit(clean)
print("the holed piece, and a clean one:", inspector.predict([holed, weave(rng)]))

# %%
# Regions
# -------
# What lies together beyond the pixel threshold, in the photograph's own pixels, with the probability of as large a
# distance anywhere in a normal photograph. With eight photographs, that is no less than one in nine.

regions = inspector.regions([holed])
print(regions.round(2).to_string(index=False))

# %%

from pathlib import Path

import matplotlib.pyplot as plt

from skgad.plotting import RegionsDisplay

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=[1.5, 1])
display = RegionsDisplay.from_regions(holed, regions, ax=left)
first = regions.iloc[0]
across, down = (
    slice(int(first["left"]) - 10, int(first["right"]) + 10),
    slice(int(first["top"]) - 10, int(first["bottom"]) + 10),
)
right.imshow(holed[down, across], cmap="gray", vmin=0, vmax=255)
right.set_title("what is in the box")
right.set_axis_off()

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "big_photograph.png", dpi=80)
plt.show()

# %%
# Masks and annotations
# ---------------------
# ``inspector.save_masks(paths, folder)`` writes a PNG of each photograph's own size; `regions_to_coco` gives what other
# tools read.

from skgad.spatial import regions_to_coco

print(regions_to_coco(regions, [holed])["annotations"][0]["bbox"])
