"""Labels and shares, checked. What cannot be used is refused by name."""

from numbers import Real

import numpy as np


def check_labels(y):
    """Return labels as an array; raise ValueError unless all are +1 (normal) or -1 (anomalous)."""
    labels = to_array("y", y)
    if labels.ndim != 1 or labels.dtype.kind == "b":
        raise ValueError("y must hold a label for each image, +1 (normal) or -1 (anomalous), as skgad.as_labels gives.")
    for position, label in enumerate(labels.tolist()):
        if not isinstance(label, Real) or isinstance(label, bool) or label not in (1, -1):
            raise ValueError(
                f"y[{position}] is {label!r}; labels are +1 (normal) or -1 (anomalous). skgad.as_labels makes such "
                "labels; an image without one is left out of masks, maps and y."
            )
    return labels


def check_share(name, value):
    """Raise ValueError unless a parameter lies in (0, 1]."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not 0 < value <= 1:
        raise ValueError(f"{name} must be a share in (0, 1]; got {value!r}.")


def to_array(name, values):
    """Return what one name of the arguments stands for as an array, or raise ValueError with that name."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, and what it hides would count. Fill it, .filled(0), or leave the image out."
        )
    try:
        return np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of several lengths, tensors on another device
        raise ValueError(f"{name} cannot be made an array: {str(error).rstrip('.')}.") from error
