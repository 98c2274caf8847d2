"""Folders of images in the layout of MVTec AD: train/good, test/<kind>, ground_truth/<kind>."""

from itertools import chain
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from .._conventions._warnings import warn
from ..exceptions import ImageWarning
from ._masks import match_masks

_GOOD = "good"
_ENDINGS = {
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
}  # fmt: skip
_LISTED = 5  # names in a warning


def load_image_folder(root):
    """Return the paths, labels and masks of a folder in the layout of MVTec AD.

    ::

        root/train/good/*.png                    normal images, to learn from
        root/test/good/*.png                     normal images
        root/test/<kind>/*.png                   anomalous images, one folder a kind
        root/ground_truth/<kind>/*_mask.png      where the anomaly is

    Only ``train/good`` is required. PNG, JPEG, JPEG 2000, TIFF, BMP, GIF, WebP, AVIF and PNM files count, sorted by
    name. The mask of ``000.png`` may be called ``000_mask``, ``000_label``, ``000_gt`` or ``000``, with any of their
    endings. Case does not matter, neither of folders nor of masks: ``test/Good`` holds normal images.

    Parameters
    ----------
    root : path

    Returns
    -------
    Bunch
        - ``X_train`` : ndarray of str of shape (n_train,), the paths of the normal images;
        - ``X_test`` : ndarray of str of shape (n_test,);
        - ``y_test`` : ndarray of int of shape (n_test,), +1 for ``good``, -1 for every other kind;
        - ``kind_test`` : ndarray of str of shape (n_test,), the folder's name as it is written;
        - ``mask_test`` : ndarray of object of shape (n_test,), the mask's path, None where there is none. The functions
          of `skgad.metrics` take None for a normal image, and with ``y=data.y_test`` refuse it for an anomalous one.

    Raises
    ------
    FileNotFoundError
        If `root` or ``train/good`` is missing or ``train/good`` holds no image.
    ValueError
        If ``train`` holds other kinds than ``good``.

    Warns
    -----
    ImageWarning
        If something is left out, by name: other files or folders beside images, pictures outside of a kind's folder,
        other folders of pictures in `root`, masks of no image. Also if there are masks, but not of every anomalous
        image.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skgad.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ["train/good", "test/good", "test/crack"]:
    ...         (Path(root) / name).mkdir(parents=True)
    ...         Image.new("L", (8, 8)).save(Path(root) / name / "000.png")
    ...     data = load_image_folder(root)
    >>> len(data.X_train), data.kind_test.tolist(), data.y_test.tolist()
    (1, ['crack', 'good'], [-1, 1])
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder.")
    notes: list[str] = []
    parts = {name: _find_kinds(root, name, notes) for name in ("train", "test", "ground_truth")}
    notes += _find_strays(root, parts)
    train = [path for folder in _find_good(root, parts["train"]) for path in _find_images(folder, notes)]
    if not train:
        raise FileNotFoundError(
            f"{root / 'train' / _GOOD} holds no images. Put the photographs of normal things there; "
            "test/<kind> and ground_truth/<kind> may follow."
        )
    test = [(folder, _find_images(folder, notes)) for folder in parts["test"]]
    masks = _find_masks(test, parts["ground_truth"], notes)
    for note in notes:
        warn(note, ImageWarning)
    kinds = np.array([folder.name for folder, images in test for _ in images], dtype=str)
    mask_test = np.empty(len(masks), dtype=object)
    mask_test[:] = [mask and str(mask) for mask in masks]
    return Bunch(
        X_train=np.array([str(path) for path in train]),
        X_test=np.array([str(path) for _, images in test for path in images], dtype=str),
        y_test=np.array([1 if _is_called(kind, _GOOD) else -1 for kind in kinds], dtype=int),
        kind_test=kinds,
        mask_test=mask_test,
    )


def _find_good(root, folders):
    """Return the folders of normal images to learn from, or raise ValueError if there are others."""
    others = [folder.name for folder in folders if not _is_called(folder.name, _GOOD)]
    if others:
        raise ValueError(
            f"{root / 'train'} holds {others}; only normal images, in 'good', are learnt from. Move the rest to test."
        )
    return folders


def _find_images(folder, notes):
    """Return the image files of a folder, by their endings, sorted by name; note what else is there."""
    files = _list(folder)
    others = [path for path in files if not _is_image(path)]
    if others:
        notes.append(f"{folder}: {len(others)} files or folders are no images that are read, {_left_out(others)}")
    return [path for path in files if _is_image(path)]


def _find_kinds(root, name, notes):
    """Return the folders in ``train``, ``test`` or ``ground_truth``, sorted by name; note pictures beside them."""
    parents = [path for path in _list(root) if path.is_dir() and _is_called(path.name, name)]
    for parent in parents:
        strays = [path for path in _list(parent) if _is_image(path)]
        if strays:
            notes.append(f"{parent}: {len(strays)} pictures lie in no folder of a kind, {_left_out(strays)}")
    return sorted(path for parent in parents for path in _list(parent) if path.is_dir())


def _find_strays(root, known):
    """Return notes of pictures in the folder itself, and of folders with other names that hold some."""
    strays = [path for path in _list(root) if _is_image(path) or (_is_other(path, known) and _holds_images(path))]
    names = "/, ".join(known) + "/"
    return [f"{root}: {len(strays)} pictures or folders lie outside of {names}, {_left_out(strays)}"] if strays else []


def _find_masks(test, folders, notes):
    """Return the mask of each test image, in their order; note what is missing, and files that are no image's."""
    masks = []
    for kind, images in test:
        files = [path for folder in _find_alike(folders, kind.name) for path in _find_images(folder, notes)]
        found, others = match_masks(images, files)
        masks += found
        if others:
            notes.append(f"{others[0].parent}: {len(others)} files are no image's mask, {_left_out(others)}")
    kinds = [kind.name.casefold() for kind, _ in test]
    unused = [folder for folder in folders if folder.name.casefold() not in kinds]
    if unused:
        notes.append(f"{unused[0].parent}: {len(unused)} folders are no kind of test, {_left_out(unused)}")
    if folders:
        notes += _find_gaps(test, masks)
    return masks


def _find_gaps(test, masks):
    """Return a note of the anomalous images without a mask."""
    images = [path for _, images in test for path in images]
    lacking = [
        f"{path.parent.name}/{path.name}"
        for path, mask in zip(images, masks, strict=True)
        if mask is None and not _is_called(path.parent.name, _GOOD)
    ]
    note = (
        f"ground_truth holds no mask of {len(lacking)} anomalous images, so that mask_test is None there: "
        f"{_list_names(lacking)}. Leave them out of pixel metrics: without y=, those take None for a normal image."
    )
    return [note] if lacking else []


def _find_alike(folders, name):
    """Return the folders of a name, or those whose names differ in case only."""
    return [folder for folder in folders if folder.name == name] or [
        folder for folder in folders if _is_called(folder.name, name)
    ]


def _list(folder):
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_called(name, other):
    return name.casefold() == other.casefold()


def _is_image(path):
    return path.suffix.lower() in _ENDINGS and path.is_file()


def _is_other(path, known):
    return path.is_dir() and not any(_is_called(path.name, name) for name in known)


def _holds_images(folder):
    return any(_is_image(path) for path in chain(folder.glob("*"), folder.glob("*/*")))


def _left_out(paths):
    return f"and are left out: {_list_names([path.name for path in paths])}"


def _list_names(names):
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
