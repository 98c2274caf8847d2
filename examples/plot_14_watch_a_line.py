"""
Does the line still see what it was calibrated on?
==================================================

A threshold keeps its rate as long as new photographs are like those of the calibration. A conformal test martingale
says when they no longer are, with a guarantee against false alarms; means of features say what moved.
"""

# %%
# A line, and photographs that somebody makes a little out of focus
# -----------------------------------------------------------------

import numpy as np
from PIL import Image, ImageFilter

from skgad import make_line

rng = np.random.default_rng(0)


def photograph():
    """A brushed surface with a rivet somewhere near the middle."""
    grain = np.asarray(Image.fromarray(rng.normal(size=(96, 40)).astype(np.float32)).resize((96, 96)))
    yy, xx = np.mgrid[:96, :96]
    row, column = rng.normal(48, 3, size=2)
    rivet = 40 * ((yy - row) ** 2 + (xx - column) ** 2 < 200)
    values = 110 * rng.normal(1, 0.03) + 12 * grain + rivet + rng.normal(scale=3, size=(96, 96))
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


line = make_line("tf_efficientnet_lite0", fpr=0.05, image_size=96).fit([photograph() for _ in range(200)])

# %%
# A monitor learns nothing: it ranks the distance of each photograph among those of the calibration, and of all that
# came since. After 250 photographs the lens moves.

from skgad.monitoring import LineMonitor

monitor = LineMonitor(line, random_state=0)
monitor.observe([photograph() for _ in range(250)])
print(monitor.describe())


def defocus(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.7)))


blurred = [defocus(photograph()) for _ in range(100)]
monitor.observe(blurred)

# %%
# When, and what
# --------------
# The alarm says since when. Some of the latest photographs are altered in known ways, and what that does to their
# features is held against what has happened.

print(monitor.describe(blurred))
print(monitor.compare_alterations(blurred).round(2).head(4).to_string(index=False))

# %%
# Evidence over time, and how far the mean of each level lies from that of the fit, in times of what chance does:

import matplotlib.pyplot as plt

from skgad.plotting import DriftDisplay

DriftDisplay.from_estimator(monitor)
plt.show()

# %%
# What moved most:

print(monitor.what_moved().round(3).head(6).to_string(index=False))

# %%
# On the command line, ``skgad watch line.skgad incoming`` does all of this, and goes on where it was stopped.
