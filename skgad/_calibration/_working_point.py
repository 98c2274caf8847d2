"""From scores of normal images, by models that have not seen them, to what one rate means: thresholds and p-values."""

from dataclasses import dataclass

import numpy as np

from .._conventions._columns import count_samples
from ._categories import CategoryThresholds, read_categories
from ._conformal import (
    aimed_rate,
    conformal_rank,
    groups_needed,
    p_value_steps,
    rate_interval,
    read_p_values,
    shifted_rate,
    threshold,
)
from ._out_of_fold import number_groups


@dataclass(eq=False)
class Labels:
    """What is known of each calibration image besides its score."""

    groups: np.ndarray | None  # as they came, (n_samples,)
    numbers: np.ndarray | None  # of the groups, from 0 without gaps
    categories: np.ndarray | None  # as `read_categories` gives them

    @classmethod
    def read(cls, groups, categories, X, rows):
        """Return those of the images in `rows` of the caller's `X`; raise ValueError as the two readers do."""
        numbers = None if groups is None else number_groups(groups, count_samples(X), rows)
        kinds = None if categories is None else read_categories(categories, count_samples(X), rows)
        return cls(None if groups is None else np.asarray(groups)[rows], numbers, kinds)

    def take(self, rows):
        """Return those of some of the images."""
        groups = None if self.groups is None else self.groups[rows]
        numbers = None if groups is None else number_groups(groups, len(groups), np.arange(len(groups)))
        return Labels(groups, numbers, None if self.categories is None else self.categories[rows])

    def join(self, more):
        """Return those of the images of both."""
        if (self.groups is None) != (more.groups is None):
            raise ValueError(
                "groups came, and fit had none."
                if self.groups is None
                else "fit had groups: give those of these images."
            )
        groups = None if self.groups is None else np.concatenate([self.groups, more.groups])
        kinds = None if self.categories is None else np.concatenate([self.categories, more.categories])
        n_samples = 0 if groups is None else len(groups)
        numbers = None if groups is None else number_groups(groups, n_samples, np.arange(n_samples))
        return Labels(groups, numbers, kinds if kinds is None else read_categories(kinds, len(kinds)))


class WorkingPoint:
    """The threshold of a rate, over all images and, where they come in categories, in each of them.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Of the calibration images, out of fold; higher = more normal; finite.
    share : float or Fraction
        The rate.
    labels : Labels
    pooled : bool, default=False
        Whether categories that are too small are judged by all images.
    drift : float, default=NaN
        By how much new scores are expected to rise from the models of the folds to the final one.

    Raises
    ------
    ValueError
        If a category is too small for the rate, unless `pooled`.
    """

    def __init__(self, scores, share, labels, *, pooled=False, drift=np.nan):
        self._scores, self._labels, self._pooled, self._drift = scores, labels, pooled, drift
        self.share, self.numbers = float(share), labels.numbers
        self.n_groups = count_groups(len(scores), labels.numbers)
        self.rank = conformal_rank(share, self.n_groups)
        self._edges, self._p_values = p_value_steps(scores, labels.numbers)
        self.aim = aimed_rate(share, self._p_values)
        self.offset = threshold(share, self._edges, self._p_values)
        self.interval = rate_interval(self.rank, self.n_groups)
        rise = shifted_rate(drift, self.offset, self._edges, self._p_values)
        self.drifted = float(np.clip(self.aim + rise, 0, 1))
        self.by_category = None
        if labels.categories is not None:
            self.by_category = CategoryThresholds(
                scores, labels.categories, share, groups=labels.numbers, pooled=pooled
            )

    @property
    def staircase(self):
        """The p-value as a function of the score, over all images: edges and p-values, as of `p_value_steps`."""
        return self._edges, self._p_values

    def at(self, share):
        """Return the same at another rate."""
        return WorkingPoint(self._scores, share, self._labels, pooled=self._pooled, drift=self._drift)

    def on(self, scores, labels):
        """Return that of other images at the same rate."""
        return WorkingPoint(scores, self.share, labels, pooled=self._pooled)

    def p_values(self, scores, categories):
        """Return the p-value of new scores, within their categories where there are."""
        if self.by_category is not None:
            return self.by_category.p_values(scores, categories)
        return read_p_values(scores, self._edges, self._p_values)

    def thresholds(self, n_samples, categories):
        """Return the threshold of each of so many new images, or the one of all."""
        return self.offset if self.by_category is None else self.by_category.thresholds(categories, n_samples)

    def drifts(self):
        """Return whether the check of the folds foretells a rate that chance does not explain."""
        low, high = self.interval
        rate = self.rank / (self.n_groups + 1) + self.drifted - self.aim  # ties and groups shift the aim
        return rate < low or rate > high

    def check(self, categories):
        """Raise ValueError unless categories are there just where the thresholds are set by category."""
        if categories is None and self.by_category is not None:
            raise ValueError("The threshold was set for each category: give categories=, one an image.")
        if categories is not None and self.by_category is None:
            raise ValueError(
                "categories came, and the threshold was set for all images together: give categories= to fit, too."
            )


def count_groups(n_samples, numbers):
    """Return how many things a calibration counts: groups, or images."""
    return n_samples if numbers is None else int(numbers.max()) + 1


def check_reachable(fpr, share, n_groups, *, grouped, at_least=1):
    """Raise ValueError if a rate cannot be reached with so few images, or groups; says how many it takes."""
    if conformal_rank(share, n_groups) >= 1:
        return
    what, count = ("groups of normal images", "n_groups") if grouped else ("normal images", "n_samples")
    raise ValueError(
        f"fpr={fpr} cannot be reached with {count} = {n_groups} {what}: the smallest rate is "
        f"1/{n_groups + 1} = {1 / (n_groups + 1):.3g}. Raise fpr, or give at least "
        f"{max(groups_needed(share), at_least)} {'groups' if grouped else 'images'}."
    )


def read_small_categories(small_categories):
    """Return whether small categories are pooled, as the parameter says."""
    if small_categories not in ("raise", "pool"):
        raise ValueError(f"small_categories must be 'raise' or 'pool'; got {small_categories!r}.")
    return small_categories == "pool"
