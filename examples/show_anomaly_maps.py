"""Anomaly maps of a folder of images with known defects: the three that are found best, the three that are missed most.

    python examples/show_anomaly_maps.py --root DIR/mvtec_ad/pill --out pill.png

The folder is in the layout of MVTec AD. The detector is calibrated on its normal training images alone: 5 % of images,
and 1 % of pixels, may be false alarms. Images are ranked by the share of their defect's pixels that the detector's mask
covers (where there are no masks: by their score). White: the detector's contour. Blue: the ground truth.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from skgad import DeepFeatureTransformer, FPRThresholdCV
from skgad.datasets import load_image_folder
from skgad.plotting import AnomalyMapDisplay
from skgad.spatial import SpatialMahalanobisDetector

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--root", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--backbone", default="tf_efficientnet_lite2")
parser.add_argument("--levels", type=int, nargs="+", default=[4, 5, 6])
parser.add_argument("--gaussian", default="tied")
options = parser.parse_args()

data = load_image_folder(options.root)
features = DeepFeatureTransformer(options.backbone, levels=options.levels)
detector = SpatialMahalanobisDetector(features, gaussian=options.gaussian, pixel_fpr=0.01)
line = FPRThresholdCV(detector, fpr=0.05).fit(data.X_train)
print(f"pixel threshold {line.estimator_.pixel_threshold_:.2f}, image threshold {-line.offset_:.2f}")

anomalous = np.flatnonzero(data.y_test == -1)
paths = [data.X_test[row] for row in anomalous]
scores, found = line.score_samples(paths), line.predict_masks(paths)


def cover(mask, pixels):
    truth = np.asarray(Image.open(mask).convert("L").resize(pixels.shape, Image.Resampling.NEAREST)) > 0
    return pixels[truth].mean() if truth.any() else np.nan


masks = [data.mask_test[row] for row in anomalous]
covered = np.array([np.nan if mask is None else cover(mask, one) for mask, one in zip(masks, found, strict=True)])
order = np.argsort(covered if np.isfinite(covered).any() else -scores)  # images without a mask come last
order = order[: np.count_nonzero(np.isfinite(covered)) or len(order)]
called = scores < line.offset_
print(f"{called.mean():.1%} of the anomalous images are found")
if np.isfinite(covered).any():
    print(f"{np.nanmean(covered):.1%} of a defect's pixels are found")
normal = np.flatnonzero(data.y_test == 1)
print(f"false alarms: {(line.predict([data.X_test[row] for row in normal]) == -1).mean():.1%} of the normal images")

figure, axes = plt.subplots(6, 3, figsize=(11, 19), layout="constrained")
for row, index in enumerate([*order[-3:][::-1], *order[:3]]):
    AnomalyMapDisplay.from_estimator(line, paths[index], mask=masks[index], kind="panels", ax=axes[row])
    axes[row, 0].set_title(f"{Path(paths[index]).parent.name}/{Path(paths[index]).name}", fontsize=9)
    axes[row, 1].set_title(f"{'found' if called[index] else 'missed'}, covers {covered[index]:.0%}", fontsize=9)
figure.savefig(options.out, dpi=60)
