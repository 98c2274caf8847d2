r"""A rate that holds in each category: for each kind of part, camera or shift a threshold of its own.

One threshold for all keeps the rate of the mixture: a kind that scores low raises most of the false alarms, and one
that scores high hides its anomalies. With the staircase of p-values of its own calibration images (Mondrian conformal
prediction),

.. math:: P(\text{false alarm} \mid \text{category } c) \le \frac{k_c}{n_c + 1}, \qquad
    k_c = \lfloor (n_c + 1) \cdot \text{fpr} \rfloor

wherever images are exchangeable within their category, however the categories differ, and however often each of them
comes. The price: each of them needs 1/fpr - 1 normal images, or groups of them.

References
----------
Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, section 4.5.
"""

from numbers import Integral

import numpy as np
import pandas as pd

from ._conformal import conformal_rank, groups_needed, p_value_steps, read_p_values, threshold

_MOST_NAMES = 10


class CategoryThresholds:
    """P-values and thresholds by category, each from the calibration images of its own category.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Of the calibration images; higher = more normal; finite.
    categories : array-like of shape (n_samples,)
        The category of each, as `read_categories` takes them.
    fpr : float in (0, 1)
        The false-positive rate, for each category.
    groups : ndarray of int of shape (n_samples,), default=None
        The number of each image's group, each of which counts once in each category where it has images. None: each
        image is a group of its own.
    pooled : bool, default=False
        Whether categories that are too small for `fpr`, and those that are not among these, are judged by the images of
        all categories together. That keeps no rate for such a category: only that of a mixture like this one.

    Attributes
    ----------
    names : list of str or of int
        The categories, sorted.
    n_groups : ndarray of int of shape (n_categories,)
        How many groups, or images, each of them has.
    is_pooled : ndarray of bool of shape (n_categories,)
        Which of them are too small, and judged by all images.
    offsets : ndarray of shape (n_categories,)
        The score of each category below which, and only below which, its p-value is at most `fpr`.

    Raises
    ------
    ValueError
        If `fpr` is not in (0, 1), `categories` are not as wanted, or one of them is too small for `fpr`; with `pooled`,
        if all together are too small.
    """

    def __init__(self, scores, categories, fpr, *, groups=None, pooled=False):
        categories = read_categories(categories, len(scores))
        groups = np.arange(len(scores)) if groups is None else groups
        self.names = sorted(set(categories))
        self.pooled = pooled
        positions = self._find(categories)
        members = [np.flatnonzero(positions == at) for at in range(len(self.names))]
        self.n_groups = np.array([len(np.unique(groups[rows])) for rows in members])
        self.is_pooled = np.array([conformal_rank(fpr, n_groups) < 1 for n_groups in self.n_groups])
        if self.is_pooled.any() and not pooled:
            self._refuse_small(fpr)
        if pooled:
            _check_whole(fpr, len(np.unique(groups)))
            whole = np.arange(len(scores))
            members = [whole if small else rows for small, rows in zip(self.is_pooled, members, strict=True)]
            members.append(whole)  # the last, which is where position -1 points: categories that are not known
        self._steps = [p_value_steps(scores[rows], _renumber(groups[rows])) for rows in members]
        self._thresholds = np.array([threshold(fpr, *steps) for steps in self._steps])
        self.offsets = self._thresholds[: len(self.names)]

    def p_values(self, scores, categories):
        """Return the conformal p-value of each score within its category.

        Parameters
        ----------
        scores : ndarray of shape (n_new,)
        categories : array-like of shape (n_new,)

        Returns
        -------
        ndarray of shape (n_new,)
            In (0, 1]; at most `fpr` just where the score lies below the threshold of its category.

        Raises
        ------
        ValueError
            If a category had no calibration images, unless `pooled`.
        """
        positions = self._find(read_categories(categories, len(scores)))
        p_values = np.empty(len(scores))
        for at in np.unique(positions):
            rows = positions == at
            p_values[rows] = read_p_values(scores[rows], *self._steps[at])
        return p_values

    def thresholds(self, categories, n_samples):
        """Return for each image the threshold of its category: it is anomalous if its score lies below.

        Parameters
        ----------
        categories : array-like of shape (n_samples,)
        n_samples : int
            The number of images.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If a category had no calibration images, unless `pooled`.
        """
        return self._thresholds[self._find(read_categories(categories, n_samples))]

    def _find(self, categories):
        """Return the position of each category among the names; -1 for one that is not there."""
        known = {name: at for at, name in enumerate(self.names)}
        positions = np.array([known.get(category, -1) for category in categories], dtype=int)
        if not self.pooled and (positions < 0).any():
            unseen = list(dict.fromkeys(categories[positions < 0]))
            raise ValueError(
                f"categories[{np.argmax(positions < 0)}] is {unseen[0]!r}: there was no calibration image of "
                f"{_list_names(unseen)}, only of {_list_names(self.names)}. Calibrate on normal images of each "
                "category, or with small_categories='pool', which judges others by all images, at no rate of their own."
            )
        return positions

    def _refuse_small(self, fpr):
        small = _list_names([f"{self.names[at]!r} ({self.n_groups[at]})" for at in np.flatnonzero(self.is_pooled)], str)
        raise ValueError(
            f"fpr={float(fpr):.4g} cannot be reached in these categories, with so many normal images, or groups, each: "
            f"{small}. The smallest rate of n is 1/(n+1): give at least {groups_needed(fpr)} of each, raise fpr, or "
            "take small_categories='pool', which judges them by all images and keeps no rate for them."
        )


