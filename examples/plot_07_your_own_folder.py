"""
Your own folder of images
=========================

From a folder of photographs to a table of verdicts. The folder has the layout of MVTec AD: normal images to learn from
in ``train/good``, images to judge by in ``test/<kind>``. Here it is made of synthetic textures, in a temporary place;
put your own photographs in the same layout, or pass any list of paths.
"""

# %%
# A folder
# --------

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = 128


def brush(rng):
    """Return a piece of brushed metal, grey values in [0, 255]."""
    noise = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), (0.6, 12))
    return np.clip(130 + 120 * noise, 0, 255)


def dent(metal, rng):
    row, column = np.mgrid[:SIZE, :SIZE] - rng.integers(25, SIZE - 25, size=2)[:, None, None]
    return metal + 60 * np.exp(-(row**2 + column**2) / 60) * np.sign(row)


def scratch(metal, rng):
    row, column = np.mgrid[:SIZE, :SIZE] - rng.integers(25, SIZE - 25, size=2)[:, None, None]
    return np.where((np.abs(row + column) < 1.5) & (np.abs(row) < 20), 235, metal)


def write(folder, name, makers):
    (folder / name).mkdir(parents=True)
    for number in range(makers.pop("count")):
        metal = brush(rng)
        for damage in makers.get("damage", []):
            metal = damage(metal, rng)
        Image.fromarray(np.clip(metal, 0, 255).astype(np.uint8)).save(folder / name / f"{number:03d}.png")


rng = np.random.default_rng(0)
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name) / "metal"
write(folder, "train/good", {"count": 60})
write(folder, "test/good", {"count": 30})
write(folder, "test/dent", {"count": 12, "damage": [dent]})
write(folder, "test/scratch", {"count": 12, "damage": [scratch]})

# %%
# What is in it
# -------------

from skgad.datasets import load_image_folder

data = load_image_folder(folder)
print(len(data.X_train), "images to learn from")
for kind, count in zip(*np.unique(data.kind_test, return_counts=True), strict=True):
    print(f"{count} images of {str(kind)!r} to judge by")

# %%
# Learn
# -----
# A rate of 5 % needs 19 normal images at least. The line is an ordinary pipeline.

from skgad import make_line

line = make_line("tf_efficientnet_lite0", fpr=0.05).set_params(extractor__on_bad_image="nan").fit(data.X_train)
print(line[-1].summary())

# %%
# Judge
# -----
# The score is higher for more normal images; the p-value is the share of normal images that are as anomalous, and an
# image is called anomalous where it is at most 5 %.

import pandas as pd

features = line[:-1].transform(data.X_test)
table = pd.DataFrame(
    {
        "file": [str(Path(path).relative_to(folder)) for path in data.X_test],
        "kind": data.kind_test,
        "score": line[-1].score_samples(features).round(1),
        "p_value": line[-1].p_values(features).round(3),
        "verdict": np.where(line[-1].predict(features) == 1, "normal", "anomalous"),
    }
)
print(table.groupby("kind", sort=False).sample(3, random_state=0).to_string(index=False))
print(table.groupby("kind")["verdict"].value_counts().unstack(fill_value=0))

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
for position, (kind, rows) in enumerate(table.groupby("kind")):
    axes.scatter(-rows["score"], position + rng.uniform(-0.2, 0.2, len(rows)), s=14, label=kind)
axes.axvline(-line[-1].offset_, color="black", linestyle="--", label="threshold")
axes.set_yticks(range(3), sorted(set(data.kind_test)))
axes.set_xlabel("distance")
plt.show()

# %%
# Why is this one anomalous?
# --------------------------
# The distance is a sum over levels, over the image and its quarters: here of a scratched piece.

from skgad.plotting import ExplanationDisplay

scratched = data.X_test[data.kind_test == "scratch"]
ExplanationDisplay.from_estimator(line, scratched[:1])
plt.show()

# %%
# A file that is none
# -------------------
# ``on_bad_image="nan"`` lets a long job go on: the row of an image that cannot be read is NaN, and a warning lists it.
# Leave such rows out before you judge. Without it, the first bad image is an error that names it.

import warnings

(folder / "test" / "good" / "broken.png").write_bytes(b"this is no image")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rows = line[:-1].transform([folder / "test" / "good" / "000.png", folder / "test" / "good" / "broken.png"])
print(str(caught[0].message).replace(temporary.name, "…"))
print("to be judged:", rows.notna().all(axis=1).tolist())
temporary.cleanup()
