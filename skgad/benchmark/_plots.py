"""A picture of each table. matplotlib is imported when one is drawn."""

import numpy as np

from .._gaussian._laws import sigma_to_fpr
from ._methods import SUM
from ._tables import short

_DPI = 150


def draw(table, path):
    """Write the picture of a table as PNG.

    Parameters
    ----------
    table : Table
    path : path
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paint = {"table4": _draw_rates, "compare": _draw_ranking, "findings": _draw_findings}.get(table.name, _draw_levels)
    figure = Figure(figsize=(8, _find_height(table)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    paint(axes, table.summary)
    axes.set_title(table.title, fontsize=10, wrap=True)
    figure.savefig(path, dpi=_DPI, format="png")


def _find_height(table):
    n_rows = len(table.summary) if table.name in ("compare", "findings") else 0
    return max(5, 1.5 + 0.3 * n_rows)


def _draw_levels(axes, summary):
    """AUROC by level, a line for each column; dashed what was published."""
    lines = list(summary.groupby(["backbone", "method"], sort=False))
    several = summary["backbone"].nunique() > 1
    levels = list(dict.fromkeys(level for level in summary["level"] if level != SUM)) + [SUM]
    for index, ((backbone, method), own) in enumerate(lines):
        places = np.array([levels.index(level) for level in own["level"]])
        label = short(backbone) if summary["method"].nunique() == 1 else method
        label = f"{short(backbone)}, {method}" if several and label == method else label
        sideways = 0.06 * (index - (len(lines) - 1) / 2)
        drawn = axes.errorbar(
            places + sideways, own["mean"], own["sem"], marker="o", markersize=4, elinewidth=0.8, label=label
        )
        if own["published"].notna().any():
            axes.plot(places, own["published"], "--", color=drawn[0].get_color(), alpha=0.6, label=f"{label}, paper")
    axes.set_xticks(range(len(levels)), [*levels[:-1], "sum"])
    axes.set(xlabel="level", ylabel="AUROC, % (mean ± SEM over categories)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_rates(axes, summary):
    """Achieved false-positive and true-positive rates by n sigma, and the rates expected."""
    rates = summary[summary["level"] != "auroc"]
    sigmas = sorted({int(level.split()[0]) for level in rates["level"]})
    for (backbone, method), own in rates.groupby(["backbone", "method"], sort=False):
        own, colour = own.set_index("level"), None
        for what, line in (("fpr", "o-"), ("tpr", "s:")):
            rows = own.loc[[f"{n} sigma {what}" for n in sigmas]]
            label = f"{short(backbone)}, {method}, {what.upper()}"
            colour = axes.plot(sigmas, rows["mean"], line, markersize=4, color=colour, label=label)[0].get_color()
            if rows["published"].notna().any():
                axes.plot(sigmas, rows["published"], "x", color=colour, label=f"{label}, paper")
    axes.plot(sigmas, [100 * sigma_to_fpr(n) for n in sigmas], color="black", linewidth=0.8, label="expected FPR")
    axes.set_xticks(sigmas)
    axes.set(xlabel="threshold, n sigma", ylabel="share of the test images, % (mean over categories)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_ranking(axes, summary):
    ranked = summary.sort_values("rank", ascending=False)
    labels = [f"{row.method}\n{short(row.backbone)}" for row in ranked.itertuples()]
    _draw_intervals(axes, ranked["mean"], ranked["low"], ranked["high"], labels)
    known = ranked["published"].notna()
    if known.any():
        axes.plot(ranked["published"][known], np.flatnonzero(known), "x", color="black", label="paper")
        axes.legend(fontsize=8)
    axes.set_xlabel("AUROC, % (mean over categories, 95 % over test images)")


def _draw_findings(axes, summary):
    ordered = summary.iloc[::-1]
    labels = [f"{row.this}\nless {row.less}" for row in ordered.itertuples()]
    _draw_intervals(axes, ordered["difference"], ordered["low"], ordered["high"], labels)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("difference of AUROC, points (mean over categories, 95 % over test images)")


def _draw_intervals(axes, means, low, high, labels):
    places = np.arange(len(means))
    sides = np.clip([means - low, high - means], 0, None)
    axes.errorbar(means, places, xerr=sides, fmt="o", markersize=4, capsize=2)
    axes.set_yticks(places, labels, fontsize=7)
    axes.grid(alpha=0.3)
