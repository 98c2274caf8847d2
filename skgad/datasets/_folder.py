"""Folders of images in the layout of MVTec AD: train/good, test/<kind>, ground_truth/<kind>."""

import warnings
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from ..exceptions import ImageWarning

_GOOD = "good"
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")


def load_image_folder(root):
    """Return the paths, labels and masks of a folder in the layout of MVTec AD.

    ::

        root/train/good/*.png                    normal images, to learn from
        root/test/good/*.png                     normal images
        root/test/<kind>/*.png                   anomalous images, one folder a kind
        root/ground_truth/<kind>/*_mask.png      where the anomaly is

    Only ``train/good`` is required. PNG, JPEG, TIFF, BMP, GIF, WebP and PNM files count. They are sorted by name.

    Parameters
    ----------
    root : path

    Returns
    -------
    Bunch
        - ``X_train`` : ndarray of str of shape (n_train,), the paths of the normal images;
        - ``X_test`` : ndarray of str of shape (n_test,);
        - ``y_test`` : ndarray of int of shape (n_test,), +1 for ``good``, -1 for every other kind;
        - ``kind_test`` : ndarray of str of shape (n_test,), the folder's name;
        - ``mask_test`` : ndarray of object of shape (n_test,), the mask's path, None where there is none.

    Raises
    ------
    FileNotFoundError
        If `root` or ``train/good`` is missing or ``train/good`` holds no image.
    ValueError
        If ``train`` holds other kinds than ``good``.

    Warns
    -----
    ImageWarning
        If a folder of images holds other files, or folders: they are left out.

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
    train = _find_images(root / "train" / _GOOD)
    if not train:
        raise FileNotFoundError(
            f"{root / 'train' / _GOOD} holds no images. Put the photographs of normal things there; "
            "test/<kind> and ground_truth/<kind> may follow."
        )
    others = [folder.name for folder in _find_folders(root / "train") if folder.name != _GOOD]
    if others:
        raise ValueError(
            f"{root / 'train'} holds {others}; only normal images, in 'good', are learnt from. Move the rest to test."
        )
    test = [(path, folder.name) for folder in _find_folders(root / "test") for path in _find_images(folder)]
    kinds = np.array([kind for _, kind in test], dtype=str)
    masks = np.empty(len(test), dtype=object)
    masks[:] = [_find_mask(root / "ground_truth" / kind, path) for path, kind in test]
    return Bunch(
        X_train=np.array([str(path) for path in train]),
        X_test=np.array([str(path) for path, _ in test], dtype=str),
        y_test=np.where(kinds == _GOOD, 1, -1),
        kind_test=kinds,
        mask_test=masks,
    )


def _find_images(folder):
    """Return the image files of a folder, by their endings, sorted by name; warn of what else is there."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    images = sorted(path for path in files if path.suffix.lower() in _ENDINGS and path.is_file())
    others = sorted(path.name for path in files if path not in set(images))
    if others:
        listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        message = f"{folder}: {len(others)} files or folders are no images that are read, and are left out: {listed}"
        warnings.warn(message, ImageWarning, stacklevel=3)
    return images


def _find_folders(folder):
    children = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in children if path.is_dir() and not path.name.startswith("."))


def _find_mask(folder, image):
    """Return the path of an image's mask, named 000_mask.png or, as some sets do, 000.png; None where there is none."""
    candidates = (folder / f"{image.stem}_mask.png", folder / f"{image.stem}.png")
    return next((str(path) for path in candidates if path.is_file()), None)
