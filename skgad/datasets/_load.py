"""Data sets on disk, in whatever layout they come: one Bunch for all."""

import csv
from pathlib import Path

import pandas as pd

from ._finding import GOOD, is_called, list_visible
from ._folder import read_mvtec_ad
from ._other_layouts import (
    find_layout,
    read_btad,
    read_dagm,
    read_kolektor,
    read_kolektor2,
    read_loco,
    read_real_iad,
    read_rows,
    read_visa,
)

_BY_CATEGORY = {"visa": read_visa, "real_iad": read_real_iad}  # one folder holds all
_READERS = {
    "mvtec_ad": read_mvtec_ad,
    "mvtec_ad_2": lambda root: read_mvtec_ad(root, test="test_public", inside=True),
    "mvtec_loco": read_loco,
    "btad": read_btad,
    "mpdd": read_mvtec_ad,
    "kolektor_sdd": read_kolektor,
    "kolektor_sdd2": read_kolektor2,
    "dagm": read_dagm,
}
_LAYOUTS = ("auto", *_READERS, *_BY_CATEGORY)


def load_image_folder(root, *, layout="auto", category=None):
    """Return the paths, labels and masks of a data set on disk.

    ::

        root/train/good/*.png                    normal images, to learn from
        root/test/good/*.png                     normal images
        root/test/<kind>/*.png                   anomalous images, one folder a kind
        root/ground_truth/<kind>/*_mask.png      where the anomaly is

    is the layout of MVTec AD, of which ``train/good`` alone is required. PNG, JPEG, JPEG 2000, TIFF, BMP, GIF, WebP,
    AVIF and PNM files count, sorted by name. The mask of ``000.png`` may be called ``000_mask``, ``000_label``,
    ``000_gt`` or ``000``, with any of their endings. Case does not matter, neither of folders nor of masks:
    ``test/Good`` holds normal images.

    Parameters
    ----------
    root : path
    layout : str, default="auto"
        "mvtec_ad", "mvtec_ad_2", "mvtec_loco", "btad", "mpdd", "kolektor_sdd", "kolektor_sdd2", "dagm", "visa" or
        "real_iad", as these are distributed; "auto" tells them by their folders.
    category : str, default=None
        The object, where one folder holds all ("visa", "real_iad"); else a folder in `root`.

    Returns
    -------
    Bunch
        - ``X_train`` : ndarray of str of shape (n_train,), the paths of the normal images;
        - ``X_test`` : ndarray of str of shape (n_test,);
        - ``y_test`` : ndarray of int of shape (n_test,), +1 for normal, -1 for every other kind;
        - ``kind_test`` : ndarray of str of shape (n_test,), the folder's name as it is written, or "good";
        - ``mask_test`` : ndarray of object of shape (n_test,), the mask's path, None where there is none, and with
          "mvtec_loco" a tuple of paths, one a defect; `load_mask` reads each of them. The functions of `skgad.metrics`
          take None for a normal image, and with ``y=data.y_test`` refuse it for an anomalous one;
        - ``X_validation`` : ndarray of str, with "mvtec_ad_2" and "mvtec_loco": normal images to validate by;
        - ``X_private``, ``X_private_mixed`` : ndarray of str, with "mvtec_ad_2": test images without labels;
        - ``saturation_test`` : ndarray of object, with "mvtec_loco": for each mask the number of its pixels that
          suffices, as ``defects_config.json`` says.

    Raises
    ------
    FileNotFoundError
        If `root`, or a file that a table names, is missing, or there is no normal image to learn from.
    ValueError
        If the layout or the category is unknown, a table cannot be used, or ``train`` holds other kinds than ``good``.

    Warns
    -----
    ImageWarning
        If something is left out, by name: other files or folders beside images, pictures outside of a kind's folder,
        other folders of pictures in `root`, masks of no image, anomalous images to learn from. Also if there are masks,
        but not of every anomalous image.

    See Also
    --------
    load_image_table : Data sets as a table of paths and labels.

    Notes
    -----
    KolektorSDD has no split for learning from normal images: those of every other item are learnt, and the others are
    the test set.

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
    if layout not in _LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(map(repr, _LAYOUTS))}; got {layout!r}.")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder.")
    found = find_layout(root) if layout == "auto" else layout
    if found in _BY_CATEGORY:
        return _BY_CATEGORY[found](root, category)
    if category is not None:
        known = [path.name for path in list_visible(root) if path.is_dir()]
        if category not in known:
            raise ValueError(f"{root} holds the folders {', '.join(known) or 'none'}; got category={category!r}.")
        root = root / category
        found = find_layout(root) if layout == "auto" else layout
    return _READERS[found](root)


def load_image_table(table, root=None):
    """Return the Bunch of a data set that a table lists.

    Parameters
    ----------
    table : path, or DataFrame
        A CSV file, or a frame, with the columns ``path`` and ``label``: +1 or "normal" or "good", and -1 or any other
        word, which is the kind of anomaly. ``split`` says "train" or "test"; without it all normal images are learnt
        from, and the anomalous ones tested. ``mask`` may hold the path of a mask, or nothing.
    root : path, default=None
        What paths are relative to; None for the folder of the CSV file, or the working directory.

    Returns
    -------
    Bunch
        As of `load_image_folder`.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or there is no normal image to learn from.
    ValueError
        If a column is missing, or a label or a split cannot be read; names the row.

    Warns
    -----
    ImageWarning
        If anomalous images of the training part are left out, or there are masks, but not of every anomalous image.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from skgad.datasets import load_image_table
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ["a.png", "b.png"]:
    ...         Image.new("L", (8, 8)).save(Path(root) / name)
    ...     table = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["normal", "crack"]})
    ...     data = load_image_table(table, root)
    >>> len(data.X_train), data.kind_test.tolist()
    (1, ['crack'])
    """
    if isinstance(table, pd.DataFrame):
        rows, where, folder = table.to_dict("records"), "table", Path(".")
    else:
        where, folder = str(table), Path(table).parent
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    if not rows or not {"path", "label"} <= set(rows[0]):
        raise ValueError(f"{where} must have rows, and the columns path and label; split and mask may follow.")
    folder = folder if root is None else Path(root)
    return read_rows([_read_row(row, position) for position, row in enumerate(rows)], folder, where=where)


def _read_row(row, position):
    kind = _read_kind(row["label"], position)
    split = str(row.get("split", "train" if kind == GOOD else "test")).strip().casefold()
    if split not in ("train", "test"):
        raise ValueError(f"row {position} has the split {row['split']!r}; 'train' or 'test' is needed.")
    mask = row.get("mask")
    has_mask = isinstance(mask, (str, Path)) and str(mask).strip() != ""
    return {"path": str(row["path"]), "split": split, "kind": kind, "mask": mask if has_mask else None}


def _read_kind(label, position):
    text = str(label).strip()
    if text in ("1", "+1", "1.0") or is_called(text, "normal") or is_called(text, GOOD):
        return GOOD
    if text in ("-1", "-1.0"):
        return "anomaly"
    if not text or text.casefold() in ("nan", "none", "<na>") or text.replace(".", "", 1).lstrip("+-").isdigit():
        raise ValueError(
            f"row {position} has the label {label!r}; +1, 'normal' or 'good' is needed, or -1, or the kind of anomaly."
        )
    return text
