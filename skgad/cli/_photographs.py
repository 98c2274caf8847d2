"""What a user names on the command line: a folder, a layout, a table, files, a list of them on standard input."""

import os
import sys
import warnings
from pathlib import Path

from ..exceptions import ImageWarning


def find_normals(source, category=None):
    """Return the paths of the normal photographs to learn from, and the data set that they are of.

    Parameters
    ----------
    source : path
        A folder of photographs, a folder in one of the layouts of `load_image_folder`, or a CSV table.
    category : str, default=None
        As in `load_image_folder`.

    Returns
    -------
    paths : list of str
    data : Bunch or None
        None for a folder of photographs, all of which are normal.
    """
    from ..datasets import load_image_folder, load_image_table
    from ..datasets._finding import find_images

    source = Path(source)
    if source.is_file():
        data = load_image_table(source)
        return list(data.X_train), data
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: there is no such folder or table.")
    notes: list[str] = []
    paths = find_images(source, notes) if category is None else []
    if not paths:
        data = load_image_folder(source, category=category)
        return list(data.X_train), data
    for note in notes:
        warnings.warn(note, ImageWarning, stacklevel=1)
    return [str(path) for path in paths], None


def find_judged(source, category=None):
    """Return the paths of photographs to judge, and what is known of them.

    Parameters
    ----------
    source, category
        As in `find_normals`; a folder in no layout is taken with all below it.

    Returns
    -------
    paths : list of str
    labels, kinds : ndarray, or None
        Those of a layout or a table.
    learnt : list of str or None
        Of such, the photographs to learn from.
    """
    from ..datasets import load_image_folder, load_image_table

    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".csv":
        data = load_image_table(path)
    elif path.is_dir() and (category is not None or has_layout(path)):
        data = load_image_folder(path, category=category)
    else:
        paths = list(iter_photographs([str(source)]))
        if not paths:
            raise ValueError(f"{source} holds no images.")
        return paths, None, None, None
    if not len(data.X_test):
        return list(data.X_train), None, None, list(data.X_train)
    return list(data.X_test), data.y_test, data.kind_test, list(data.X_train)


def has_layout(folder):
    """Return whether a folder is in a layout of `load_image_folder`, with photographs to learn from."""
    from ..datasets._finding import find_folder
    from ..datasets._other_layouts import find_layout

    return find_layout(folder) != "mvtec_ad" or find_folder(folder, "train", "good") is not None


def iter_photographs(sources):
    """Yield the path of each photograph that is named: a file as it is, of a folder all below it, by name.

    Parameters
    ----------
    sources : sequence of str
        "-" stands for standard input, a path a line.
    """
    for source in sources:
        if source == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        elif os.path.isdir(source):
            yield from iter_folder(source)
        else:
            yield source


def iter_folder(folder):
    """Yield the paths of the images below a folder, sorted by name in each; hidden files are left out."""
    from ..datasets._finding import has_image_ending

    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and has_image_ending(name):
                yield os.path.join(place, name)
