"""Networks that learn from normal images: tuned ones, an autoencoder; objectives, the vicinity of images, one loop."""

from ._autoencoder import AutoencoderDetector
from ._fine_tuner import FineTuner

__all__ = ["AutoencoderDetector", "FineTuner"]
