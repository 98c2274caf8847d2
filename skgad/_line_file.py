"""One file for a fitted line: a format with a version, that runs nothing when it is opened.

A ``.skgad`` file is a zip archive of two members: ``manifest.json``, which says in a few words what the line is, and
``line.skops``, its arrays and parameters. skops builds objects of named types and runs no code that a file brings; the
types are those of NumPy, SciPy and scikit-learn that it trusts by itself, and skgad's own classes.
"""

import copy
import importlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._conventions._atomic import write_atomically
from ._version import __version__
from .deep._finding import find_extractor
from .exceptions import LineFileError

FORMAT = 1
_MANIFEST, _LINE = "manifest.json", "line.skops"


def save_line(line, path, *, store_weights=False):
    """Write a fitted line to one file, which is whole or not there.

    Parameters
    ----------
    line : estimator
        A fitted pipeline or detector, such as `make_line` makes.
    path : path
        Of the file, which is replaced if it is there; by custom it ends in ``.skgad``.
    store_weights : bool, default=False
        Whether the file holds the network's weights, for a machine that has none.

    Raises
    ------
    NotFittedError
        If the line is not fitted.
    LineFileError
        If something in it is of a type that could not be read back without trusting the file: the estimator of another
        library, or your own network with its weights.

    See Also
    --------
    load_line : Reads it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skgad import load_line, make_line, save_line
    >>> images = np.random.default_rng(0).integers(0, 256, size=(24, 64, 64, 3), dtype=np.uint8)
    >>> line = make_line("tf_efficientnet_lite0", fpr=0.05, image_size=64).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_line(line, Path(folder) / "line.skgad")
    ...     again = load_line(Path(folder) / "line.skgad")
    >>> bool((again.predict(images) == line.predict(images)).all())
    True
    """
    import skops.io  # slow to import

    check_is_fitted(line)
    line = _without_cache(line, store_weights)
    content = io.BytesIO()
    what = f"{type(line).__name__} cannot be written to a file that is safe to open"
    remedy = "joblib.dump writes a file for those who trust you"
    try:
        skops.io.dump(line, content)
    except Exception as error:  # whatever a type that skops does not know makes of it
        raise LineFileError(f"{what} ({error}); {remedy}.") from error
    _check_types(content, what, remedy)
    manifest = json.dumps({"format": FORMAT, **describe_line(line), "stores_weights": store_weights}, indent=1)

    def write(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_MANIFEST, manifest)
            archive.writestr(_LINE, content.getvalue())

    write_atomically(Path(path), write)


def load_line(path):
    """Read a line that `save_line` wrote. Nothing that the file brings is run.

    Parameters
    ----------
    path : path

    Returns
    -------
    estimator
        As it was fitted. Its network is found again by name, and verified, when it is first needed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    LineFileError
        If it is damaged, or no such file, of a later format, or names types that are not skgad's.

    Warns
    -----
    VersionWarning
        If another version of skgad wrote it.

    See Also
    --------
    save_line : Writes it.

    Examples
    --------
    >>> from skgad import load_line
    >>> load_line("nowhere.skgad")
    Traceback (most recent call last):
    FileNotFoundError: nowhere.skgad: there is no such file.
    """
    import skops.io  # slow to import

    read_manifest(path)  # is it ours, and of a format that is known?
    with _open(path) as archive:
        content = io.BytesIO(_read(archive, _LINE, path))
    types = _check_types(content, f"{path} is not to be trusted", "save_line writes no such file")
    try:
        return skops.io.load(content, trusted=types)
    except Exception as error:  # whatever a wrong part makes of it
        raise LineFileError(f"{path} cannot be read: {error}. Save the line again.") from error


def read_manifest(path):
    """Return what a file says of its line, as a dict; neither the line nor torch is loaded.

    Raises
    ------
    FileNotFoundError, LineFileError
        As `load_line`.
    """
    with _open(path) as archive:
        try:
            manifest = json.loads(_read(archive, _MANIFEST, path))
            number = int(manifest["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise LineFileError(f"{path} is no line: its {_MANIFEST} cannot be read.") from error
    if number > FORMAT:
        raise LineFileError(
            f"{path} has format {number}, written by skgad {manifest.get('skgad')}; skgad {__version__} reads up to "
            f"{FORMAT}. Install a later skgad, or save the line by this one."
        )
    return manifest


def split_line(line):
    """Return what stands in front of a line's threshold, None for nothing, and the threshold with its detector."""
    if isinstance(line, Pipeline):
        return (line[:-1] if len(line.steps) > 1 else None), line[-1]
    return None, line


def describe_line(line):
    """Return what a line is, in words and numbers that JSON knows."""
    extractor, (_, detector) = find_extractor(line), split_line(line)
    described: dict[str, Any] = {"skgad": __version__, "line": type(detector).__name__}
    if hasattr(detector, "estimator_"):
        described["detector"] = type(getattr(detector.estimator_, "_final_estimator", detector.estimator_)).__name__
    if extractor is not None:
        described["network"] = {
            "name": extractor.backbone_,
            "weights_sha256": extractor.weights_sha256_,
            "libraries": extractor.libraries_,
            "levels": [int(level) for level in extractor.levels_],
            "image_size": [int(side) for side in extractor.image_size_],
            "tiles": extractor.tiles if extractor.tiles is None else repr(extractor.tiles),
        }
    if hasattr(detector, "out_of_fold_scores_"):
        described |= {
            "n_images": len(detector.out_of_fold_scores_),
            "fpr": float(detector.fpr),
            "threshold": -float(detector.offset_),
            "makes_maps": hasattr(detector, "score_maps"),
            "summary": _summarise(detector),
        }
    return described


def _summarise(detector):
    """Return the words of a threshold, of distances where it is one for all: scores are theirs with the other sign."""
    first, *lines = detector.summary().splitlines()
    if not hasattr(detector, "offsets_"):
        first = f"An image is called anomalous if its distance from what is normal exceeds {-detector.offset_:.6g}."
    return "\n".join([first, *lines])


def _without_cache(line, store_weights):
    """Return a copy whose extractors name no folder of this machine, and hold weights or not."""
    line = copy.deepcopy(line)
    extractor = find_extractor(line)
    if extractor is not None:
        extractor.set_params(cache=None, store_weights=store_weights)
    return line


def _check_types(content, what, remedy):
    """Return the types that a skops file names and that skops does not know, all of them classes of skgad."""
    import skops.io

    content.seek(0)
    try:
        types = skops.io.get_untrusted_types(file=content)
    except Exception as error:  # whatever a wrong schema makes of it
        raise LineFileError(f"{what}: its parts cannot be told ({error}); {remedy}.") from error
    strangers = [name for name in types if not _is_ours(name)]
    if strangers:
        raise LineFileError(f"{what}: it holds {', '.join(strangers)}, which are not skgad's; {remedy}.")
    content.seek(0)
    return types


def _is_ours(name):
    """Return whether this is the dotted name of a class that skgad defines itself."""
    module, _, attribute = name.rpartition(".")
    if not re.fullmatch(r"skgad(\.(?!__)[A-Za-z_]\w*)+", name):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__ == module


def _open(path):
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file.") from None
    except zipfile.BadZipFile:
        raise LineFileError(
            f"{path} is no line, or a damaged one: it is not a whole archive. `skgad fit`, or save_line, writes one."
        ) from None


def _read(archive, name, path):
    try:
        return archive.read(name)
    except KeyError:
        raise LineFileError(f"{path} is no line: it has no {name}.") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise LineFileError(f"{path} is damaged: {name} cannot be read ({error}). Copy or save it again.") from error
