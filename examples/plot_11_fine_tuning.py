"""
Tuning the network to normal images
===================================

The features of an ImageNet network are good as they are. `FineTuner` moves its weights a little, so that normal images
lie closer to the Gaussians that the frozen network had of them, and stops when the network no longer tells them from
slightly altered ones better than before. Here on pieces of cloth that are drawn, in few epochs; what it gains on
photographs, and when it is worth it, is measured in `docs/tuning.md`.
"""

# %%
# Cloth, some of it damaged
# -------------------------

import numpy as np
from scipy import ndimage

SIZE = 128


def weave(rng):
    """Return a piece of cloth, bytes."""
    row, column = np.mgrid[:SIZE, :SIZE] + rng.uniform(0, 8, size=2)[:, None, None]
    threads = np.sin(2 * np.pi * row / 8) * np.sin(2 * np.pi * column / 8)
    light = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 24, mode="wrap")
    grain = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 0.7)
    grey = 140 + 36 * threads + 400 * light + 13 * grain
    return np.clip(grey[..., None] * [1.0, 0.93, 0.8], 0, 255).astype(np.uint8)


def stain(cloth, rng):
    """Return it with a faint stain."""
    row, column = np.mgrid[:SIZE, :SIZE] - rng.integers(30, SIZE - 30, size=2)[:, None, None]
    spot = np.exp(-((row / rng.uniform(6, 12)) ** 2) - (column / rng.uniform(6, 12)) ** 2)[..., None]
    return (cloth * (1 - 0.45 * spot)).astype(np.uint8)


rng = np.random.default_rng(0)
clean = [weave(rng) for _ in range(40)]
new = [weave(rng) for _ in range(40)]
test, y = [*new, *(stain(weave(rng), rng) for _ in range(40))], np.repeat([1, -1], 40)

# %%
# Tune
# ----
# The tuner stands where the extractor stands. Four of five images are trained on; by the others, and altered copies of
# them, it sees when to stop. The paper's learning rate is 1e-6, for up to 250 epochs; this is an example of a minute.

from skgad import DeepFeatureTransformer, MahalanobisDetector
from skgad.deep import FineTuner

features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[4, 5, 6], image_size=SIZE)
tuner = FineTuner(features, learning_rate=1e-5, max_epochs=8).fit(clean)
print(tuner.history_.round(4).to_string(index=False))

# %%
from skgad.plotting import TrainingDisplay

display = TrainingDisplay.from_estimator(tuner)

# %%
# Before and after
# ----------------
# The same detector behind the frozen network and behind the tuned one. Its threshold, where one is wanted, belongs on
# images that the tuning has not seen: ``FPRThresholdCV(FrozenEstimator(line)).fit(held_out)``.

from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

for name, extractor in {"frozen": features, "tuned": tuner.extractor_}.items():
    line = make_pipeline(extractor, MahalanobisDetector(levels="joint")).fit(clean)
    print(f"{name:6s} AUROC {roc_auc_score(y, line.score_samples(test)):.3f}")
