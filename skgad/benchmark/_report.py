"""What a run leaves in its folder: tables as CSV and Markdown, pictures, settings; costs in files of their own."""

import json
import platform
from importlib import metadata
from pathlib import Path

import pandas as pd

from .._version import __version__
from ._markdown import number, table
from ._plots import draw
from ._store import write_atomically
from ._tables import short

_PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "torch", "timm", "pillow", "opencv-python-headless", "pyod")


def write_table(out, finished, notes=()):
    """Write a table: ``NAME.md``, ``NAME.csv``, ``NAME_categories.csv``, ``NAME_folds.csv``, ``NAME.png``.

    The same cells give the same bytes.

    Parameters
    ----------
    out : path
    finished : Table
    notes : sequence of str
        Sentences that stand above the table.
    """
    out = Path(out)
    text = [f"# {finished.title}\n", *(f"{note}\n" for note in notes)]
    for heading, block in finished.blocks:
        text += [f"## {heading}\n", block] if heading else [block]
    write_text(out / f"{finished.name}.md", "\n".join(text))
    for suffix, frame in (("", finished.summary), ("_categories", finished.categories), ("_folds", finished.folds)):
        if len(frame):
            write_text(out / f"{finished.name}{suffix}.csv", frame.to_csv(index=False, float_format="%.4f"))
    write_atomically(out / f"{finished.name}.png", lambda file: draw(finished, file))


def write_settings(out, run, categories, arguments):
    """Write ``settings.json``: versions, fingerprints of weights, the extractor's settings, categories, arguments.

    Parameters
    ----------
    out : path
    run : Run
    categories : list of Category
    arguments : dict
    """
    settings = {
        "versions": {
            "skgad": __version__,
            "python": platform.python_version(),
            **{name: _find_version(name) for name in _PACKAGES},
        },
        "arguments": arguments,
        "backbones": run.settings,
        "categories": {
            one.name: {
                "train": len(one.X_train),
                "test_normal": int((one.y_test == 1).sum()),
                "test_anomalous": int((one.y_test == -1).sum()),
                "is_mvtec_ad": one.is_original,
            }
            for one in categories
        },
    }
    write_text(Path(out) / "settings.json", json.dumps(settings, indent=2, default=str) + "\n")


def write_costs(out, run, ranking=""):
    """Write ``costs.csv`` and ``costs.md``, a fold on average; return the Markdown.

    Cells that an earlier run finished keep the times that they took then.

    Parameters
    ----------
    out : path
    run : Run
    ranking : str, default=""
        Markdown that stands above: a ranking with its costs.
    """
    out = Path(out)
    rows = [
        (cell.backbone, cell.family, cell.category, cell.fold, cell.result.seconds, cell.result.peak_mib)
        for cell in run.cells
    ]
    names = ["backbone", "family", "category", "fold", "seconds", "peak_mib"]
    costs = pd.DataFrame(rows, columns=names)
    write_text(out / "costs.csv", costs.to_csv(index=False, float_format="%.3f"))
    text = "# What it cost\n\n" + (f"{ranking}\n" if ranking else "") + _lay_out_costs(costs)
    if run.extractions:
        text += "\n" + _lay_out_extractions(pd.DataFrame(run.extractions))
    write_text(out / "costs.md", text)
    return text


def write_text(path, text):
    """Write a text file, whole or not at all."""
    write_atomically(Path(path), lambda file: file.write(text.encode()))


def _find_version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _lay_out_costs(costs):
    rows = [
        [
            family,
            short(backbone),
            f"{group['seconds'].mean():.2f}",
            f"{group['seconds'].max():.2f}",
            number(group["peak_mib"].max()),
        ]
        for (backbone, family), group in costs.groupby(["backbone", "family"], sort=False)
    ]
    header = ["Methods", "Network", "seconds a fold, mean", "largest", "peak memory, MiB, largest"]
    return (
        "A fold: fit and score of the whole test set, one thread; memory beyond what the process held before.\n\n"
        + table(header, rows, n_texts=2)
    )


def _lay_out_extractions(extractions):
    rows = [
        [
            f"{images} images",
            short(backbone),
            str(group["n_images"].sum()),
            f"{group['seconds'].sum():.0f}",
            f"{group['n_images'].sum() / group['seconds'].sum():.1f}",
            number(group["peak_mib"].max()),
        ]
        for (backbone, images), group in extractions.groupby(["backbone", "images"], sort=False)
    ]
    header = ["Extraction", "Network", "images", "seconds", "images a second", "peak memory, MiB, largest"]
    return table(header, rows, n_texts=2)
