"""Layouts that are not MVTec AD's: each is read into the same Bunch.

Where a data set has anomalous images in its training part, they are left out, and that is warned of.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np

from .._images._interest import read_lit
from ._finding import (
    GOOD,
    JudgedImage,
    find_folder,
    find_images,
    is_image,
    list_names,
    list_visible,
    make_bunch,
    note_gaps,
)
from ._folder import read_mvtec_ad

LOCO_KINDS = ("logical_anomalies", "structural_anomalies")
_ITEM = re.compile(r"kos\d+", re.IGNORECASE)
_RESOLUTIONS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")


def read_loco(root):
    """Return a category of MVTec LOCO AD: a mask a defect, and the pixels of each that suffice, where they are said."""
    notes: list[str] = []
    train = find_images(_need(root, "train", GOOD), notes)
    validation = find_folder(root, "validation", GOOD)
    saturations = _read_saturations(root)
    tests = []
    for kind in (GOOD, *LOCO_KINDS):
        folder = find_folder(root, "test", kind)
        for path in [] if folder is None else find_images(folder, notes):
            regions = find_folder(root, "ground_truth", kind, path.stem)
            masks = tuple(find_images(regions, notes)) if regions else None
            enough = None if masks is None or saturations is None else [_saturate(one, saturations) for one in masks]
            tests.append(JudgedImage(path, kind, masks, enough))
    more = {} if validation is None else {"X_validation": find_images(validation, notes)}
    return make_bunch(train, tests, notes + note_gaps(tests, "ground_truth"), **more)


def read_visa(root, category):
    """Return an object of VisA, by its table ``split_csv/1cls.csv``."""
    table = _read_csv(root / "split_csv" / "1cls.csv", ("object", "split", "label", "image", "mask"))
    rows = [row for row in table if row["object"] == _choose(category, {row["object"] for row in table}, root)]
    return read_rows(
        [
            {
                "path": row["image"],
                "split": row["split"],
                "kind": GOOD if row["label"] == "normal" else row["label"],
                "mask": row["mask"] or None,
            }
            for row in rows
        ],
        root,
        where="split_csv/1cls.csv",
    )


def read_real_iad(root, category):
    """Return a category of Real-IAD, by its table ``realiad_jsons/<category>.json``."""
    tables = {path.stem: path for path in list_visible(root / "realiad_jsons") if path.suffix == ".json"}
    path = tables[_choose(category, set(tables), root)]
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        prefix, normal = table["meta"]["prefix"], table["meta"]["normal_class"]
        rows = [
            {
                "path": prefix + one["image_path"],
                "split": split,
                "kind": GOOD if one["anomaly_class"] == normal else one["anomaly_class"],
                "mask": prefix + one["mask_path"] if one.get("mask_path") else None,
            }
            for split in ("train", "test")
            for one in table[split]
        ]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no table of Real-IAD: {type(error).__name__}: {error}.") from error
    parents = [root / name for name in _RESOLUTIONS if (root / name).is_dir()]
    if not parents:
        raise FileNotFoundError(f"{root} holds none of {', '.join(_RESOLUTIONS)}, the folders of Real-IAD's images.")
    return read_rows(rows, parents[0], where=path.name)


def read_kolektor(root):
    """Return KolektorSDD: it has no split, so that normal images of every other item are learnt."""
    notes: list[str] = []
    train, tests = [], []
    items = [path for path in list_visible(root) if path.is_dir() and _ITEM.fullmatch(path.name)]
    for number, item in enumerate(items):
        files = find_images(item, notes)
        labels = {path.stem.casefold(): path for path in files if path.stem.casefold().endswith("_label")}
        for path in (path for path in files if path not in labels.values()):
            mask = labels.get(f"{path.stem.casefold()}_label")
            if mask is None:
                raise FileNotFoundError(f"{path}: its label, {path.stem}_label.bmp, is missing.")
            is_anomalous = _is_lit(mask)
            if number % 2 == 0 and not is_anomalous:
                train.append(path)
            else:
                tests.append(JudgedImage(path, "defect" if is_anomalous else GOOD, mask if is_anomalous else None))
    return make_bunch(train, tests, notes)


def read_kolektor2(root):
    """Return KolektorSDD2: ``train/10000.png`` beside ``train/10000_GT.png``, and the same of ``test``."""
    notes: list[str] = []
    rows = []
    for split in ("train", "test"):
        files = find_images(_need(root, split), notes)
        labels = {path.stem.casefold(): path for path in files if path.stem.casefold().endswith("_gt")}
        for path in (path for path in files if path not in labels.values()):
            mask = labels.get(f"{path.stem.casefold()}_gt")
            if mask is None:
                raise FileNotFoundError(f"{path}: its label, {path.stem}_GT.png, is missing.")
            kind = "defect" if _is_lit(mask) else GOOD
            rows.append({"path": path, "split": split, "kind": kind, "mask": mask if kind != GOOD else None})
    return read_rows(rows, root, where=root.name, notes=notes)


def read_dagm(root):
    """Return a class of DAGM 2007: ``Train``, ``Test``, and the masks of anomalous images in ``Label`` of each."""
    notes: list[str] = []
    rows = []
    for split in ("train", "test"):
        folder = _need(root, split)
        label = find_folder(folder, "label")
        masks = {} if label is None else {path.stem.casefold(): path for path in list_visible(label) if is_image(path)}
        for path in (path for path in list_visible(folder) if is_image(path)):
            mask = masks.get(f"{path.stem.casefold()}_label")
            rows.append({"path": path, "split": split, "kind": GOOD if mask is None else "defect", "mask": mask})
    return read_rows(rows, root, where=root.name, notes=notes)


def read_rows(rows, root, *, where, notes=()):
    """Return the Bunch that rows of a table mean.

    Parameters
    ----------
    rows : list of dict
        Of "path", "split" ("train" or "test"), "kind" and "mask", a path or None.
    root : Path
        What paths are relative to.
    where : str
        What notes call the table.
    notes : list of str

    Raises
    ------
    FileNotFoundError
        If a file is missing, or there is no normal image to learn from.
    """
    files = [(row, root / row["path"], row["mask"] and root / row["mask"]) for row in rows]
    missing = [str(path) for _, *paths in files for path in paths if path and not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f"{where} names {len(missing)} files that are not there: {list_names(missing)}.")
    train = [path for row, path, _ in files if row["split"] == "train" and row["kind"] == GOOD]
    if not train:
        raise FileNotFoundError(f"{where} has no normal image to learn from.")
    spoilt = [path.name for row, path, _ in files if row["split"] == "train" and row["kind"] != GOOD]
    tests = [JudgedImage(path, row["kind"], mask) for row, path, mask in files if row["split"] == "test"]
    more = [*notes]
    if spoilt:
        more.append(
            f"{where}: {len(spoilt)} anomalous images of the training part are left out, since only normal ones are "
            f"learnt: {list_names(spoilt)}"
        )
    if any(one.mask is not None for one in tests):
        more += note_gaps(tests, where)
    return make_bunch(train, tests, more)


def load_mask(mask):
    """Return where a mask of a data set is set: files of any format, any value but 0; of several, any of them.

    Parameters
    ----------
    mask : path, sequence of paths, or None
        One of ``mask_test``.

    Returns
    -------
    ndarray of bool of shape (height, width), or None
        None for None, as the functions of `skgad.metrics` take it.

    Raises
    ------
    ImageError
        If a file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skgad.datasets import load_mask
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3), 7).save(Path(folder) / "0_mask.png")
    ...     mask = load_mask(Path(folder) / "0_mask.png")
    >>> mask.shape, bool(mask.all())
    ((3, 4), True)
    """
    if mask is None:
        return None
    paths = mask if isinstance(mask, (list, tuple)) else [mask]
    return np.logical_or.reduce([read_lit(path) for path in paths])


def _is_lit(path):
    return bool(read_lit(path).any())


def _read_saturations(root):
    """Return what LOCO says of its defects, by the value that their pixels have in masks; None where it does not."""
    path = root / "defects_config.json"
    if not path.is_file():
        return None
    try:
        return {int(one["pixel_value"]): one for one in json.loads(path.read_text(encoding="utf-8"))}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of LOCO's defects: {type(error).__name__}: {error}.") from error


def _saturate(path, saturations):
    """Return how many pixels of a defect must be found at most: all, where nothing else is said."""
    lit = read_lit(path, values=True)
    size = int((lit > 0).sum())
    known = saturations.get(int(lit.max()))
    if known is None:
        return size
    threshold = known["saturation_threshold"]
    return min(size, int(threshold * size) if known["relative_saturation"] else int(threshold))


def _read_csv(path, columns):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lacking = [name for name in columns if not rows or name not in rows[0]]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: it must be a table of {', '.join(columns)}.")
    return rows


def _choose(category, known, root):
    if category in known:
        return category
    raise ValueError(f"{root} holds the categories {', '.join(sorted(known))}; got category={category!r}.")


def _need(root, *names):
    folder = find_folder(root, *names)
    if folder is None:
        raise FileNotFoundError(f"{root / '/'.join(names)} is missing.")
    return folder


def list_categories(root):
    """Return the names of the objects that one folder holds, by its tables; none where it is of another layout."""
    layout = find_layout(root)
    if layout == "visa":
        return sorted({row["object"] for row in _read_csv(root / "split_csv" / "1cls.csv", ("object",))})
    if layout == "real_iad":
        return [path.stem for path in list_visible(root / "realiad_jsons") if path.suffix == ".json"]
    return []


def is_data_set(root):
    """Return whether a folder is a data set of one of the layouts, by its folders and files."""
    return find_layout(root) != "mvtec_ad" or any(find_folder(root, part) for part in ("train", "test"))


def read_btad(root):
    """Return a product of BTAD: MVTec AD's layout, with "ok" and "ko"."""
    return read_mvtec_ad(root, good="ok")


def find_layout(root):
    """Return the name of the layout that a folder has; "mvtec_ad" where nothing tells."""
    names = [path.name.casefold() for path in list_visible(root)]
    if (root / "split_csv").is_dir():
        return "visa"
    if "realiad_jsons" in names:
        return "real_iad"
    if "test_public" in names:
        return "mvtec_ad_2"
    if any(find_folder(root, "test", kind) for kind in LOCO_KINDS):
        return "mvtec_loco"
    if find_folder(root, "train", "ok") and not find_folder(root, "train", GOOD):
        return "btad"
    if any(_ITEM.fullmatch(name) for name in names):
        return "kolektor_sdd"
    train = find_folder(root, "train")
    files = [path for path in list_visible(train) if is_image(path)] if train else []
    if any(path.stem.casefold().endswith("_gt") for path in files):
        return "kolektor_sdd2"
    if (
        files
        and train
        and not find_folder(train, GOOD)
        and (find_folder(train, "label") or find_folder(root, "test", "label"))
    ):
        return "dagm"
    return "mvtec_ad"
