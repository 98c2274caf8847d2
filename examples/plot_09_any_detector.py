"""
Precomputed features, and any detector
======================================

Features are a frame, and can be computed once and kept. Behind it any outlier detector of scikit-learn goes, or of
PyOD, which has the opposite sign; `FPRThresholdCV` sets a threshold for each of them.

The images come from the package elpv-dataset (CC BY-NC-SA 4.0: non-commercial use only).
"""

# %%
# Features, from wherever they come
# ---------------------------------
# Columns named ``level7__0013`` keep the level; columns without such names are one group. Here the features of level 7
# are computed, or found in the cache, and kept as a plain array.

import numpy as np
from sklearn.model_selection import train_test_split

from skgad import DeepFeatureTransformer
from skgad.datasets import load_elpv

images, y = load_elpv(kind="mono")
features = DeepFeatureTransformer("tf_efficientnet_lite0", cache=True).fit_transform(images).filter(like="level7__")
normal, defective = features[y == 1].to_numpy(), features[y == -1].to_numpy()
print(normal.shape, defective.shape)

# %%
# scikit-learn's detectors
# ------------------------
# Each is given its own contamination of 5 %, and then put into `FPRThresholdCV`, which replaces its threshold.

from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skgad import MahalanobisDetector

scaler = StandardScaler()
detectors = {
    "MahalanobisDetector": MahalanobisDetector(fpr=0.05),
    "OneClassSVM": make_pipeline(scaler, OneClassSVM(nu=0.05)),
    "LocalOutlierFactor": make_pipeline(scaler, LocalOutlierFactor(contamination=0.05, novelty=True)),
    "IsolationForest": make_pipeline(scaler, IsolationForest(contamination=0.05, random_state=0)),
    "GaussianMixture": make_pipeline(scaler, GaussianMixture(2, covariance_type="diag", random_state=0)),
}

# %%
# PyOD, if it is installed
# ------------------------
# PyOD's ``decision_function`` is *higher for more abnormal* rows, and its ``predict`` gives 1 for outliers and 0 for
# the others. A small class turns the sign; without it, `FPRThresholdCV` would set its threshold on the wrong side.
# With PyOD 3.6.7, KNN came to an AUROC of 0.916 and ECOD to 0.654 on these cells, with 5.1 and 4.7 % false alarms.

from sklearn.base import BaseEstimator, OutlierMixin, clone


class FromPyOD(OutlierMixin, BaseEstimator):
    """A PyOD detector with scikit-learn's sign."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None):
        self.detector_ = clone(self.detector).fit(X)
        return self

    def score_samples(self, X):
        return -self.detector_.decision_function(X)


try:
    from pyod.models.ecod import ECOD
    from pyod.models.knn import KNN
except ImportError:
    print("PyOD is not installed: only scikit-learn's detectors are compared.")
else:
    detectors["PyOD KNN"] = make_pipeline(scaler, FromPyOD(KNN()))
    detectors["PyOD ECOD"] = FromPyOD(ECOD())

# %%
# One threshold for all
# ---------------------
# Five random splits of the normal cells: 60 % to learn from, the rest to count false alarms.

import pandas as pd
from sklearn.metrics import roc_auc_score

from skgad import FPRThresholdCV


def judge(name, detector, train, held_out):
    """Return the AUROC, the false alarms by its own threshold and by `FPRThresholdCV`, and what that finds."""
    own = np.nan  # a mixture has none, and PyOD's speaks of other labels
    if name != "GaussianMixture" and not name.startswith("PyOD"):
        own = np.mean(clone(detector).fit(train).predict(held_out) == -1)
    calibrated = FPRThresholdCV(detector, fpr=0.05).fit(train)
    alarms, found = (np.mean(calibrated.predict(rows) == -1) for rows in (held_out, defective))
    labels = np.repeat([1, -1], [len(held_out), len(defective)])
    auroc = roc_auc_score(labels, calibrated.score_samples(np.vstack([held_out, defective])))
    return {"detector": name, "AUROC": auroc, "own threshold": own, "FPRThresholdCV": alarms, "found": found}


splits = [train_test_split(normal, train_size=0.6, random_state=seed) for seed in range(5)]
rows = [judge(name, detector, *split) for name, detector in detectors.items() for split in splits]
results = pd.DataFrame(rows).groupby("detector", sort=False)
table = results.mean()
print("false alarms at 5 %, by each one's own threshold and by FPRThresholdCV")
print(table.round(3).to_string(na_rep="-"))

# %%
# Bars are means of the splits, lines reach from the lowest to the highest.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for shift, way in [(-0.2, "own threshold"), (0.2, "FPRThresholdCV")]:
    mean = 100 * table[way]
    reach = [mean - 100 * results[way].min(), 100 * results[way].max() - mean]
    axes.barh(np.arange(len(table)) + shift, mean, xerr=reach, height=0.4, label=way)
axes.axvline(5, color="black", linestyle=":", label="what was asked for")
axes.set_yticks(range(len(table)), table.index)
axes.invert_yaxis()
axes.set_xlabel("false alarms on held-out normal cells, %")
axes.legend()
plt.show()
