"""One ranking of all detectors: means, intervals over images, paired differences; the papers' Tables V and VIII."""

import numpy as np
import pandas as pd

from ._baselines import JOINT, NEIGHBOURS, STANDARD, SVM
from ._markdown import interval, number, pair, signed, signed_interval
from ._markdown import table as _table
from ._methods import SUM
from ._protocol import AUGMENTED
from ._published import AUGMENTED as SUFFIX
from ._published import FINE_TUNED, QUOTED, TRAINED, published
from ._statistics import TIE, Bootstrap, average_categories, average_folds, measure_aurocs
from ._tables import Table, lay_out_categories, set_beside, short

BACKBONES = ("tf_efficientnet_b4.aa_in1k", "tf_efficientnet_b0.aa_in1k")
_AUGMENTED_METHODS = ("Mahalanobis" + SUFFIX, "NPCA 1 %" + SUFFIX)


def build_comparison(cells, detectors, *, complete, originals=(), n_draws=2000):
    """Return the comparison of all methods, by their score over all levels.

    Parameters
    ----------
    cells : list of Cell
    detectors : list of str
        Names beyond the standard ones.
    complete : bool
        Whether the categories are the fifteen of MVTec AD.
    originals : collection of str
        Names of categories that are MVTec AD's, beside which published figures can stand.
    n_draws : int, default=2000
        Of the bootstrap.

    Returns
    -------
    Table
        ``summary`` has the columns rank, low and high (the interval of the mean), and to_first, to_first_low and
        to_first_high (the paired difference to the best method).
    """
    families = (*STANDARD, *detectors, AUGMENTED)
    methods = (*_AUGMENTED_METHODS, *STANDARD, *detectors)
    own = [cell for cell in cells if cell.family in families]
    folds = measure_aurocs(own)
    folds = folds[folds["method"].isin(methods) & (folds["level"] == SUM)].reset_index(drop=True)
    summary = _rank(set_beside(average_categories(folds), 8, complete), Bootstrap(own, n_draws))
    categories = _set_categories_beside(average_folds(folds), originals)
    blocks = [
        ("Table V", _lay_out_approaches(summary)),
        ("Ranking", _lay_out_ranking(summary)),
        (
            "Table VIII: AUROC by category",
            lay_out_categories(categories.assign(method=categories["method"].map(_describe))),
        ),
    ]
    if categories["published"].notna().any():
        blocks.append(("Published figures by category, and differences", _lay_out_published(categories)))
    title = "Comparison: AUROC in percent, all levels together"
    return Table("compare", title, blocks, summary, categories, folds)


def lay_out_costs(table, run):
    """Return the ranking with what a fold of each method cost, as Markdown.

    Parameters
    ----------
    table : Table
        What `build_comparison` returned.
    run : Run
    """
    rows = []
    for row in table.summary.sort_values("rank").itertuples():
        family = AUGMENTED if row.method in _AUGMENTED_METHODS else row.method
        costs = [cell.result for cell in run.cells if (cell.backbone, cell.family) == (row.backbone, family)]
        seconds, peak = np.mean([one.seconds for one in costs]), np.max([one.peak_mib for one in costs])
        auroc = interval(row.mean, row.low, row.high)
        rows.append(
            [f"{row.rank}. {_describe(row.method)}", short(row.backbone), auroc, f"{seconds:.2f}", number(peak)]
        )
    header = ["Method", "Network", "AUROC [95 %]", "seconds a fold", "peak memory, MiB"]
    return _table(header, rows, n_texts=2)


def _rank(summary, bootstrap):
    places = list(summary[["backbone", "method", "level"]].itertuples(index=False, name=None))
    order = np.argsort(-summary["mean"].to_numpy(), kind="stable")
    first, rows = places[order[0]], []
    for place in places:
        _, low, high = bootstrap.mean(place)
        *difference, by_category = bootstrap.difference(place, first)
        better = ", ".join(name for name, value in by_category.items() if value >= TIE)
        rows.append((low, high, *difference, better))
    names = ["low", "high", "to_first", "to_first_low", "to_first_high", "better_than_first_in"]
    ranked = summary.join(pd.DataFrame(rows, columns=names))
    ranked["rank"] = np.argsort(order) + 1
    return ranked


def _set_categories_beside(categories, originals):
    places = categories[["backbone", "method", "level", "category"]].itertuples(index=False)
    found = [published(8, *place) if place.category in originals else None for place in places]
    means = np.array([np.nan if one is None else one[0] for one in found])
    return categories.assign(published=means, difference=categories["value"] - means)


def _lay_out_approaches(summary):
    rows = [
        [_describe(row.method), short(row.backbone), pair(row.mean, row.sem), *_format_published(row)]
        for row in summary.itertuples()
    ]
    rows += [[name, architecture, "–", _format_quoted(*figures), "quoted"] for name, architecture, *figures in QUOTED]
    rows += [
        [name, short(architecture), "–", _format_quoted(*figures), f"see tuning {table}"]
        for table, rows_of in {"V": TRAINED, "1": (FINE_TUNED,)}.items()
        for name, architecture, *figures in rows_of
    ]
    return _table(["Approach", "Architecture", "Mean ± SEM", "paper", "Δ"], rows, n_texts=2)


def _format_published(row):
    if np.isnan(row.published):
        return ["–", "–"]
    return [pair(row.published, row.published_sem), signed(row.difference)]


def _format_quoted(mean, error):
    return pair(mean, np.nan if error is None else error)


def _lay_out_ranking(summary):
    rows = [
        [
            f"{row.rank}. {_describe(row.method)}",
            short(row.backbone),
            interval(row.mean, row.low, row.high),
            "–" if row.rank == 1 else signed_interval(row.to_first, row.to_first_low, row.to_first_high),
            row.better_than_first_in or "–",
        ]
        for row in summary.sort_values("rank").itertuples()
    ]
    return _table(["Method", "Network", "Mean [95 %]", "Paired difference to the first", "Better in"], rows, n_texts=2)


def _lay_out_published(categories):
    rows = [
        [
            row.category,
            f"{short(row.backbone)} {row.method}",
            number(row.value),
            number(row.published),
            signed(row.difference),
        ]
        for row in categories[categories["published"].notna()].itertuples()
    ]
    return _table(["Category", "Method", "ours", "paper", "Δ"], rows, n_texts=2)


def _describe(method):
    """Return what a method is called in the table."""
    return {
        _AUGMENTED_METHODS[0]: "Mahalanobis, all features, augmented",
        _AUGMENTED_METHODS[1]: "Mahalanobis, NPCA 1 %, augmented",
        JOINT: "Mahalanobis, joint over all levels (skgad)",
        SVM: "One-class SVM",
        NEIGHBOURS: "Neighbours, k = 50, last level",
    }.get(method, method)
