"""Folders of images in the layout of MVTec AD: train/good, test/<kind>, ground_truth/<kind>."""

from itertools import chain

from ._finding import (
    GOOD,
    JudgedImage,
    find_folder,
    find_images,
    is_called,
    is_image,
    left_out,
    list_visible,
    make_bunch,
    note_gaps,
)
from ._masks import match_masks


def read_mvtec_ad(root, *, good=GOOD, test="test", inside=False):
    """Return the Bunch of a category of MVTec AD, or of anything in a layout like it.

    Parameters
    ----------
    root : Path
    good : str
        What the folders of normal images are called.
    test : str
        What the folder of test images is called.
    inside : bool
        Whether ``ground_truth`` lies in it. Then there are more folders: ``validation/good``, and others that begin
        with "test_", without labels.

    Raises
    ------
    FileNotFoundError
        If ``train/good`` is missing or holds no image.
    ValueError
        If ``train`` holds other kinds than ``good``.
    """
    notes: list[str] = []
    more = _find_more(root, good, test, notes) if inside else {}
    folders = {name: _find_kinds(root, name, notes) for name in ("train", test)}
    truth = _find_kinds((find_folder(root, test) or root) if inside else root, "ground_truth", notes)
    folders[test] = [folder for folder in folders[test] if not (inside and is_called(folder.name, "ground_truth"))]
    notes += _find_strays(
        root, [*folders, "ground_truth", *(["validation", *_find_unlabelled(root, test)] if inside else [])]
    )
    train = [path for folder in _find_good(root, folders["train"], good) for path in find_images(folder, notes)]
    if not train:
        raise FileNotFoundError(
            f"{root / 'train' / good} holds no images. Put the photographs of normal things there; "
            f"{test}/<kind> and ground_truth/<kind> may follow."
        )
    kinds = [(folder, find_images(folder, notes)) for folder in folders[test]]
    masks = _find_masks(kinds, truth, notes)
    paths = [path for _, images in kinds for path in images]
    names = [
        GOOD if is_called(good, folder.name) and good != GOOD else folder.name
        for folder, images in kinds
        for _ in images
    ]
    tests = [JudgedImage(*one) for one in zip(paths, names, masks, strict=True)]
    return make_bunch(train, tests, notes + (note_gaps(tests, "ground_truth") if truth else []), **more)


def _find_unlabelled(root, test):
    """Return the names of the folders of test images without labels."""
    names = (path.name for path in list_visible(root) if path.is_dir())
    return [name for name in names if name.casefold().startswith("test_") and not is_called(name, test)]


def _find_more(root, good, test, notes):
    """Return the images to validate by, and those without labels, by the names of their arrays."""
    validation = find_folder(root, "validation", good)
    found = {} if validation is None else {"X_validation": find_images(validation, notes)}
    for name in _find_unlabelled(root, test):
        found[f"X_{name.casefold().removeprefix('test_')}"] = find_images(root / name, notes)
    return found


def _find_good(root, folders, good):
    """Return the folders of normal images to learn from, or raise ValueError if there are others."""
    others = [folder.name for folder in folders if not is_called(folder.name, good)]
    if others:
        raise ValueError(
            f"{root / 'train'} holds {others}; only normal images, in {good!r}, are learnt from. Move the rest to test."
        )
    return folders


def _find_kinds(root, name, notes):
    """Return the folders in ``train``, ``test`` or ``ground_truth``, sorted by name; note pictures beside them."""
    parents = [path for path in list_visible(root) if path.is_dir() and is_called(path.name, name)]
    for parent in parents:
        strays = [path for path in list_visible(parent) if is_image(path)]
        if strays:
            notes.append(f"{parent}: {len(strays)} pictures lie in no folder of a kind, {left_out(strays)}")
    return sorted(path for parent in parents for path in list_visible(parent) if path.is_dir())


def _find_strays(root, known):
    """Return notes of pictures in the folder itself, and of folders with other names that hold some."""
    strays = [path for path in list_visible(root) if is_image(path) or (_is_other(path, known) and _holds_images(path))]
    names = "/, ".join(known) + "/"
    return [f"{root}: {len(strays)} pictures or folders lie outside of {names}, {left_out(strays)}"] if strays else []


def _find_masks(test, folders, notes):
    """Return the mask of each test image, in their order; note what is missing, and files that are no image's."""
    masks = []
    for kind, images in test:
        files = [path for folder in _find_alike(folders, kind.name) for path in find_images(folder, notes)]
        found, others = match_masks(images, files)
        masks += found
        if others:
            notes.append(f"{others[0].parent}: {len(others)} files are no image's mask, {left_out(others)}")
    kinds = [kind.name.casefold() for kind, _ in test]
    unused = [folder for folder in folders if folder.name.casefold() not in kinds]
    if unused:
        notes.append(f"{unused[0].parent}: {len(unused)} folders are no kind of test, {left_out(unused)}")
    return masks


def _find_alike(folders, name):
    """Return the folders of a name, or those whose names differ in case only."""
    return [folder for folder in folders if folder.name == name] or [
        folder for folder in folders if is_called(folder.name, name)
    ]


def _is_other(path, known):
    return path.is_dir() and not any(is_called(path.name, name) for name in known)


def _holds_images(folder):
    return any(is_image(path) for path in chain(folder.glob("*"), folder.glob("*/*")))
