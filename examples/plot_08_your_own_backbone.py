"""
Your own backbone
=================

Any `torch.nn.Module` can stand in for the pre-trained network. Here it is a bank of Gabor filters, which nobody has
trained, on synthetic textures; a network of your own, with weights of your own, goes the same way.
"""

# %%
# A network
# ---------
# It takes float32 images ``(n, 3, size, size)``. A module's output is a level: a map, tokens, or vectors.

import math

import torch
from torch import nn


class Gabor(nn.Module):
    """Squared answers to sine and cosine waves of some directions and one wavelength."""

    def __init__(self, wavelength, n_directions=8):
        super().__init__()
        width = int(wavelength) * 2 + 1
        row, column = torch.meshgrid(*[torch.arange(width) - width // 2] * 2, indexing="ij")
        window = torch.exp(-(row**2 + column**2) / (2 * (wavelength / 2) ** 2))
        waves = []
        for angle in torch.arange(n_directions) * math.pi / n_directions:
            phase = 2 * math.pi * (row * torch.sin(angle) + column * torch.cos(angle)) / wavelength
            waves += [window * torch.cos(phase), window * torch.sin(phase)]
        kernels = torch.stack(waves)
        self.register_buffer("kernels", (kernels - kernels.mean(dim=(1, 2), keepdim=True))[:, None] / width)

    def forward(self, grey):
        answers = nn.functional.conv2d(grey, self.kernels, padding="same") ** 2
        return answers[:, ::2] + answers[:, 1::2]


class GaborNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine, self.middle, self.coarse = Gabor(4), Gabor(8), Gabor(16)

    def forward(self, images):
        grey = images.mean(dim=1, keepdim=True)
        return self.fine(grey), self.middle(grey), self.coarse(grey)


# %%
# The handle
# ----------
# `Backbone` names the modules whose outputs are the levels, in the order in which they run, and measures them.

from skgad.deep import Backbone

backbone = Backbone(GaborNet(), levels=["fine", "middle", "coarse"], image_size=96, name="gabor")
for level in backbone.levels:
    print(level)

# %%
# Textures, and textures that go wrong
# ------------------------------------
# Wood with straight grain is normal. Now and then, part of the grain runs askew.

import numpy as np
from scipy import ndimage

SIZE = 96


def grain(rng, skew=0.0):
    """Return wood, uint8. Within a spot, the grain is turned by `skew` degrees."""
    noise = ndimage.gaussian_filter(rng.normal(size=(2 * SIZE, 2 * SIZE)), (20, 1.2))
    straight, turned = noise, ndimage.rotate(noise, skew, reshape=False)
    row, column = np.mgrid[: 2 * SIZE, : 2 * SIZE] - SIZE
    spot = ndimage.gaussian_filter((np.hypot(row, column) < 22).astype(float), 2)
    wood = (straight * (1 - spot) + turned * spot)[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2]
    grey = np.clip(150 + 40 * wood / wood.std(), 0, 255)
    return (grey[..., None] * [1.0, 0.75, 0.5]).astype(np.uint8)


rng = np.random.default_rng(0)
train = [grain(rng) for _ in range(80)]
images, y = [grain(rng) for _ in range(40)], np.repeat([1, -1], 40)
images += [grain(rng, skew=12) for _ in range(40)]

# %%
# It takes the place of a name
# ----------------------------
# Twenty-four hand-made features do well here. The network that has seen a million photographs does better still.

from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from skgad import DeepFeatureTransformer, MahalanobisDetector

for title, network in [("Gabor filters", backbone), ("EfficientNet-Lite0", "tf_efficientnet_lite0")]:
    detector = make_pipeline(DeepFeatureTransformer(network), MahalanobisDetector()).fit(train)
    distances = detector[:-1].transform(images)
    print(f"{title:20s} AUROC {roc_auc_score(y, detector.score_samples(images)):.3f}; {distances.shape[1]} features")

# %%
import matplotlib.pyplot as plt

gabor = make_pipeline(DeepFeatureTransformer(backbone), MahalanobisDetector()).fit(train)
scores = gabor.score_samples(images)
figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.9), layout="constrained", width_ratios=[1, 1, 2])
for axis, index, title in [(axes[0], 0, "straight grain"), (axes[1], 40, "askew in the middle")]:
    axis.imshow(images[index])
    axis.set_title(title)
    axis.axis("off")
for label, title in [(1, "straight"), (-1, "askew")]:
    axes[2].hist(-scores[y == label], bins=np.linspace(-scores.max(), -scores.min(), 30), alpha=0.7, label=title)
axes[2].set_xlabel("distance, Gabor filters")
axes[2].legend()
plt.show()

# %%
# What a file holds
# -----------------
# A pickle holds the network's fingerprint, not the network. Another process gets it anew, by
# ``set_params(deepfeaturetransformer__backbone=Backbone(GaborNet(), levels=[...]))``, and another network is refused.
# ``DeepFeatureTransformer(store_weights=True)`` puts the whole module into the file.

import pickle

print(len(pickle.dumps(gabor)), "bytes;", backbone.sha256[:16])
