"""Categories: the images that a detector learns from and those that it is judged by, complete or refused."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from ..datasets import load_cifar10, load_elpv, load_image_folder, load_image_table
from ..datasets._cifar10 import CIFAR10, has_cifar10
from ..datasets._other_layouts import find_layout, is_data_set, list_categories

# Training and test images of each category of MVTec AD (Bergmann et al., CVPR 2019, Table 1).
MVTEC_AD = {
    "carpet": (280, 117),
    "grid": (264, 78),
    "leather": (245, 124),
    "tile": (230, 117),
    "wood": (247, 79),
    "bottle": (209, 83),
    "cable": (224, 150),
    "capsule": (219, 132),
    "hazelnut": (391, 110),
    "metal_nut": (220, 115),
    "pill": (267, 167),
    "screw": (320, 160),
    "toothbrush": (60, 42),
    "transistor": (213, 100),
    "zipper": (240, 151),
}


class Category(NamedTuple):
    """One data set with its official split.

    Parameters
    ----------
    name : str
    X_train : ndarray of str
        Paths of normal images, sorted by name.
    X_test : ndarray of str
        Paths.
    y_test : ndarray of int
        +1 normal, -1 anomalous.
    mask_test : sequence of (path or None), default=None
        Where the anomalous pixels are, for each test image; None where nobody has said so.
    """

    name: str
    X_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    mask_test: Sequence | None = None

    @property
    def is_original(self):
        """Whether it is a category of MVTec AD, by its name and its numbers of images."""
        return MVTEC_AD.get(self.name) == (len(self.X_train), len(self.X_test))


def load_mvtec(root, names=None, n_folds=5):
    """Return the categories under a folder, or several, in the layout of MVTec AD or others that are common.

    Parameters
    ----------
    root : path or list of paths
        Each folder in it, or in one of its folders, that `load_image_folder` reads is a category, and so is each object
        of VisA and Real-IAD, each class of CIFAR-10, ``cifar10_ship``, and a CSV file that `load_image_table` reads.
    names : list of str, default=None
        Which ones; None for all.
    n_folds : int, default=5
        As many training images at least.

    Returns
    -------
    list of Category
        Sorted by name.

    Raises
    ------
    FileNotFoundError
        If `root` is missing or a category is missing or incomplete; says what is missing of each.
    ValueError
        If two categories have the same name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skgad.benchmark import load_mvtec
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name, count in [("train/good", 5), ("test/good", 1), ("test/crack", 1)]:
    ...         (Path(root) / "cloth" / name).mkdir(parents=True)
    ...         for number in range(count):
    ...             Image.new("L", (8, 8)).save(Path(root) / "cloth" / name / f"{number}.png")
    ...     categories = load_mvtec(root)
    >>> [(one.name, len(one.X_train), one.y_test.tolist()) for one in categories]
    [('cloth', 5, [-1, 1])]
    """
    roots = [Path(one) for one in (root if isinstance(root, (list, tuple)) else [root])]
    absent = [str(one) for one in roots if not one.is_dir() and not _is_table(one)]
    if absent:
        raise FileNotFoundError(f"{', '.join(absent)}: there is no such folder.")
    found = _find_categories(roots)
    wanted = sorted(found) if names is None else list(names)
    faults = [f"{name}: there is no such folder" for name in wanted if name not in found]
    categories = []
    for name in (name for name in wanted if name in found):
        where, load = found[name]
        missing = _find_missing(where, load, n_folds)
        if missing:
            faults.append(f"{name}: {missing}")
        else:
            data = load()
            categories.append(Category(name, data.X_train, data.X_test, data.y_test, data.mask_test))
    if faults or not wanted:
        listed = "".join(f"\n  {fault}" for fault in faults)
        there = ", ".join(sorted(found)) or "none"
        where = ", ".join(map(str, roots))
        inner = [root for root in roots if root.is_dir() and is_data_set(root)]
        one = "".join(f"\n  {root} is a category itself: pass its parent." for root in inner)
        raise FileNotFoundError(
            f"Categories are missing or incomplete in {where}:{listed}\n  Categories found: {there}.{one}"
        )
    return categories


def load_packaged(names=None):
    """Return the solar cells of ELPV as two categories, ``elpv_mono`` and ``elpv_poly``.

    They have no official split: 60 % of the normal cells, drawn with the seed 0, are learnt from; the other normal
    cells and all defective ones are the test set.

    Parameters
    ----------
    names : list of str, default=None
        Which of the two; None for both.

    Returns
    -------
    list of Category

    Raises
    ------
    ValueError
        If a name is unknown.
    ModuleNotFoundError
        If the package elpv-dataset is not installed.

    Examples
    --------
    >>> from skgad.benchmark import load_packaged
    >>> [(one.name, len(one.X_train), len(one.X_test)) for one in load_packaged()]
    [('elpv_mono', 352, 549), ('elpv_poly', 552, 770)]
    """
    known = ("elpv_mono", "elpv_poly")
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"categories of ELPV are {', '.join(known)}; got {', '.join(unknown)}.")
    return [_load_elpv(name) for name in names or known]


def find_gaps(categories):
    """Return why these categories are not MVTec AD as published, as a sentence; empty where they are."""
    originals = {category.name for category in categories if category.is_original}
    resembling = [one for one in categories if one.name in MVTEC_AD and not one.is_original]
    gaps = [
        f"{one.name} has {len(one.X_train)} training and {len(one.X_test)} test images, MVTec AD's has "
        f"{MVTEC_AD[one.name][0]} and {MVTEC_AD[one.name][1]}"
        for one in resembling
    ]
    absent = [name for name in MVTEC_AD if name not in originals and name not in {one.name for one in resembling}]
    if absent:
        gaps.append(f"of MVTec AD's 15 categories, {len(absent)} are not there ({', '.join(absent)})")
    others = [one.name for one in categories if one.name not in MVTEC_AD]
    if others:
        gaps.append(f"not of MVTec AD: {', '.join(others)}")
    return "; ".join(gaps)


def _load_elpv(name):
    paths, y = load_elpv(name.removeprefix("elpv_"))
    train, held_out = train_test_split(paths[y == 1], train_size=0.6, random_state=0)
    test = np.concatenate([np.sort(held_out), paths[y == -1]])
    return Category(name, np.sort(train), test, np.repeat([1, -1], [len(held_out), int((y == -1).sum())]))


def _find_categories(roots):
    """Return where each category lies, and a function that loads it, by its name."""
    found: dict[str, tuple] = {}
    for root in roots:
        if _is_table(root):
            _note(found, {root.stem: (root, partial(load_image_table, root))})
        elif has_cifar10(root):
            _note(found, {f"cifar10_{name}": (root, partial(load_cifar10, root, name)) for name in CIFAR10})
        else:
            _note(found, _find_objects(root))
            for folder in _find_folders(root):
                inner = [folder] if is_data_set(folder) else [one for one in _find_folders(folder) if is_data_set(one)]
                for one in inner:
                    _note(found, _find_objects(one) or {one.name: (one, partial(load_image_folder, one))})
    return found


def _find_objects(root):
    """Return the objects that one folder holds, where its layout has such."""
    return {name: (root, partial(load_image_folder, root, category=name)) for name in list_categories(root)}


def _note(found, more):
    """Take categories in; raise ValueError if two have the same name."""
    for name, (root, load) in more.items():
        if name in found:
            raise ValueError(f"Two categories are called {name!r}: {found[name][0]} and {root}. Rename one.")
        found[name] = root, load


def _is_table(path):
    return path.suffix.lower() == ".csv" and path.is_file()


def _find_folders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _find_missing(root, load, n_folds):
    """Return what a category lacks, as a text; empty where it is complete."""
    is_mvtec = root.is_dir() and not has_cifar10(root) and find_layout(root) == "mvtec_ad"
    if is_mvtec and not (root / "train" / "good").is_dir():
        return "train/good is missing"
    try:
        data = load()
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    missing = []
    if len(data.X_train) < max(n_folds, 3):
        missing.append(f"train/good holds {len(data.X_train)} images, {n_folds} folds need {max(n_folds, 3)}")
    if not (data.y_test == 1).any():
        missing.append("test/good is missing or empty")
    if not (data.y_test == -1).any():
        missing.append("test/<kind> with anomalous images is missing or empty")
    return "; ".join(missing)