def read_categories(categories, n_samples, rows=None):
    """Return the categories of some images, checked, as an array of Python's texts or ints.

    Parameters
    ----------
    categories : array-like of shape (n_samples,)
        Texts, or integers; not both. A list, an array, a column of a frame.
    n_samples : int
        The number of images.
    rows : ndarray of int, default=None
        Which of them are asked for: those whose category must be there. None: all.

    Returns
    -------
    ndarray of object of shape (n_rows,)

    Raises
    ------
    ValueError
        If the shape is another one, a category is missing or neither a text nor an integer, or if they are mixed. The
        position that is named is the caller's, whatever `rows` are.
    """
    values = np.array(categories, dtype=object)  # not as NumPy likes: it makes texts of what stands beside a text
    if np.ma.isMaskedArray(categories):
        values[np.ma.getmaskarray(categories)] = None
    if values.shape != (n_samples,):
        raise ValueError(
            f"categories must hold one category an image, shape ({n_samples},); got {type(categories).__name__} of "
            f"shape {values.shape}."
        )
    rows = np.arange(n_samples) if rows is None else rows
    read = np.empty(len(rows), dtype=object)
    read[:] = [_read_category(values[row], row) for row in rows]
    texts = np.array([isinstance(value, str) for value in read], dtype=bool)
    if texts.any() and not texts.all():
        text, number = rows[np.argmax(texts)], rows[np.argmin(texts)]
        raise ValueError(
            f"categories must all be texts, or all integers: categories[{text}] is {values[text]!r}, "
            f"categories[{number}] {values[number]!r}. Make them one, with [str(c) for c in categories], say."
        )
    return read


def _read_category(value, row):
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if np.ndim(value) == 0 and pd.isna(value):
        raise ValueError(f"categories has a missing value at image {row}; give it a category, or leave the image out.")
    raise ValueError(
        f"categories[{row}] is {value!r} ({type(value).__name__}); categories are texts or integers. Name them: "
        "[str(c) for c in categories], say."
    )


def _list_names(names, show=repr):
    """Return the first names, and how many more there are."""
    listed = ", ".join(show(name) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{listed} and {more} more" if more > 0 else listed


def _check_whole(fpr, n_groups):
    if conformal_rank(fpr, n_groups) < 1:
        raise ValueError(
            f"fpr={float(fpr):.4g} cannot be reached with {n_groups} normal images, or groups, of all categories "
            f"together: give at least {groups_needed(fpr)}, or raise fpr."
        )


def _renumber(groups):
    return np.unique(groups, return_inverse=True)[1]
