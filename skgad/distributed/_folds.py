"""Which images are left out together, and whether each was counted once."""

import numpy as np

from .._calibration._out_of_fold import find_splitter, list_folds, number_folds
from .._conventions._normals import Normals


def number_images(cv, n_images):
    """Return the fold of each image, in the order in which they are learnt; None for no folds.

    Parameters
    ----------
    cv : "loo", None, int, splitter or iterable
    n_images : int

    Raises
    ------
    ValueError
        If a fold does not learn from all images that it does not test.
    """
    if cv is None or (isinstance(cv, str) and cv == "loo"):
        return None
    splitter = find_splitter(cv, n_images, grouped=False)
    images = Normals(np.zeros((n_images, 1)), np.arange(n_images))
    numbers = number_folds(list_folds(splitter, images, {}), n_images, None)
    if numbers is None:
        raise ValueError("Each fold of cv must learn from all images that it does not test, to be left out by moments.")
    return numbers


def own_folds(fold_of, part):
    """Return the folds of a part's images; None where there are none."""
    return None if fold_of is None else fold_of[part.start : part.start + len(part.positions)]


def count_images_once(summary, parts, count, n_without=0):
    """Raise RuntimeError unless each part came back, and each image was learnt or left out, once.

    Parameters
    ----------
    summary : Summary
    parts : Parts
    count : callable
        From a model to the number of images that it has learnt.
    n_without : int, default=0
        Images that were left out on purpose.
    """
    if summary.first != 0 or (parts.n_parts is not None and summary.last != parts.n_parts - 1):
        raise RuntimeError(f"Parts {summary.first} to {summary.last} came back, of {parts.n_parts}.")
    learnt = sum(count(model) for model in summary.models.values())
    if parts.n_images not in (None, summary.n_images) or learnt + n_without + summary.n_bad != summary.n_images:
        raise RuntimeError(
            f"{learnt} images were learnt and {summary.n_bad} left out, of {summary.n_images} that were looked at and "
            f"{parts.n_images} that were given: an image was lost, or counted twice."
        )
    if learnt < 2:
        raise ValueError(
            f"At least 2 normal images are needed to learn from; got n_samples = {learnt} that can be used."
        )
