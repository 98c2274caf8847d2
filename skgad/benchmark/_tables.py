"""The papers' tables: which cells each needs, and how its figures are laid out, the published ones beside them."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from .._gaussian._laws import sigma_to_fpr
from ._markdown import number, pair, signed, table
from ._methods import COMPRESSIONS as RATIOS
from ._methods import SUM
from ._protocol import AUGMENTED, COMPRESSIONS, GAUSSIANS
from ._published import AUGMENTED as SUFFIX
from ._published import EFFICIENTNETS, RESNETS, published
from ._statistics import average_categories, average_folds, measure_aurocs, measure_working_points

_MAHALANOBIS = "Mahalanobis"
_LEVEL = "7"
_SIGMAS = (1, 2, 3, 4, 5)


class Layout(NamedTuple):
    """What a table of the paper holds.

    Attributes
    ----------
    number : int
        As published, with which its figures are found.
    title : str
    backbones : tuple of str
        The paper's.
    families : tuple of str
        Of cells that it needs.
    methods : tuple of str
        Its columns; several backbones stand side by side where there is one method, and below each other otherwise.
    """

    number: int
    title: str
    backbones: tuple
    families: tuple
    methods: tuple


LAYOUTS = {
    "1": Layout(
        1,
        "AUROC (± SEM) in percent, by level, under different normal distributions",
        (EFFICIENTNETS[4],),
        (GAUSSIANS,),
        ("L2", "SED", _MAHALANOBIS),
    ),
    "2": Layout(
        2,
        "AUROC (± SEM) in percent, by level, with Mahalanobis distance: EfficientNet",
        EFFICIENTNETS,
        (GAUSSIANS,),
        (_MAHALANOBIS,),
    ),
    "3": Layout(
        3,
        "AUROC (± SEM) in percent, by level, of compressed features with Mahalanobis distance",
        (EFFICIENTNETS[4],),
        (GAUSSIANS, COMPRESSIONS),
        (_MAHALANOBIS, *RATIOS),
    ),
    "4": Layout(
        4,
        f"Expected FPR and achieved FPR / TPR in percent, by n sigma, level {_LEVEL}",
        (EFFICIENTNETS[0], EFFICIENTNETS[4]),
        (AUGMENTED,),
        tuple(name + SUFFIX for name in ("PCA 99 %", "NPCA 1 %", _MAHALANOBIS)),
    ),
    "7": Layout(
        7,
        "AUROC (± SEM) in percent, by level, with Mahalanobis distance: ResNet",
        RESNETS,
        (GAUSSIANS,),
        (_MAHALANOBIS,),
    ),
}


class Table(NamedTuple):
    """A table that is ready to be written.

    Attributes
    ----------
    name, title : str
    blocks : list of (str, str)
        Headings and Markdown tables.
    summary, categories, folds : DataFrame
        Means over categories, by category, and by fold; in percent, with the published figures where there are some.
    """

    name: str
    title: str
    blocks: list
    summary: pd.DataFrame
    categories: pd.DataFrame
    folds: pd.DataFrame


def without_augmentation(layout):
    """Return a layout whose methods learn from the plain images only; others than Table IV's as they are."""
    if AUGMENTED not in layout.families:
        return layout
    return layout._replace(
        title=f"{layout.title}, without augmentation",
        families=(GAUSSIANS, COMPRESSIONS),
        methods=tuple(name.removesuffix(SUFFIX) for name in layout.methods),
    )


def build_table(layout, cells, backbones, *, complete):
    """Return a table of the paper, made from finished cells.

    Parameters
    ----------
    layout : Layout
    cells : list of Cell
        Others than the table's own are left out.
    backbones : list of str
        With the tags of their training, in the order of the table.
    complete : bool
        Whether the categories are the fifteen of MVTec AD, so that published means can stand beside ours.

    Returns
    -------
    Table
    """
    own = [cell for cell in cells if cell.family in layout.families and cell.backbone in backbones]
    is_rates = layout.number == 4
    folds = measure_working_points(own, level=_LEVEL, sigmas=_SIGMAS) if is_rates else measure_aurocs(own)
    folds = folds[folds["method"].isin(layout.methods)].reset_index(drop=True)
    if folds.empty:
        raise ValueError(f"Table {layout.number} is about level {_LEVEL}, which {', '.join(backbones)} lacks.")
    summary = set_beside(average_categories(folds), layout.number, complete)
    lay_out = _lay_out_rates if is_rates else _lay_out_levels
    blocks = []
    for columns in _split_columns(layout, backbones):
        heading = columns[0][0] if len(layout.methods) > 1 else ""
        blocks.append((heading, lay_out(summary, columns, by_backbone=not heading)))
    categories = average_folds(folds)
    shown = categories[categories["level"] == ("auroc" if is_rates else SUM)]
    what = f"AUROC by category, level {_LEVEL}" if is_rates else "AUROC by category, sum of the levels"
    blocks.append((what, lay_out_categories(shown)))
    return Table(f"table{layout.number}", layout.title, blocks, summary, categories, folds)


