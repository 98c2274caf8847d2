"""The report and the plot of measure_working_point.py."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from _working_point_scores import JOINT, LEVEL, MODELS, REDUCTIONS, SUM
from _working_point_tables import (
    CALIBRATED,
    EXACT,
    METHODS,
    OUT_OF_FOLD,
    TARGETS,
    add_bands,
    check_split_law,
    count_alarms,
)
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from skgad import sigma_to_fpr

BEHIND = {
    "elpv mono": "modules, most likely: cells come in stretches, without module numbers",
    "elpv poly": "modules, most likely: cells come in stretches, without module numbers",
    "commutator": "50 items, up to 8 photographs each; the file names tell",
    "tile": "tiles, photographed at several exposures; the file names do not tell which",
}
LIMITS = {0.1: (0.8, 1.2), 0.05: (0.8, 1.2), 0.01: (0.6, 1.3)}
COLOURS = dict(zip(MODELS, ("#444444", "#1f77b4", "#d95f02", "#7a3b9a", "#2a9d4a"), strict=True))
CELLS = [(LEVEL, model) for model in REDUCTIONS] + [(SUM, model) for model in MODELS]


def write(folder, sets, counts, parts, costs, worst):
    """Write `report.md` and `cells.csv`."""
    cells = add_bands(counts, sets)
    cells.to_csv(folder / "cells.csv", index=False, float_format="%.5g")
    sections = [
        "# Does the rate that was asked for come?",
        f"Distances agree with those of the package to {worst:.0e} (five folds, first split, all reductions).",
        *_say_sets(sets),
        *_say_rates(cells),
        *_say_split_law(counts, sets),
        *_say_ratios(cells),
        *_say_bands(cells),
        *_say_refused(cells),
        *_say_detections(counts),
        *_say_table_iv(sets),
        *_say_parts(parts),
        *_say_costs(costs),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n")
    print("\n\n".join(sections))


def table(frame):
    """Return a frame as a Markdown table; its index is not shown."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _percent(value):
    return "refused" if pd.isna(value) else f"{100 * value:.1f}"


def _say_sets(sets):
    rows = []
    for name, (splits, scores) in sets.items():
        train, held_out = splits[0]
        n_anomalous = len(scores[0][f"{SUM}/none/others"]) - len(held_out)
        behind = BEHIND.get(name, "one photograph a thing, as far as is known")
        rows.append((name, len(splits), len(train), len(held_out), n_anomalous, behind))
    columns = ["set", "splits", "images to learn from", "held out", "anomalous", "behind the images"]
    yield "## The sets"
    yield table(pd.DataFrame(rows, columns=columns))
    yield (
        "Random splits of images test exchangeability of images only. A part that is not among the training images is "
        "another matter: see the last but one section."
    )


def _say_rates(cells):
    yield "## False alarms, % of held-out normal images"
    yield (
        "All sets and splits pooled, without the sets that refuse; predictive F: the empirical covariance, on sets "
        "with more images than features."
    )
    for target in TARGETS:
        here = cells[(cells["target"] == target) & cells["alarms"].notna()]
        sums = here.groupby(["levels", "reduction", "method"], sort=False)[["alarms", "n_new"]].sum()
        rates = (sums["alarms"] / sums["n_new"]).map(_percent).unstack("method").reindex(columns=METHODS).fillna("")
        rates = rates.reindex(CELLS)
        yield f"Target {100 * target:g} %:"
        yield table(rates.reset_index())


def _say_split_law(counts, sets):
    (of_sums, of_splits), n_cells = check_split_law(counts, sets)
    verdict = "agree" if min(of_sums, of_splits) >= 0.005 else "do NOT agree"
    yield "## Split calibration against the beta-binomial law"
    yield (
        f"The counts {verdict} with the law, at a family-wise 1 % (two statistics, 0.5 % each). Over {n_cells} cells, "
        f"the largest deviation of a sum over splits is exceeded in {of_sums:.3f} of the simulations that reuse the "
        f"splits; the smallest tail probability of a single split is undercut in {of_splits:.3f} of them."
    )


def _say_ratios(cells):
    rows, missed = [], []
    for levels, reduction in CELLS:
        for method in OUT_OF_FOLD:
            row = [levels, reduction, method]
            for target in TARGETS:
                ratio = _ratio(cells, levels, reduction, method, target)
                low, high = LIMITS[target]
                row.append(f"{ratio:.2f}" + (" (!)" if ratio < low or ratio > high else ""))
                missed += (
                    [f"{levels}, {reduction}, {method}, {100 * target:g} %"] if ratio < low or ratio > high else []
                )
            if not np.isnan(ratio):  # full conformal prediction serves no reduction
                rows.append(row)
    yield "## Out of fold: rate reached over k/(n + 1), all sets pooled"
    yield table(pd.DataFrame(rows, columns=["levels", "reduction", "method", *(f"{100 * t:g} %" for t in TARGETS)]))
    yield f"Wanted: 0.8 to 1.2 at 10 and 5 %, 0.6 to 1.3 at 1 %. Outside: {'; '.join(missed) or 'none'}."


