"""
Put it on a line
================

From a folder of photographs to a line in a file, judgements, a page and a graph that runs without torch: by the command
``skgad``, which is called from Python here so that the page can show what it prints.

The photographs are drawn, so that they may be shown anywhere.
"""

# %%
# A folder of normal photographs, and one of new ones
# ---------------------------------------------------

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

folder = tempfile.TemporaryDirectory()
root = Path(folder.name)
rng = np.random.default_rng(0)


def draw(name, n_images, has_hole=False):
    """Draw cloth into a folder."""
    (root / name).mkdir(parents=True)
    weave = np.sin(np.arange(160) / 2)[:, None] * np.sin(np.arange(160) / 3)
    for number in range(n_images):
        grey = 128 + 40 * weave + rng.normal(0, 10, (160, 160)) + rng.normal(0, 6)
        if has_hole:
            row, column = rng.integers(30, 110, size=2)
            grey[row : row + 16, column : column + 16] = 20
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(root / name / f"{number:03d}.png")


draw("photographs", 60)
draw("new/fine", 10)
draw("new/holes", 4, has_hole=True)

# %%
# A line
# ------
# ``skgad fit photographs -o line.skgad --fpr 0.05 --maps``


def skgad(*arguments):
    """Run the command ``skgad``, and print its exit status."""
    from skgad.cli import main

    print("exit status", main([str(argument) for argument in arguments]))


line = root / "line.skgad"
skgad("fit", root / "photographs", "-o", line, "--fpr", "0.05", "--maps", "--backbone", "tf_efficientnet_lite0")

# %%
# Judgements
# ----------
# ``skgad predict line.skgad new --maps maps``: 1 says that an image is anomalous.

skgad("predict", line, root / "new", "--csv", root / "judged.csv", "--maps", root / "maps", "--quiet")
print((root / "judged.csv").read_text().splitlines()[0])

# %%
import matplotlib.pyplot as plt

pictures = sorted((root / "maps").glob("holes_*.png"))[:3]
figure, axes = plt.subplots(1, len(pictures), figsize=(2.6 * len(pictures), 2.6), layout="constrained")
for ax, path in zip(axes, pictures, strict=True):
    with Image.open(path) as picture:
        ax.imshow(picture)
    ax.set_title(path.stem)
    ax.set_axis_off()
plt.show()

# %%
# A page
# ------
# ``skgad report line.skgad new`` writes ``line.html``: a threshold that can be moved, all images, their maps.

skgad("report", line, root / "new")

# %%
# Without torch
# -------------
# ``skgad export line.skgad photographs -o line.onnx`` writes one graph, and runs it beside the line before. What runs
# the graph takes NumPy, Pillow and onnxruntime alone.

skgad("export", line, root / "photographs", "-o", root / "line.onnx")

from skgad.deploy import load

runner = load(root / "line.onnx")
print(runner.predict(sorted((root / "new" / "holes").iterdir())))
print("learnt", runner.description["n_images"], "images, as", runner.description["network"]["name"], "sees them")
folder.cleanup()
