"""Networks that are tuned to normal images: objectives, the vicinity of images, one loop, and the estimator."""

from ._fine_tuner import FineTuner

__all__ = ["FineTuner"]
