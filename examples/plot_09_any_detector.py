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
X = features.to_numpy()
train, held_out = train_test_split(X[y == 1], train_size=0.6, random_state=0)
test = np.vstack([held_out, X[y == -1]])
y_test = np.repeat([1, -1], [len(held_out), (y == -1).sum()])

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
# With PyOD 3.6.7, KNN came to an AUROC of 0.915 and ECOD to 0.654 on these cells, with 3.4 and 4.2 % false alarms.

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

import pandas as pd
from sklearn.metrics import roc_auc_score

from skgad import FPRThresholdCV

rows = []
for name, detector in detectors.items():
    calibrated = FPRThresholdCV(detector, fpr=0.05).fit(train)
    scores, alarms = calibrated.score_samples(test), calibrated.predict(test) == -1
    own = np.nan
    if hasattr(detector, "predict") and name != "GaussianMixture" and not name.startswith("PyOD"):
        own = np.mean(clone(detector).fit(train).predict(held_out) == -1)
    rows.append(
        {
            "detector": name,
            "AUROC": roc_auc_score(y_test, scores),
            "its own threshold, false alarms": own,
            "FPRThresholdCV, false alarms": alarms[y_test == 1].mean(),
            "found": alarms[y_test == -1].mean(),
        }
    )
table = pd.DataFrame(rows).set_index("detector")
print(table.round(3).to_string(na_rep="-"))

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
places = np.arange(len(table))
axes.barh(places - 0.2, 100 * table["its own threshold, false alarms"], height=0.4, label="its own threshold, 5 %")
axes.barh(places + 0.2, 100 * table["FPRThresholdCV, false alarms"], height=0.4, label="FPRThresholdCV, 5 %")
axes.axvline(5, color="black", linestyle=":")
axes.set_yticks(places, table.index)
axes.invert_yaxis()
axes.set_xlabel("false alarms on held-out normal cells, %")
axes.legend()
plt.show()