def _ratio(cells, levels, reduction, method, target):
    same = (cells["levels"] == levels) & (cells["reduction"] == reduction) & (cells["method"] == method)
    here = cells[same & (cells["target"] == target) & cells["alarms"].notna()]
    return here["alarms"].sum() / (here["aim"] * here["n_new"]).sum()


def _say_bands(cells):
    known = cells[cells["method"].isin(CALIBRATED) & cells["alarms"].notna()]
    is_outside = (known["rate"] < known["low"] - 1e-12) | (known["rate"] > known["high"] + 1e-12)
    outside, rows = known[is_outside], []
    for method in CALIBRATED:
        mine, every = (one[one["method"] == method] for one in (outside, known))
        above, warned = int((mine["rate"] > mine["high"]).sum()), int((mine["warned"] > 0.5).sum())
        rows.append((method, len(every), len(mine) - above, above, warned, int((every["warned"] > 0.5).sum()) - warned))
    yield "## Cells against their simulated 99 % band"
    yield (
        "A cell is a set, levels, a reduction, a target and a method, over all splits; the band is that of "
        "exchangeable scores on the same splits. One in a hundred would lie outside by chance, in bunches: the cells "
        "of a set share its images. `FPRThresholdCV` warns where it sees the fit drift, in most splits of a cell:"
    )
    yield table(pd.DataFrame(rows, columns=["method", "cells", "below", "above", "of these warned", "others warned"]))
    yield "Those outside, in %; what the drift foretold, as a mean over the splits; and why:"
    shown = outside.assign(
        target=outside["target"].map(lambda target: f"{100 * target:g}"),
        aim=outside["aim"].map(lambda aim: f"{100 * aim:.2f}"),
        rate=outside["rate"].map(_percent),
        band=outside["low"].map(_percent) + " to " + outside["high"].map(_percent),
        foretold=outside["foretold"].map(lambda rate: "" if np.isnan(rate) else _percent(rate)),
        why=outside.apply(_explain, axis=1),
    )
    yield table(
        shown[["set", "levels", "reduction", "method", "target", "n", "aim", "rate", "band", "foretold", "why"]]
    )


def _explain(cell):
    if cell["method"] in EXACT:
        return "chance, if the joint law above holds"
    if cell["n"] < 50:
        return f"{cell['n']} images: one more or less changes the fit"
    if cell["method"] == "leave-one-out":
        return "about as many images as features"
    if cell["reduction"] in ("none", JOINT):
        return "not known"
    if (cell["foretold"] - cell["aim"]) * (cell["rate"] - cell["aim"]) < 0:
        return "the fit drifts; the check points the other way"
    return "the fit drifts, with a warning" if cell["warned"] > 0.5 else "the fit drifts, unnoticed by the check"


def _say_refused(cells):
    refused = cells[cells["alarms"].isna() & cells["method"].isin(CALIBRATED)]
    kinds = refused.assign(method=np.where(refused["method"] == "split", "split", "out of fold"))
    pairs = kinds.groupby(["set", "method", "target"], sort=False)["n"].first().reset_index()
    pairs["smallest rate"] = pairs["n"].map(lambda n: f"{100 / (n + 1):.2g} %")
    pairs["target"] = pairs["target"].map(lambda target: f"{100 * target:g} %")
    yield "## Refused: n + 1 < 1 / target"
    yield table(pairs[["set", "method", "n", "target", "smallest rate"]])


def _say_detections(counts):
    expected = counts["rank"] / (counts["n"] + 1) * counts["n_new"]
    over_splits = expected.groupby([counts[name] for name in ("set", "levels", "reduction", "target", "method")])
    rows = []
    for title, enough in (
        ("expected in ten splits together", over_splits.transform("sum") >= 5),
        ("expected in each split", expected >= 5),
    ):
        for method in CALIBRATED:
            here = counts[enough & (counts["method"] == method) & counts["alarms"].notna()]
            reached, oracle = (here[name] / here["n_anomalous"] for name in ("found", "oracle"))
            gap = (reached - oracle).groupby(here["target"]).mean().reindex(TARGETS)
            rows.append(
                (
                    title,
                    method,
                    len(here),
                    *(f"{100 * one:+.1f}" for one in gap),
                    f"{100 * (reached - oracle).mean():+.1f}",
                )
            )
    columns = ["five false alarms are", "method", "cells", *(f"{100 * t:g} %" for t in TARGETS), "all"]
    yield "## Anomalies found, in points more than by an oracle threshold of the target rate"
    yield (
        "The oracle takes the quantile of the held-out normal images themselves, by the same detector. Mean over cells "
        "with at least five false alarms to be expected."
    )
    yield table(pd.DataFrame(rows, columns=columns))


