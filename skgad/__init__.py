"""skgad: learn from photographs of normal things, find the anomalous ones. A scikit-learn package."""

import lazy_loader

from ._version import __version__

# A name of __init__.pyi is imported when it is first used: the command answers at once, and the runner of an exported
# line needs neither scikit-learn nor torch.
__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "NPCA",
    "CellwiseDetector",
    "CombinedDetector",
    "DeepFeatureTransformer",
    "FPRThreshold",
    "FPRThresholdCV",
    "FullConformalThreshold",
    "LevelwiseDetector",
    "LevelwiseTransformer",
    "MahalanobisDetector",
    "MahalanobisMixture",
    "NormalRowsOnly",
    "TrainingSetCleaner",
    "__version__",
    "as_labels",
    "load_line",
    "make_line",
    "save_line",
    "sigma_to_fpr",
]
