# Where each name lives: see skgad/__init__.pyi.
from ._fit import fit as fit
from ._score import score_samples as score_samples
