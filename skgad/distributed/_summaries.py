"""What comes back of parts: sums and scores, and which images they are of."""

import copy
import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Summary:
    """What is known of some adjacent parts; of none of their images is anything left but sums."""

    first: int  # of the parts
    last: int
    n_images: int  # that were looked at
    models: dict  # of fold to what has learnt its images
    bad: list = field(default_factory=list)  # of (position, why) of images that cannot be used
    n_bad: int = 0
    places: dict = field(default_factory=dict)  # of part to (worker, number of images that were used)
    notes: set = field(default_factory=set)  # warnings: (category, text)

    def merge(self, other):
        """Return that of these parts and the next ones."""
        if other.first != self.last + 1:
            raise RuntimeError(
                f"Part {other.first} came after part {self.last}: images would be counted twice, or lost."
            )
        models = dict(self.models)
        for fold, model in other.models.items():
            # a copy learns: what Dask has given may be given again
            models[fold] = copy.copy(models[fold]).merge(model) if fold in models else model
        return Summary(
            self.first,
            other.last,
            self.n_images + other.n_images,
            models,
            self.bad + other.bad,
            self.n_bad + other.n_bad,
            {**self.places, **other.places},
            self.notes | other.notes,
        )


def merge_all(summaries):
    """Return the summary of several, which are adjacent and in order."""
    return functools.reduce(lambda one, other: one.merge(other), summaries)


@dataclass
class Scored:
    """The scores of a part's images."""

    number: int
    positions: np.ndarray  # of images that could be used
    scores: np.ndarray
    n_images: int
    bad: list = field(default_factory=list)
    n_bad: int = 0
    notes: set = field(default_factory=set)
    in_sample: float = 0.0  # the sum of the squared scores by what has seen them
    largest: float = -np.inf  # of all scores


@dataclass
class ScoredMaps:
    """The scores of a part's images, and the largest pixels of their maps."""

    scores: np.ndarray  # (2, n_images): by what has not seen them, and by what has
    largest: Any