def _say_table_iv(sets):
    sigmas = {n: sigma_to_fpr(n) for n in range(1, 6)}
    counts = count_alarms(sets, tuple(sigmas.values()), ("chi-square", "20 folds"), (LEVEL,))
    by_set = counts.groupby(["reduction", "method", "target", "set"], sort=False)[
        ["alarms", "n_new", "found", "n_anomalous"]
    ].sum(min_count=1)
    by_set = by_set.assign(fpr=by_set["alarms"] / by_set["n_new"], tpr=by_set["found"] / by_set["n_anomalous"])
    means = by_set[["fpr", "tpr"]].groupby(level=[0, 1, 2]).mean()
    known = by_set["alarms"].groupby(level=[0, 1, 2]).count()
    reductions, rows = [one for one in REDUCTIONS if one != "NPCA 0.1 %"], []
    for method in ("chi-square", "20 folds"):
        for n, target in sigmas.items():
            row = [method, n, f"{100 * target:.2g}"]
            for reduction in reductions:
                here = reduction, method, target
                row += [_percent(means.loc[here, "fpr"]), _percent(means.loc[here, "tpr"])]
            rows.append([*row, int(known.loc[reductions[0], method, target])])
    aurocs = [
        np.mean(
            [
                _area(known, len(held_out), reduction)
                for splits, scores in sets.values()
                for (_, held_out), known in zip(splits, scores, strict=True)
            ]
        )
        for reduction in reductions
    ]
    rows.append(["AUROC", "", "", *(cell for area in aurocs for cell in ("", f"{100 * area:.1f}")), len(sets)])
    columns = ["threshold", "n sigma", "target, %"]
    columns += [f"{reduction}: {rate}" for reduction in reductions for rate in ("FPR", "TPR")] + ["sets"]
    yield "## Table IV's layout: level 7, mean over the sets, %"
    yield table(pd.DataFrame(rows, columns=columns))
    yield "Sets with too few images for a target refuse it over 20 folds; the last column counts the others."


def _area(known, n_new, reduction):
    distances = known[f"{LEVEL}/{reduction}/others"]
    return roc_auc_score(np.arange(len(distances)) >= n_new, distances)


def _say_parts(parts):
    if parts is None:
        return
    shown = parts.assign(
        target=parts["target"].map(lambda target: f"{100 * target:g} %"),
        rate=[
            f"{100 * rate:.1f} ± {100 * spread:.1f}"
            for rate, spread in zip(parts["rate"], parts["spread"], strict=True)
        ],
    )
    yield "## A new part: KolektorSDD, level 7, 40 % of the images or of the items held out, %"
    yield table(shown.drop(columns="spread"))
    yield "Mean and standard deviation over ten splits, 20 folds. What new modules do: see `docs/conventions.md`."


def _say_costs(costs):
    yield "## Cost at (2000, 272), in plain fits"
    limits = {"20 folds": "25", "leave-one-out": "3", "leave-one-out behind NPCA 1 %": "25"}
    yield table(
        pd.DataFrame(
            [(name, f"{value:.1f}", limits.get(name, "")) for name, value in costs.items()],
            columns=["", "plain fits", "at most"],
        )
    )


def draw(file, cells):
    """Plot rate reached over target, a point a set, on a logarithmic scale."""
    sums = cells.groupby(["set", "levels", "reduction", "target", "method"], sort=False)[["alarms", "n_new"]].agg(
        lambda values: values.sum(skipna=False)
    )
    rates = (sums["alarms"] / sums["n_new"]).rename("rate").reset_index()
    figure, axes = plt.subplots(2, len(TARGETS), figsize=(13, 7), sharex=True, sharey=True, layout="constrained")
    for row, levels in zip(axes, (LEVEL, SUM), strict=True):
        for axis, target in zip(row, TARGETS, strict=True):
            _draw_panel(axis, rates[(rates["levels"] == levels) & (rates["target"] == target)], target)
            axis.set_title(f"{levels}, target {100 * target:g} %")
        row[0].set_ylabel("false alarms / target")
    handles = [
        plt.Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(COLOURS), frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_panel(axis, rates, target):
    axis.axhspan(*LIMITS[target], color="#d9ead3", zorder=0)
    axis.axhline(1, color="black", linewidth=0.8)
    for place, method in enumerate(METHODS):
        for shift, (reduction, colour) in enumerate(COLOURS.items()):
            here = rates[(rates["method"] == method) & (rates["reduction"] == reduction)]["rate"].dropna()
            x = np.full(len(here), place + 0.18 * (shift - 1.5))
            axis.scatter(x, np.maximum(here / target, 0.1), s=14, color=colour, alpha=0.75, linewidths=0)
    axis.set_yscale("log")
    axis.set_ylim(0.08, 120)
    axis.set_yticks([0.1, 0.5, 1, 2, 10, 100], ["≤ 0.1", "0.5", "1", "2", "10", "100"])
    axis.set_xticks(range(len(METHODS)), METHODS, rotation=35, ha="right")
