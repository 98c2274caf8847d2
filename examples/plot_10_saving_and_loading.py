"""
Saving and loading
==================

With joblib, and with skops, which loads nothing that you have not agreed to. The network is not in the file: it is
found again by name, and its weights are verified. The images are synthetic.
"""

# %%
# Something to save
# -----------------

import tempfile
from pathlib import Path

import joblib
import numpy as np
from scipy import ndimage
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector

rng = np.random.default_rng(0)
images = np.stack([ndimage.gaussian_filter(rng.normal(size=(96, 96)), (1, 6)) for _ in range(60)])
images = (np.clip(0.5 + 2 * images, 0, 1) * 255).astype(np.uint8)
detector = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=0.05)
line = make_pipeline(DeepFeatureTransformer("tf_efficientnet_lite0"), detector).fit(images[:40])
scores = line.score_samples(images[40:])

# %%
# joblib
# ------
# A pickle can run anything when it is loaded: load your own files only.

folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "line.joblib"
joblib.dump(line, file)
loaded = joblib.load(file)
sizes = {"joblib": file.stat().st_size}
print(f"{sizes['joblib'] / 1e6:.2f} MB; same scores: {np.array_equal(loaded.score_samples(images[40:]), scores)}")

# %%
# Much of it is what NPCA and the Gaussian of the nine levels need; ``compress=3`` makes the file smaller.

joblib.dump(line, file, compress=3)
sizes["joblib, compress=3"] = file.stat().st_size
print(f"{sizes['joblib, compress=3'] / 1e6:.2f} MB")

# %%
# skops
# -----
# It lists the types that it does not know, and loads those that you name.

import skops.io

skops_file = Path(folder.name) / "line.skops"
skops.io.dump(line, skops_file)
sizes["skops"] = skops_file.stat().st_size
unknown = skops.io.get_untrusted_types(file=skops_file)
print("\n".join(unknown))
loaded = skops.io.load(skops_file, trusted=[name for name in unknown if name.startswith("skgad.")])
print("same scores:", np.array_equal(loaded.score_samples(images[40:]), scores))

# %%
# The network is verified
# -----------------------
# The file knows the sha256 of the weights. With others the scores would be others, without a word; it is an error.

import warnings

from skgad.exceptions import WeightsError, WeightsWarning

loaded.set_params(deepfeaturetransformer__weights=None)  # random ones
with warnings.catch_warnings():
    warnings.simplefilter("ignore", WeightsWarning)
    try:
        loaded.predict(images[40:])
    except WeightsError as error:
        print(error)

# %%
# With its weights
# ----------------
# ``store_weights=True`` puts them into the file, for a machine that has none.

line.set_params(deepfeaturetransformer__store_weights=True)
joblib.dump(line, file)
sizes["joblib, store_weights=True"] = file.stat().st_size
folder.cleanup()

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
bars = axes.barh(list(sizes), [size / 1e6 for size in sizes.values()])
axes.bar_label(bars, fmt="%.2f", padding=3)
axes.set_xscale("log")
axes.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
axes.margins(x=0.2)
axes.invert_yaxis()
axes.set_xlabel("size of the file, MB")
plt.show()
