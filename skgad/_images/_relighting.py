"""The same picture in other light."""

import numpy as np


def relight(image, brightness=1.0, contrast=1.0):
    """Return an image on the scale 0..255 as bytes, its contrast about the mean and its brightness multiplied."""
    values = image.astype(np.float32)
    mean = values.mean()
    return np.clip(np.rint(brightness * (mean + contrast * (values - mean))), 0, 255).astype(np.uint8)
