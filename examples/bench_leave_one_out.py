"""What leave-one-out in closed form costs beside plain fits, and beside twenty folds: ratios in one run.

``python examples/bench_leave_one_out.py``: made-up features whose spectrum falls as that of a level's does. The targets
are those of "kurtosis held", which is taken beyond a thousand rows; up to there it is summed anew for each row.
"""

import time

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skgad import NPCA, FPRThresholdCV, MahalanobisDetector
from skgad._gaussian._leave_one_out_projected import projected_leave_one_out_distances

CASES = [((2000, 272), 25), ((400, 1280), 10), ((352, 272), None)]


def draw(shape):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0]
    return (rng.normal(size=shape) * np.arange(1, shape[1] + 1) ** -0.9) @ axes


def seconds(call, n=3):
    """Return the least processor time of `n` calls."""
    spent = []
    for _ in range(n):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return min(spent)


def main():
    print("| n, D | fit, ms | held, in fits | target | exact, in fits | 20 folds, in fits | lone Gaussian, in fits |")
    print("|---|---|---|---|---|---|---|")
    for shape, target in CASES:
        X, chain, lone = draw(shape), make_pipeline(NPCA(0.01), MahalanobisDetector()), MahalanobisDetector()
        fit = seconds(lambda X=X, chain=chain: clone(chain).fit(X))
        held = seconds(lambda X=X: projected_leave_one_out_distances(X, 0.01, "ledoit_wolf", exact_up_to=0))
        exact = seconds(lambda X=X: projected_leave_one_out_distances(X, 0.01, "ledoit_wolf", exact_up_to=10**9), 1)
        folds = seconds(lambda X=X, chain=chain: FPRThresholdCV(chain, fpr=0.05, cv=20).fit(X), 1)
        plain = seconds(lambda X=X, lone=lone: clone(lone).fit(X))
        own = seconds(lambda X=X, lone=lone: FPRThresholdCV(lone, fpr=0.05).fit(X))
        numbers = " | ".join(f"{value:.1f}" for value in (exact / fit, folds / fit, own / plain))
        print(f"| {shape[0]}, {shape[1]} | {1000 * fit:.0f} | {held / fit:.1f} | {target or ''} | {numbers} |")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
