"""
A year on a line
================

Lamps age, one is changed, a new batch has another grain; and a tool wears, so that a dent in some parts grows slowly.
Three ways to keep a detector up to date: not at all; with photographs that somebody has confirmed as normal; with
everything that passed. The last is the most comfortable one, and goes blind.
"""

# %%
# Fifty-two weeks of photographs
# ------------------------------
# Each week brings 24 normal parts, and 8 with the dent: at first so shallow that nobody would see it.

import numpy as np
from PIL import Image

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector

rng = np.random.default_rng(0)
N_WEEKS, N_NORMAL, N_DENTED = 52, 24, 8
yy, xx = np.mgrid[:64, :64]


def photograph(week, dent=0.0):
    """A brushed surface in the light of the week; the dent is a shadow."""
    grain = rng.normal(size=(64, 22 if week < 36 else 24))  # a new batch in week 36
    surface = np.asarray(Image.fromarray(grain.astype(np.float32)).resize((64, 64), Image.Resampling.BICUBIC))
    light = 1.0 - 0.001 * week + (0.06 if week >= 20 else 0.0)  # the lamp ages, and is changed in week 20
    light *= rng.normal(1, 0.03)
    row, column = rng.uniform(20, 44, size=2)
    shadow = dent * np.exp(-((yy - row) ** 2 + (xx - column) ** 2) / 40)
    values = light * (130 + 14 * surface) * (1 - shadow) + rng.normal(scale=2, size=(64, 64))
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[2, 3, 4, 5], image_size=64)
first = extractor.fit_transform([photograph(0) for _ in range(300)])
weeks = []
for week in range(N_WEEKS):
    images = [photograph(week) for _ in range(N_NORMAL)]
    images += [photograph(week, dent=0.3 * week / N_WEEKS) for _ in range(N_DENTED)]
    weeks.append(extractor.transform(images))

# %%
# Three ways
# ----------
# An update is what a fit on all images so far gives, threshold included; `forget` keeps a window of the latest 300.


def add(detector, photographs):
    if len(photographs):
        detector.update(photographs)
        detector.forget(range(len(detector.out_of_fold_scores_) - 300))


detectors = {
    way: FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.05).fit(first)
    for way in ("no update", "twelve confirmed ones a week", "everything that passed")
}
false_alarms, found = ({way: np.empty(N_WEEKS) for way in detectors} for _ in range(2))
for week, photographs in enumerate(weeks):
    for way, detector in detectors.items():
        alarms = detector.predict(photographs) == -1
        false_alarms[way][week], found[way][week] = alarms[:N_NORMAL].mean(), alarms[N_NORMAL:].mean()
        if way == "twelve confirmed ones a week":
            add(detector, photographs[:12])
        elif way == "everything that passed":
            add(detector, photographs[~alarms])

# %%
# What comes of them
# ------------------

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7, 5.5), layout="constrained")
styles = {"no update": ":", "twelve confirmed ones a week": "-", "everything that passed": "--"}
month = np.ones(4) / 4
for axis, shares, title in ((axes[0], false_alarms, "false alarms, %"), (axes[1], found, "dents found, %")):
    for way, values in shares.items():
        axis.plot(range(4, N_WEEKS + 1), 100 * np.convolve(values, month, mode="valid"), styles[way], label=way)
    axis.set_ylabel(title)
    for when in (20, 36):
        axis.axvline(when, color="0.7", linewidth=1)
axes[0].axhline(5, color="0.5", linewidth=1)
axes[0].legend(loc="upper left", fontsize="small")
axes[1].set_xlabel("week (means of four); a lamp is changed in week 20, a new batch comes in week 36")
plt.show()

for way in detectors:
    quarters = [100 * part.mean() for part in np.array_split(false_alarms[way], 4)]
    last = 100 * found[way][-8:].mean()
    print(f"{way:30s} false alarms by quarter {np.round(quarters).astype(int)} %, dents found at the end {last:.0f} %")

# %%
# Whoever does nothing has ever more false alarms, and finds dents among them. Twelve confirmed photographs a week keep
# the rate, through the change of the lamp and the new batch, and dents are found as they grow. Where everything that
# passed is learnt, each dent that is a little too shallow to be found makes the next, a little deeper one normal; and
# what raises a false alarm never enters, so that the rate is not kept either.
