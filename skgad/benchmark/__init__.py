"""The papers' evaluation: the protocol, the tables with the published figures beside them, baselines.

``python -m skgad.benchmark table 1 --data mvtec --root DIR --out OUT`` is `run_tables`; `evaluate` is the protocol
alone, without tables. Nothing else in skgad imports this room.
"""

from ._baselines import make_detector
from ._command import run_tables
from ._data import Category, load_mvtec, load_packaged
from ._protocol import Cell, evaluate, make_folds
from ._published import published
from ._shift import run_shift
from ._statistics import Bootstrap, average_categories, average_folds, measure_aurocs, measure_working_points
from ._store import Result
from ._tuning_tables import run_tuning

__all__ = [
    "Bootstrap",
    "Category",
    "Cell",
    "Result",
    "average_categories",
    "average_folds",
    "evaluate",
    "load_mvtec",
    "load_packaged",
    "make_detector",
    "make_folds",
    "measure_aurocs",
    "measure_working_points",
    "published",
    "run_shift",
    "run_tables",
    "run_tuning",
]
