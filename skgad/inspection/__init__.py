"""Why an image is anomalous: which level, place and channels; and what a training set is worth."""

from ._diagnose import Diagnosis, diagnose
from ._explain import explain

__all__ = ["Diagnosis", "diagnose", "explain"]
