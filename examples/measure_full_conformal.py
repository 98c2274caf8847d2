"""Full conformal prediction: the theorem by simulation, what lies far out, and what an image costs.

    python examples/measure_full_conformal.py

Ten minutes on one CPU core. What it finds on real images is in ``measure_working_point.py``.
"""

import argparse
import time

import numpy as np
import pandas as pd
from scipy import stats

from skgad import FPRThresholdCV, FullConformalThreshold, MahalanobisDetector

TARGETS = (0.1, 0.05)
CASES = [  # images, features of the two levels, law, training sets
    (60, (20, 10), "normal", 3000),
    (60, (20, 10), "t3", 3000),
    (60, (100, 50), "t3", 2000),
    (60, (100, 50), "multivariate t3", 2000),
    (120, (200, 100), "t3", 800),
    (300, (20, 10), "multivariate t3", 1000),
    (300, (200, 100), "t3", 300),
]
METHODS = {
    "full conformal, each": lambda: FullConformalThreshold(MahalanobisDetector(), fpr=TARGETS[0]),
    "full conformal, joint": lambda: FullConformalThreshold(MahalanobisDetector(levels="joint"), fpr=TARGETS[0]),
    "leave-one-out, each": lambda: FPRThresholdCV(MahalanobisDetector(), fpr=TARGETS[0]),
    "leave-one-out, joint": lambda: FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=TARGETS[0]),
}


def draw(rng, n_samples, sizes, law):
    """Return rows of two levels that correlate, and have no more structure than a few strong directions."""
    n_features = sum(sizes)
    white = rng.normal(size=(n_samples, n_features)) if law != "t3" else rng.standard_t(3, size=(n_samples, n_features))
    if law == "multivariate t3":
        white /= np.sqrt(rng.chisquare(3, size=(n_samples, 1)) / 3)
    mixing = np.random.default_rng(9).normal(size=(n_features, n_features)) * np.arange(1, n_features + 1) ** -0.9
    names = [f"level{level}__{i:04d}" for level, size in enumerate(sizes, 1) for i in range(size)]
    return pd.DataFrame(white @ mixing, columns=names)


def simulate(n, sizes, law, n_sets):
    """Return the share of new normal images with p <= target, for each method; one new image a training set."""
    rng, p_values = np.random.default_rng(0), {name: [] for name in METHODS}
    for _ in range(n_sets):
        rows = draw(rng, n + 1, sizes, law)
        for name, make in METHODS.items():
            p_values[name].append(make().fit(rows[:n]).p_values(rows[n:])[0])
    return {
        name: [(np.array(values) <= target + 1e-12).mean() for target in TARGETS] for name, values in p_values.items()
    }


def show_theorem(scale):
    print("### False alarms of new normal images, %\n")
    bounds = [f"k/(n+1), 99 % band at {100 * target:g} %" for target in TARGETS]
    print("| n | features | law | " + " | ".join([*bounds, *METHODS]) + " |")
    print("|---" * (3 + len(bounds) + len(METHODS)) + "|")
    for n, sizes, law, n_sets in CASES:
        n_sets = max(int(n_sets * scale), 20)
        found, cells = simulate(n, sizes, law, n_sets), []
        for target in TARGETS:
            bound = int((n + 1) * target + 1e-9) / (n + 1)
            low, high = stats.binom.ppf([0.005, 0.995], n_sets, bound) / n_sets
            cells.append(f"{100 * bound:.2f} ({100 * low:.1f} to {100 * high:.1f})")
        cells += [" / ".join(f"{100 * rate:.1f}" for rate in rates) for rates in found.values()]
        print(f"| {n} | {sizes[0]} + {sizes[1]} | {law} | " + " | ".join(cells) + " |", flush=True)


def show_rays(n_rays=32):
    """Go out from the mean along rays; the p-value should never rise."""
    rng = np.random.default_rng(0)
    X = draw(rng, 200, (120, 60), "t3")
    for levels in ("each", "joint"):
        detector = FullConformalThreshold(MahalanobisDetector(levels=levels), fpr=0.05).fit(X)
        rises, last = 0, []
        for ray in rng.normal(size=(n_rays, X.shape[1])) * X.to_numpy().std(axis=0):
            far = X.to_numpy().mean(axis=0) + np.geomspace(0.1, 1e6, 19)[:, np.newaxis] * ray
            p = detector.p_values(pd.DataFrame(far, columns=X.columns))
            rises += int((np.diff(p) > 0).any())
            last.append(p[-1])
        print(
            f"{levels}: the p-value rises along {rises} of {n_rays} rays; at the end it is {max(last):.4f} at most "
            f"(the smallest is {1 / 201:.4f})."
        )


def show_cost(rounds=5):
    """Measure what an image costs beside the plain score, interleaved."""
    print("\n| images, features | levels | plain score, ms | full conformal, ms |\n|---|---|---|---|")
    for n, n_levels, size in ((352, 9, 241), (352, 1, 272), (2000, 1, 272), (400, 1, 1280)):
        rng = np.random.default_rng(0)
        names = [f"level{level}__{i:04d}" for level in range(1, n_levels + 1) for i in range(size)]
        X = pd.DataFrame(rng.standard_t(5, size=(n, len(names))), columns=names)
        new = pd.DataFrame(rng.standard_t(5, size=(64, len(names))), columns=names)
        for levels in ("each", "joint") if n_levels > 1 else ("each",):
            plain = MahalanobisDetector(levels=levels).fit(X)
            full = FullConformalThreshold(plain, fpr=0.05).fit(X)
            seconds = {plain: [], full: []}
            for _ in range(rounds):
                for detector, times in seconds.items():
                    begun = time.perf_counter()
                    detector.score_samples(new)
                    times.append((time.perf_counter() - begun) / len(new) * 1e3)
            cells = " | ".join(f"{np.median(times):.2f}" for times in seconds.values())
            print(f"| {n}, {len(names)} | {levels} | {cells} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of training sets")
    show_theorem(parser.parse_args().scale)
    print("\n### Far out\n")
    show_rays()
    print("\n### Cost of an image")
    show_cost()
