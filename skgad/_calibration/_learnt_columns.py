"""Columns that were learnt from the very images that are to calibrate a threshold, as their names tell.

`NPCA` and PCA choose their directions on the images, and a detector that is a transformer measures those that it has
learnt. Where that happens in front of the folds, no score is out of fold: 60 to 100 % false alarms at a target of 5 %
were seen. An array has no names, and cannot be told.
"""

import re

from .._conventions._levels import TUNED

# The names that NPCA, scikit-learn's decompositions, FineTuner and MahalanobisDetector.transform give.
_CHOSEN = re.compile(r"(?:^|__)(npca|[a-z]*pca|truncatedsvd|fastica|factoranalysis)\d+$")
_TUNED = re.compile(rf"__{TUNED}\d+$")
_MEASURED = re.compile(r"(?:^|__)(?:npca_)?(?:chi|dist)\d+$")


def find_learnt_column(X):
    """Return the first column of a frame whose name says that it was learnt, and what stands behind it; or None."""
    for name in map(str, getattr(X, "columns", ())):
        chosen = _CHOSEN.search(name)
        if chosen:
            return name, {"npca": "NPCA", "pca": "PCA"}.get(chosen[1], "the decomposition")
        if _TUNED.search(name):
            return name, "FineTuner"
        if _MEASURED.search(name):
            return name, "MahalanobisDetector"
    return None


def refuse_learnt_columns(X):
    """Raise ValueError if a frame has such a column."""
    found = find_learnt_column(X)
    if found is not None:
        name, step = found
        raise ValueError(
            f"X has the column {name!r}: {step} learnt it in front of the folds, from images that these are to leave "
            f"out, and false alarms would be many times fpr. Put {step} inside: "
            "FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector())), for instance. If it has learnt from "
            "other images only, freeze what follows it, FrozenEstimator(detector), or pass X.to_numpy()."
        )
