"""What a network is known by: the sha256 of its weights, and its answer to one fixed image, the *probe*.

The sha256 knows every bit of the weights, and nothing else. The probe knows what no weight shows: an attribute, the
code of a forward pass, another release of timm or torch. It is compared with a tolerance, level by level, since float32
rounds otherwise with other threads, batches and devices. NumPy only.
"""

import base64
import json
from typing import NamedTuple

import numpy as np

from ..exceptions import WeightsError

# By how much the probes of one network may differ, as a share of a level's root mean square. Measured on CPUs, with
# EfficientNet-Lite0 and Lite2: 2e-6 between threads, batches and memory formats; 0.3 for a batch norm's epsilon of 1e-5
# in place of 1e-3; 0.1 for bfloat16. TF32 keeps ten bits, 5e-4, so that a driver that forces it is noticed.
TOLERANCE = 1e-4


_N_SUMS = 8


def condense(features):
    """Return a level's features of the probe image, an array (n_channels,), as eight numbers: sums under fixed weights.

    A change of the features shows in them: the weights, cos(k n²) for feature n, have no pattern that a network has.
    Their mean square is 1/2, so that the sums, over the root of n_channels, are on the scale of the features. Eight
    numbers keep a pickle small.
    """
    n_channels = len(features)
    weights = np.cos(np.outer(np.arange(1, _N_SUMS + 1), np.arange(1, n_channels + 1) ** 2.0))
    return (weights @ np.asarray(features, dtype=float) / np.sqrt(n_channels)).astype(np.float32)


class Identity(NamedTuple):
    """What a network is known by."""

    sha256: str  # of its weights
    probe: np.ndarray  # float32, (n_levels, 8): what `condense` makes of each level's features of the probe image
    libraries: str  # that the probe was made with, and their versions

    def to_text(self):
        """Return it as JSON."""
        probe = base64.b64encode(self.probe.astype("<f4").tobytes()).decode()
        return json.dumps({"sha256": self.sha256, "probe": probe, "libraries": self.libraries})

    @classmethod
    def from_text(cls, text):
        """Return what `to_text` wrote; None where it is something else."""
        try:
            found = json.loads(text)
            probe = np.frombuffer(base64.b64decode(found["probe"]), dtype="<f4").reshape(-1, _N_SUMS)
            return cls(found["sha256"], probe, found["libraries"])
        except (ValueError, KeyError, TypeError):
            return None


def agree(probe, other):
    """Return whether two probes are of the same network: within the tolerance, level by level."""
    return find_difference(probe, other) is None


def find_difference(probe, other):
    """Return the first level, from 1, in which two probes differ by more than the tolerance, and by how much.

    Returns
    -------
    None or (int, float)
        The largest difference as a share of the level's root mean square in `other`; infinite where the levels are not
        as many, or one is finite and the other is not.
    """
    for number, (level, reference) in enumerate(zip(probe, other, strict=False), start=1):
        difference = _compare(level, reference)
        if difference > TOLERANCE:
            return number, difference
    return None if len(probe) == len(other) else (min(len(probe), len(other)) + 1, float("inf"))


def check_same_network(name, found, expected, where="this transformer was fitted with", anew="fit anew"):
    """Raise WeightsError, with what has changed and the remedy, unless two identities are of one network.

    Parameters
    ----------
    name : str
        Of the network.
    found, expected : Identity
    where : str
        Whose the expected identity is.
    anew : str
        What to do where the network is meant.
    """
    if found.sha256 != expected.sha256:
        raise WeightsError(
            f"The weights of {name} found here are not those that {where} (sha256 {found.sha256[:12]}... against "
            f"{expected.sha256[:12]}...), so its detectors would give other scores. Give the same weights, or {anew}."
        )
    difference = find_difference(found.probe, expected.probe)
    if difference is not None:
        raise WeightsError(
            f"{name} has the weights that {where}, but gives other features: of a probe image, level {difference[0]} "
            f"differs by {difference[1]:.2g} of its root mean square, and rounding by less than {TOLERANCE:.0e}. "
            f"{_find_reason(found.libraries, expected.libraries)}, or {anew}."
        )


def _compare(level, reference):
    finite = np.isfinite(reference)
    if not np.array_equal(np.isfinite(level), finite):
        return float("inf")
    difference = np.abs(level[finite].astype(float) - reference[finite]).max(initial=0.0)
    scale = np.sqrt(np.mean(np.square(reference[finite], dtype=float))) if finite.any() else 0.0
    return difference / scale if scale else (float("inf") if difference else 0.0)


def _find_reason(here, then):
    if here != then:
        return f"It was {then} then, and is {here} here: install those versions"
    return (
        f"The libraries are the same ({here}): something that no weight shows has changed, such as an attribute or the "
        "code of the forward pass. Restore it"
    )
