"""Counts of false alarms for measure_working_point.py, and what they are held against."""

import time
from fractions import Fraction
from math import floor

import numpy as np
import pandas as pd
from _working_point_scores import JOINT, LEVEL, MODELS, REDUCTIONS, SUM, pipeline, two_folds
from scipy import stats
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold

from skgad import FPRThresholdCV, MahalanobisDetector

TARGETS = (0.1, 0.05, 0.01)
FULL = "full conformal"
CALIBRATED = ("split", "5 folds", "20 folds", "leave-one-out", FULL)
METHODS = ("chi-square", "predictive F", "training quantile", *CALIBRATED)
OUT_OF_FOLD = CALIBRATED[1:]
EXACT = ("split", FULL)  # for which the rate is a theorem
CELL = ["set", "levels", "reduction", "target", "method"]


class Given(OutlierMixin, BaseEstimator):
    """A detector whose scores were computed before."""

    def fit(self, X=None, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, 0]


def count_alarms(sets, targets=TARGETS, methods=METHODS, all_levels=(LEVEL, SUM)):
    """Return a frame with a row for each set, levels, reduction, target, method and split; NaN where refused."""
    rows = []
    for name, (splits, scores) in sets.items():
        for number, ((train, held_out), known) in enumerate(zip(splits, scores, strict=True)):
            for levels in all_levels:
                for reduction in MODELS:
                    for target in targets:
                        for method in methods:
                            cell = dict(zip(CELL, (name, levels, reduction, target, method), strict=True))
                            counts = _count(known, f"{levels}/{reduction}", target, method, len(train), len(held_out))
                            rows += [cell | {"split": number} | counts] if counts else []
    return pd.DataFrame(rows)


def _count(known, key, target, method, n_train, n_new):
    name = {"split": "others by half", "predictive F": "others, empirical"}.get(method, "others")
    if f"{key}/{name}" not in known or (method == FULL and f"{key}/{FULL}" not in known):
        return None  # an empirical covariance needs more images than features; a sum has no law; NPCA no full conformal
    others = known[f"{key}/{name}"]
    n = len(known[f"{key}/split"]) if method == "split" else n_train
    rank = floor((n + 1) * Fraction(str(target)))
    alarm, foretold = _raise_alarms(known, key, target, method, others, n_train)
    oracle = others[n_new:] > np.quantile(others[:n_new], 1 - target, method="weibull")  # its mean rate is the target
    counts = {"n": n, "rank": rank, "n_new": n_new, "n_anomalous": len(others) - n_new, "oracle": oracle.sum()}
    counts |= foretold
    if alarm is None:
        return counts | {"alarms": np.nan, "found": np.nan}
    return counts | {"alarms": alarm[:n_new].sum(), "found": alarm[n_new:].sum()}


def _raise_alarms(known, key, target, method, others, n_train):
    """Return which of the others are called anomalous, None where the rate is refused; and what was foretold of it."""
    dof = known[f"{key}/dof"]
    if method == "chi-square":
        return others > np.sqrt(stats.chi2.isf(target, dof)).sum(), {}
    if method == "predictive F":
        spare = n_train - dof[0]
        return others > np.sqrt(stats.f.isf(target, dof[0], spare) * dof[0] * (n_train + 1) / spare), {}
    if method == "training quantile":
        return others > np.quantile(known[f"{key}/in sample"], 1 - target), {}
    if method == FULL:
        p_values = known[f"{key}/{FULL}"]
        return (p_values <= target + 1e-12 if floor((n_train + 1) * Fraction(str(target))) else None), {}
    detector = FPRThresholdCV(FrozenEstimator(Given().fit()), fpr=target)
    scores = -known[f"{key}/{method}"]
    try:
        detector.fit(scores[:, np.newaxis])
    except ValueError:  # the rate is out of reach
        return None, {}
    alarm = detector.predict(-others[:, np.newaxis]) == -1
    if "folds" not in method or key.endswith(("none", JOINT)):  # a plain Gaussian foretells nothing
        return alarm, {}
    _, pair, _ = two_folds(n_train, int(method.split()[0]))
    drift = np.mean(scores[pair] + known[f"{key}/{method}, two out"])
    foretold = detector.p_values([[np.nextafter(detector.offset_ - drift, -np.inf)]])[0]
    low, high = detector.fpr_interval_
    return alarm, {"foretold": foretold, "warned": not low <= foretold <= high}


