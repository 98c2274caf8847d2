"""Fits and scores over many machines, on Dask, or over more images than one holds: moments travel, features do not."""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = ["fit", "score_samples"]
