"""Whether what a detector has learnt can go on, with more rows or with another detector's."""

import numpy as np

from .._conventions._parameters import read_fpr
from .._gaussian._estimate import KINDS
from ._covariance_estimator import check_covariance
from ._joint import check_levels


def find_seen(detector):
    """Return what was learnt, None before the first row; raise ValueError unless it can go on as it was learnt."""
    read_fpr(detector.fpr)
    check_covariance(detector.covariance)
    if not isinstance(detector.covariance, str):
        raise ValueError(f"covariance={detector.covariance!r} keeps no moments; only {', '.join(KINDS)} do.")
    check_levels(detector.levels)
    seen = getattr(detector, "_gaussians", None)
    if seen is not None and (detector.levels == "joint") != bool(seen.blocks):
        raise ValueError(
            f"levels={detector.levels!r} was set after a fit with levels={'joint' if seen.blocks else 'each'!r}, which "
            "learnt other moments. Fit anew, or set it back."
        )
    if seen is not None and seen.kind != detector.covariance:
        raise ValueError(
            f"covariance={detector.covariance!r} was set after a fit with {seen.kind or 'an estimator'!r}, "
            "and may need other moments than were learnt. Fit anew, or set it back."
        )
    return seen


def check_same_columns(one, other):
    """Raise ValueError unless two detectors were fitted on the same columns."""
    if one.levels != other.levels:
        raise ValueError(f"levels={other.levels!r} does not join levels={one.levels!r}: fit both with the same.")
    names, others = (getattr(each, "feature_names_in_", np.array([])) for each in (one, other))
    if one.n_features_in_ != other.n_features_in_ or not np.array_equal(names, others):
        raise ValueError(
            f"The detectors were fitted on different columns ({one.n_features_in_} and {other.n_features_in_}, or "
            "with other names); only Gaussians of the same features can be merged."
        )