def simulate(splits, targets, *, half, n_draws=4000):
    """Return the false alarms, shape (n_draws, n_splits), of each target if scores were exchangeable.

    Each image gets one random score a draw, which it keeps in all splits, so that the counts of splits that share
    images are as dependent as can be. `half`: calibrated on the second half of the training images only.
    """
    rng, everything = np.random.default_rng(0), np.sort(np.concatenate(splits[0]))
    scores = rng.random((n_draws, len(everything)))
    counts = {target: np.full((n_draws, len(splits)), np.nan) for target in targets}
    for number, (train, held_out) in enumerate(splits):
        calibration = train[len(train) // 2 :] if half else train
        ordered = np.sort(scores[:, np.searchsorted(everything, calibration)], axis=1)
        new = scores[:, np.searchsorted(everything, held_out)]
        for target in targets:
            rank = floor((len(calibration) + 1) * Fraction(str(target)))
            if rank:
                counts[target][:, number] = (new < ordered[:, rank - 1 : rank]).sum(axis=1)
    return counts


def add_bands(cells, sets):
    """Return one row a cell, summed over the splits, with the 99 % band of its rate."""
    pooled = cells.groupby(CELL, sort=False).agg(
        n=("n", "first"),
        rank=("rank", "first"),
        n_new=("n_new", "sum"),
        alarms=("alarms", lambda values: values.sum(skipna=False)),
        n_anomalous=("n_anomalous", "sum"),
        found=("found", lambda values: values.sum(skipna=False)),
        oracle=("oracle", "sum"),
        foretold=("foretold", "mean"),
        warned=("warned", lambda values: values.fillna(False).astype(float).mean()),
    )
    pooled["aim"] = pooled["rank"] / (pooled["n"] + 1)
    pooled["rate"] = pooled["alarms"] / pooled["n_new"]
    pooled["low"], pooled["high"] = np.nan, np.nan
    for name, (splits, _) in sets.items():
        for methods, half in ((("split",), True), (OUT_OF_FOLD, False)):
            for target, counts in simulate(splits, TARGETS, half=half).items():
                low, high = np.quantile(counts.mean(axis=1), [0.005, 0.995]) / len(splits[0][1])
                where = (name, slice(None), slice(None), target, list(methods))
                pooled.loc[where, ["low", "high"]] = low, high
    return pooled.reset_index()


def check_split_law(cells, sets):
    """Return how probable it is, under the beta-binomial law, that the worst of all counts is as bad as it is.

    Two statistics: of the sums over the splits, the largest deviation in units of the simulated standard deviation; of
    the single splits, the smallest tail probability. The same splits are simulated. Configurations (levels, reduction)
    of a set are drawn independently, which makes the largest of them larger than under the dependence that is there.
    """
    cells = cells[(cells["method"] == "split") & cells["alarms"].notna()]
    configurations = [(levels, reduction) for levels in (LEVEL, SUM) for reduction in REDUCTIONS]
    rng, seen, drawn = np.random.default_rng(1), [], []
    for name, (splits, _) in sets.items():
        simulated, orders = simulate(splits, TARGETS, half=True), {}
        for target, counts in simulated.items():
            here = cells[(cells["set"] == name) & (cells["target"] == target)]
            if here.empty:
                continue
            n, rank, n_new = here.iloc[0][["n", "rank", "n_new"]]
            law = stats.betabinom(n_new, rank, n + 1 - rank)
            tails = 2 * np.minimum(law.cdf(np.arange(n_new + 1)), law.sf(np.arange(n_new + 1) - 1))
            mean, spread = counts.sum(axis=1).mean(), counts.sum(axis=1).std()
            for levels, reduction in configurations:
                order = orders.setdefault((levels, reduction), rng.permutation(len(counts)))
                found = here[(here["levels"] == levels) & (here["reduction"] == reduction)]["alarms"].to_numpy()
                for into, values in ((seen, found[np.newaxis]), (drawn, counts[order])):
                    deviation = np.abs(values.sum(axis=1) - mean) / spread
                    into.append((deviation, -np.log(tails[values.astype(int)].min(axis=1))))
    worst, null = (np.max(np.array(values), axis=0) for values in (seen, drawn))
    return [float((np.count_nonzero(null[i] >= worst[i, 0]) + 1) / (len(null[i]) + 1)) for i in range(2)], len(seen)


def measure_new_parts(frame, parts, n_splits=10):
    """Return the rates of level 7 when images, or whole parts, are held out. `frame` holds normal images only."""
    features, parts, rows = frame.filter(like="level7__"), np.asarray(parts), []
    shuffled = KFold(20, shuffle=True, random_state=0)
    for how, cv, grouped in (
        ("images", shuffled, False),
        ("parts, images counted one by one", shuffled, False),
        ("parts, given as groups", 20, True),
    ):
        for reduction in ("none", "NPCA 1 %"):
            for target in (0.1, 0.05):
                rates, rng = [], np.random.default_rng(0)
                for _ in range(n_splits):
                    units = parts if how.startswith("parts") else np.arange(len(parts))
                    order = rng.permutation(np.unique(units))
                    train = np.isin(units, order[: int(0.6 * len(order))])
                    detector = FPRThresholdCV(pipeline(reduction), fpr=target, cv=cv)
                    detector.fit(features[train], groups=parts[train] if grouped else None)
                    rates.append((detector.predict(features[~train]) == -1).mean())
                rows.append((how, reduction, target, np.mean(rates), np.std(rates)))
    return pd.DataFrame(rows, columns=["held out", "reduction", "target", "rate", "spread"])


def measure_cost(n_runs=15):
    """Return the cost of the working point at (2000, 272), in plain fits: ratios of medians of interleaved runs."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 272)) @ (np.eye(272) + rng.normal(size=(272, 272)) / 16)
    gaussian, npca = MahalanobisDetector(), pipeline("NPCA 1 %")
    contenders = {
        "plain fit": gaussian,
        "20 folds": FPRThresholdCV(gaussian, cv=20),
        "leave-one-out": FPRThresholdCV(gaussian),
        "plain fit behind NPCA 1 %": npca,
        "20 folds, NPCA 1 % in them (refits)": FPRThresholdCV(npca, cv=20),
        "leave-one-out behind NPCA 1 %": FPRThresholdCV(npca),
    }
    seconds = {name: [] for name in contenders}
    for _ in range(n_runs):
        for name, detector in contenders.items():
            start = time.perf_counter()
            detector.fit(X)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    plain = {name: medians["plain fit behind NPCA 1 %" if "NPCA" in name else "plain fit"] for name in contenders}
    return {name: value / plain[name] for name, value in medians.items() if not name.startswith("plain")}