def set_beside(summary, number, complete):
    """Return a summary with the columns published, published_sem and difference; NaN where there is no such figure."""
    places = summary[["backbone", "method", "level"]].itertuples(index=False)
    found = [(published(number, *place) if complete else None) or (np.nan, np.nan) for place in places]
    means, errors = np.array(found, dtype=float).reshape(-1, 2).T
    return summary.assign(published=means, published_sem=errors, difference=summary["mean"] - means)


def lay_out_categories(categories):
    """Return a Markdown table of categories by columns (backbone and method), with mean and SEM below."""
    wide = categories.pivot_table(
        index="category", columns=["backbone", "method"], values="value", sort=False, observed=True
    )
    n_backbones, n_methods = (wide.columns.get_level_values(name).nunique() for name in ("backbone", "method"))
    headings = [
        " ".join([short(backbone)] * (n_backbones > 1 or n_methods == 1) + [method] * (n_methods > 1))
        for backbone, method in wide.columns
    ]
    rows = [[name, *map(number, values)] for name, values in zip(wide.index, wide.to_numpy(), strict=True)]
    rows.append(["**mean**", *map(number, wide.mean())])
    rows.append(["**SEM**", *map(number, wide.sem())])
    return table(["Category", *headings], rows)


def short(backbone):
    """Return the name of a network without its training."""
    return backbone.split(".")[0].removeprefix("tf_")


def _split_columns(layout, backbones):
    """Return groups of columns (backbone, method): one group for all backbones, or one for each."""
    if len(layout.methods) == 1:
        return [[(backbone, layout.methods[0]) for backbone in backbones]]
    return [[(backbone, method) for method in layout.methods] for backbone in backbones]


def _lay_out_levels(summary, columns, by_backbone):
    levels = list(dict.fromkeys(level for level in summary["level"] if level != SUM)) + [SUM]
    header, parts = ["Level"], []
    for backbone, method in columns:
        own = _pick(summary, backbone, method)
        with_paper = bool(own["published"].notna().any())
        header += [short(backbone) if by_backbone else method, *(["paper", "Δ"] if with_paper else [])]
        parts.append((own, with_paper))
    rows = []
    for level in levels:
        row = ["Sum" if level == SUM else level]
        for own, with_paper in parts:
            row += _format_cell(own.loc[level] if level in own.index else None, with_paper)
        rows.append(row)
    return table(header, rows)


def _pick(summary, backbone, method):
    own = summary[(summary["backbone"] == backbone) & (summary["method"] == method)]
    return own.set_index("level")


def _format_cell(figures, with_paper):
    if figures is None:
        return ["–"] * (3 if with_paper else 1)
    cell = [pair(figures["mean"], figures["sem"])]
    if with_paper:
        cell += [pair(figures["published"], figures["published_sem"]), signed(figures["difference"])]
    return cell


def _lay_out_rates(summary, columns, by_backbone):
    header, parts = ["n", "target FPR"], []
    for backbone, method in columns:
        own = _pick(summary, backbone, method)
        with_paper = bool(own["published"].notna().any())
        name = method.removesuffix(SUFFIX)
        header += [
            f"{name} {what}{extra}" for what in ("FPR", "TPR") for extra in ("", *([" paper", " Δ"] * with_paper))
        ]
        parts.append((own, with_paper))
    rows = []
    for n in _SIGMAS:
        row = [str(n), f"{100 * sigma_to_fpr(n):.2g}"]
        for own, with_paper in parts:
            for what in ("fpr", "tpr"):
                row += _format_rate(own.loc[f"{n} sigma {what}"], with_paper)
        rows.append(row)
    row = ["AUROC", ""]
    for own, with_paper in parts:
        row += [*_format_rate(own.loc["auroc"], with_paper), *[""] * (3 if with_paper else 1)]
    return table(header, [*rows, row])


def _format_rate(figures, with_paper):
    cell = [number(figures["mean"])]
    return cell + ([number(figures["published"]), signed(figures["difference"])] if with_paper else [])
