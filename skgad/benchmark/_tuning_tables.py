"""The second paper's tables: which trainings each needs, and how they stand beside the published figures.

Rippel, Chavan, Lei and Merhof, "Transfer Learning Gaussian Anomaly Detection by Fine-tuning Representations", IN4PL
2022. Figures that the paper quotes from others keep their source.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..deep import DeepFeatureTransformer
from ._data import MVTEC_AD
from ._markdown import pair, signed, table
from ._report import write_text
from ._tuning import AUTOENCODERS, SUPERVISED, VARIANTS, evaluate_tuning, to_table

BACKBONE = "tf_efficientnet_b4.aa_in1k"
_IMAGE, _PIXEL, _PRO = "image_auroc", "pixel_auroc", "pro"


class TuningLayout(NamedTuple):
    """What a table holds."""

    title: str
    measure: str
    rows: dict  # name of a variant, and the published mean and standard error
    quoted: tuple = ()  # approach and source, feature type, mean, standard error


_SPADE, _PADIM = "SPADE (Cohen and Hoshen, 2020)", "PaDiM (Defard et al., 2020)"
_US = "US (Bergmann et al., 2020), as in Zavrtanik et al., 2020"

TUNING_TABLES = {
    "1": TuningLayout(
        "AUROC of images, in percent: the paper's Table 1",
        _IMAGE,
        {
            "Gaussian, tuned": (97.1, 0.8),
            "Gaussian, frozen": (96.3, 1.1),
            "Deep SVDD, tuned": (90.5, 2.7),
            "Deep SVDD, frozen": (86.7, 3.5),
            "FCDD, tuned": (87.0, 3.6),
        },
        (
            ("GeoTrans (Golan and El-Yaniv, 2018), as in Fei et al., 2020", "scratch", 67.2, 4.7),
            ("GANomaly (Akçay et al., 2018), as in Fei et al., 2020", "scratch", 76.1, 1.6),
            ("ARNet (Fei et al., 2020)", "scratch", 83.9, 2.8),
            ("RIAD (Zavrtanik et al., 2020)", "scratch", 91.7, 1.8),
            (_US, "scratch", 87.7, 2.8),
            (_SPADE, "frozen", 85.5, np.nan),
            ("DifferNet (Rudolph et al., 2021)", "frozen", 94.7, 1.3),
            (_PADIM, "frozen", 95.3, np.nan),
            ("Patch SVDD (Yi and Yoon, 2020)", "scratch", 92.1, 1.7),
            ("Triplet networks (Tayeh et al., 2020)", "scratch", 94.9, 1.2),
            ("CutPaste (Li et al., 2021)", "tuned", 96.6, 1.1),
            ("Gaussian AD (Rippel et al., 2021)", "frozen", 95.8, 1.2),
        ),
    ),
    "2": TuningLayout(
        "AUROC of images, in percent, by criterion of early stopping: the paper's Table 2",
        _IMAGE,
        {
            "Gaussian, tuned": (97.1, 0.9),
            "fixed epochs": (96.3, 1.2),
            "validation loss": (95.4, 1.2),
            "Gaussian, frozen": (96.3, 1.1),
        },
    ),
    "3": TuningLayout(
        "AUROC of images, in percent, by the vicinity that is drawn: the paper's Table 3",
        _IMAGE,
        {
            "AugMix, severity 3": (97.1, 0.8),
            "AugMix, severity 4": (97.0, 0.9),
            "AugMix, severity 5": (97.0, 0.8),
            "AugMix, severity 6": (97.0, 0.8),
            "AugMix, severity 7": (97.1, 0.8),
            "Confetti": (96.7, 1.0),
            "CutOut": (96.6, 1.0),
            "Gaussian, tuned": (97.1, 0.8),
        },
    ),
    "4": TuningLayout(
        "AUROC of images, in percent, by Gaussian and aggregation, tuned: the paper's Table 4",
        _IMAGE,
        {
            "global, mean": (93.7, 2.3),
            "global, max": (96.9, 0.9),
            "local, mean": (97.3, 0.8),
            "local, max": (97.3, 0.8),
            "tied, mean": (93.0, 2.3),
            "tied, max": (97.1, 0.8),
        },
    ),
    "5": TuningLayout(
        "AUROC of pixels, in percent: the paper's Table 5",
        _PIXEL,
        {
            "Gaussian, tuned": (96.5, 0.8),
            "Gaussian, frozen": (96.4, 0.7),
            "Deep SVDD, tuned": (95.1, 0.9),
            "Deep SVDD, frozen": (95.2, 0.9),
            "FCDD, tuned": (96.2, 0.6),
        },
        (
            ("CAVGA-Ru (Venkataramanan et al., 2020)", "scratch", 89.0, np.nan),
            ("RIAD (Zavrtanik et al., 2020)", "scratch", 94.2, 1.3),
            ("VAE-attention (Liu et al., 2020)", "scratch", 86.1, 2.3),
            (_US, "scratch", 93.9, 1.6),
            (_SPADE, "frozen", 96.0, 0.9),
            (_PADIM, "frozen", 97.5, 0.4),
            ("Patch SVDD (Yi and Yoon, 2020)", "scratch", 95.7, 0.6),
            ("FCDD (Liznerski et al., 2021)", "tuned", 92.0, np.nan),
            ("CutPaste (Li et al., 2021)", "tuned", 96.0, 0.8),
        ),
    ),
    "6": TuningLayout(
        "Per-region overlap up to 30 % false positives, in percent: the paper's Table 6",
        _PRO,
        {
            "Gaussian, tuned": (88.7, 1.7),
            "Gaussian, frozen": (88.5, 1.6),
            "Deep SVDD, tuned": (88.7, 1.9),
            "Deep SVDD, frozen": (88.9, 2.0),
            "FCDD, tuned": (89.7, 1.6),
        },
        (
            (_SPADE, "frozen", 91.7, 1.4),
            (_PADIM, "frozen", 92.1, 1.1),
            ("US (Bergmann et al., 2020)", "frozen", 91.4, 2.0),
        ),
    ),
    "V": TuningLayout(
        "AUROC of images, in percent: the trained rows of the first paper's Table V",
        _IMAGE,
        {
            "Autoencoder, map mean": (78.8, 4.1),
            "Autoencoder, CCA": (81.8, 3.4),
            SUPERVISED: (96.3, 1.0),
        },
    ),
}


def run_tuning(
    which,
    *,
    categories,
    out,
    backbone=BACKBONE,
    image_size=None,
    n_folds=5,
    max_epochs=250,
    learning_rate=1e-6,
    weights="auto",
    verbose=0,
):
    """Compute tables of the second paper and write them to a folder; finished trainings there are not repeated.

    Parameters
    ----------
    which : {"1", "2", "3", "4", "5", "6", "V", "all"} or list of these
        "V" has the autoencoder and the supervised bound of the first paper, with the network given. The area that "CCA"
        asks for is that of the smallest anomaly of the *test* masks, as there.
    categories : list of Category
    out : path
        ``tuning1.md`` and ``tuning1.csv``, ..., ``tuning_cells.csv``, and the folder ``cells``.
    backbone : str, default="tf_efficientnet_b4.aa_in1k"
    image_size : int, default=None
        Side in pixels; None for the network's nominal size.
    n_folds : int, default=5
    max_epochs : int, default=250
    learning_rate : float, default=1e-6
    weights : optional
        Of the extractor.
    verbose : int, default=0

    Returns
    -------
    dict of str to DataFrame
        By table: indexed by variant, with the columns ``mean``, ``sem``, ``published`` and ``difference``, in percent.

    Raises
    ------
    ValueError
        If a table is unknown.
    WeightsError, BackboneError
        If the network cannot be had.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skgad.benchmark import Category, run_tuning
    >>> images = np.random.default_rng(0).integers(0, 256, size=(8, 32, 32, 3), dtype=np.uint8)
    >>> noise = Category("noise", images[:6], images[6:], np.array([1, -1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tables = run_tuning(
    ...         "2",
    ...         categories=[noise],
    ...         out=folder,
    ...         backbone="tf_efficientnet_lite0",
    ...         image_size=32,
    ...         n_folds=1,
    ...         max_epochs=0,
    ...     )
    >>> tables["2"]["published"].tolist()
    [97.1, 96.3, 95.4, 96.3]
    """
    names = [which] if isinstance(which, str) else list(which)
    unknown = [name for name in names if name not in (*TUNING_TABLES, "all")]
    if unknown:
        raise ValueError(f"tables are {', '.join(TUNING_TABLES)} and all; got {', '.join(map(repr, unknown))}.")
    names = list(TUNING_TABLES) if "all" in names else names
    wanted = {row for name in names for row in TUNING_TABLES[name].rows}
    extractor = DeepFeatureTransformer(backbone, image_size=image_size, weights=weights)
    cells = evaluate_tuning(
        categories,
        extractor,
        [name for name in (*VARIANTS, *AUTOENCODERS, SUPERVISED) if name in wanted],
        out=out,
        n_folds=n_folds,
        parameters={"max_epochs": max_epochs, "learning_rate": learning_rate},
        verbose=verbose,
    )
    write_text(Path(out) / "tuning_cells.csv", pd.DataFrame(cells).to_csv(index=False, float_format="%.4f"))
    originals = {one.name for one in categories if one.is_original}
    complete = originals == set(MVTEC_AD) and len(categories) == len(MVTEC_AD)
    figures, tables = to_table(cells), {}
    for name in names:
        tables[name] = _set_beside(TUNING_TABLES[name], figures, complete)
        listed = ", ".join(one.name for one in categories)
        note = (
            f"{cells[0].backbone}, {extractor.image_size or 'its nominal'} pixels; {len(categories)} categories "
            f"({listed}); {n_folds} divisions of the training images, at most {max_epochs} epochs, learning rate "
            f"{learning_rate:g}."
        )
        _write(Path(out), name, tables[name], note)
    return tables


def _set_beside(layout, figures, complete):
    """Return the measured figures of a table's rows; the published ones where the categories are the paper's."""
    rows = []
    for variant, (mean, _) in layout.rows.items():
        own = figures.loc[variant, ("mean", layout.measure)]
        error = figures.loc[variant, ("sem", layout.measure)]
        rows.append((variant, own, error, mean, own - mean if complete else np.nan))
    return pd.DataFrame(rows, columns=["variant", "mean", "sem", "published", "difference"]).set_index("variant")


def _write(out, name, figures, note):
    layout = TUNING_TABLES[name]
    rows = [
        [variant, pair(row["mean"], row["sem"]), pair(*layout.rows[variant]), signed(row["difference"])]
        for variant, row in figures.iterrows()
    ]
    rows += [[f"{approach}, {kind}", "–", pair(mean, error), "quoted"] for approach, kind, mean, error in layout.quoted]
    text = (
        f"# {layout.title}\n\n{note} Mean over the divisions of a category first, then mean ± SEM over the categories; "
        "each by the objective's own score. Published figures are those of the fifteen categories of MVTec AD with "
        "EfficientNet-B4; differences are taken for these only.\n\n"
    )
    write_text(out / f"tuning{name}.md", text + table(["Approach", "ours", "paper", "Δ"], rows))
    write_text(out / f"tuning{name}.csv", figures.to_csv(float_format="%.4f"))
