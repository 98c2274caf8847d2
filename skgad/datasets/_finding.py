"""Images in folders, by their endings; what is left out is noted. And the one form that all layouts end in."""

from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from sklearn.utils import Bunch

from .._conventions._warnings import warn
from ..exceptions import ImageWarning

GOOD = "good"
_ENDINGS = {
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
}  # fmt: skip
_LISTED = 5  # names in a warning


class JudgedImage(NamedTuple):
    """One image to judge by."""

    path: Path
    kind: str  # "good", or the kind of anomaly
    mask: object = None  # a path, several, or None
    saturation: object = None  # of several masks, the pixels of each that suffice


def make_bunch(train, test, notes=(), **more):
    """Return the Bunch of a data set, and warn of what was noted.

    Parameters
    ----------
    train : list of path
        Of normal images.
    test : list of JudgedImage
    notes : list of str
    **more : list of path
        Further arrays of paths, by their names.
    """
    for note in notes:
        warn(note, ImageWarning)
    masks = np.empty(len(test), dtype=object)
    masks[:] = [_to_text(one.mask) for one in test]
    kinds = np.array([one.kind for one in test], dtype=str)
    bunch = Bunch(
        X_train=np.array([str(path) for path in train], dtype=str),
        X_test=np.array([str(one.path) for one in test], dtype=str),
        y_test=np.array([1 if is_called(kind, GOOD) else -1 for kind in kinds], dtype=int),
        kind_test=kinds,
        mask_test=masks,
        **{name: np.array([str(path) for path in paths], dtype=str) for name, paths in more.items()},
    )
    if any(one.saturation is not None for one in test):
        bunch.saturation_test = np.empty(len(test), dtype=object)
        bunch.saturation_test[:] = [one.saturation for one in test]
    return bunch


def find_images(folder, notes):
    """Return the image files of a folder, by their endings, sorted by name; note what else is there."""
    files = list_visible(folder)
    others = [path for path in files if not is_image(path)]
    if others:
        notes.append(f"{folder}: {len(others)} files or folders are no images that are read, {left_out(others)}")
    return [path for path in files if is_image(path)]


def find_folder(root, *names):
    """Return the folder of these names below another, whatever their case; None where there is none."""
    for name in names:
        if root is None or not root.is_dir():
            return None
        root = next((path for path in list_visible(root) if path.is_dir() and is_called(path.name, name)), None)
    return root


def note_gaps(test, where):
    """Return a note of the anomalous images without a mask."""
    lacking = [one.path for one in test if one.mask is None and not is_called(one.kind, GOOD)]
    note = (
        f"{where} holds no mask of {len(lacking)} anomalous images, so that mask_test is None there: "
        f"{list_names([f'{path.parent.name}/{path.name}' for path in lacking])}. Leave them out of pixel metrics: "
        "without y=, those take None for a normal image."
    )
    return [note] if lacking else []


def list_visible(folder):
    """Return what a folder holds, sorted by name."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def is_called(name, other):
    """Return whether two names are the same, whatever their case."""
    return name.casefold() == other.casefold()


def is_image(path):
    """Return whether this is a file that is read as an image, by its ending."""
    return has_image_ending(path) and path.is_file()


def has_image_ending(name):
    """Return whether a file of this name is read as an image."""
    return PurePath(name).suffix.lower() in _ENDINGS


def left_out(paths):
    """Return the end of a note."""
    return f"and are left out: {list_names([path.name for path in paths])}"


def list_names(names):
    """Return some names, in brief."""
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _to_text(mask):
    if mask is None:
        return None
    return tuple(str(one) for one in mask) if isinstance(mask, (list, tuple)) else str(mask)
