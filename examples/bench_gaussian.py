"""Speed of the Gaussian, as ratios of medians of interleaved runs on one machine.

Run with ``python examples/bench_gaussian.py``; needs the extra ``demo``. Four minutes on two CPU cores.
"""

import tempfile
import time
import tracemalloc

import numpy as np
import pandas as pd
from joblib import Memory
from scipy import linalg
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad.datasets import load_elpv

B4_WIDTHS = (48, 24, 32, 56, 112, 160, 272, 448, 1792)
RNG = np.random.default_rng(0)


def compare(n_runs, **contenders):
    """Return the median seconds of each contender, run in turns."""
    seconds = {name: [] for name in contenders}
    for _ in range(n_runs):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def report(what, figure, target):
    print(f"{what:78s} {figure:>9s}   target {target}", flush=True)


def draw(n_samples, n_features):
    mixing = np.eye(n_features) + RNG.normal(size=(n_features, n_features)) / np.sqrt(n_features)
    return (RNG.normal(size=(n_samples, n_features)) @ mixing).astype(np.float32)


def nine_levels(n_samples):
    columns = pd.Index([f"level{level}__{i:04d}" for level, width in enumerate(B4_WIDTHS, 1) for i in range(width)])
    return pd.DataFrame(draw(n_samples, len(columns)), columns=columns)


def bench_fit():
    X = draw(20_000, 1792)
    X64 = X.astype(float)
    centred = X64 - X64.mean(axis=0)
    seconds = compare(
        3,
        ours=lambda: MahalanobisDetector().fit(X),
        ours64=lambda: MahalanobisDetector().fit(X64),
        sklearn=lambda: LedoitWolf().fit(X),  # computes in float32
        sklearn64=lambda: LedoitWolf().fit(X64),
        floor=lambda: linalg.cholesky(centred.T @ centred / len(X), lower=True, check_finite=False),
    )
    for ours, theirs, floats in (("ours64", "sklearn64", "float64"), ("ours", "sklearn", "float32")):
        what = f"fit (20000, 1792) {floats}"
        report(f"{what}: LedoitWolf().fit / ours", f"{seconds[theirs] / seconds[ours]:.1f}", ">= 10")
        report(f"{what}: ours / (product + Cholesky)", f"{seconds[ours] / seconds['floor']:.2f}", "<= 1.5")
        report(f"{what}: LedoitWolf().fit / (product + Cholesky)", f"{seconds[theirs] / seconds['floor']:.1f}", "-")


def bench_scoring():
    X, new = draw(3000, 272), draw(1000, 272)
    detector = MahalanobisDetector().fit(X)
    location, inverse = detector.location_[0], np.linalg.inv(detector.covariance_[0])
    seconds = compare(
        20,
        ours=lambda: detector.score_samples(new),
        einsum=lambda: np.einsum("ij,jk,ik->i", new - location, inverse, new - location),
    )
    report("score 1000 rows, D = 272: einsum / ours", f"{seconds['einsum'] / seconds['ours']:.1f}", ">= 10")


def bench_share_of_the_network():
    images, y = load_elpv()
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0")
    features = extractor.fit_transform(images[y == 1][:300])
    for title, detector in [
        ("nine levels", MahalanobisDetector()),
        ("nine levels, NPCA 1 %", make_pipeline(NPCA(), MahalanobisDetector())),
    ]:
        detector.fit(features)
        few = images[300:364]
        few_features = extractor.transform(few)
        seconds = compare(
            5,
            network=lambda few=few: extractor.transform(few),
            ours=lambda d=detector, f=few_features: d.score_samples(f),
        )
        share = f"{seconds['ours'] / seconds['network']:.2%}"
        report(f"score 64 images, Lite0, {title}: Gaussian / network", share, "<= 2 %")


def bench_one_image():
    for n_samples in (500, 2500):
        features = nine_levels(n_samples)
        one = pd.DataFrame(features.to_numpy()[:1], columns=features.columns)
        for title, detector in [
            ("Gaussian", MahalanobisDetector()),
            ("NPCA 1 % and Gaussian", make_pipeline(NPCA(), MahalanobisDetector())),
        ]:
            detector.fit(features).predict(one)
            seconds = compare(200, ours=lambda d=detector, one=one: d.predict(one))
            what = f"one image after the network, nine levels of B4, n = {n_samples}, {title}"
            report(what, f"{1e3 * seconds['ours']:.1f} ms", "<= 3 ms")


def bench_npca_path():
    X, ratios = draw(4000, 1792), (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)

    def fit_all(memory, ratios=ratios):
        for ratio in ratios:
            NPCA(ratio, memory=memory).fit(X)

    def with_memory():
        with tempfile.TemporaryDirectory() as folder:
            fit_all(Memory(folder, verbose=0))

    seconds = compare(3, path=with_memory, plain=lambda: fit_all(None), one=lambda: fit_all(None, ratios[:1]))
    report(
        "NPCA path, 6 ratios at (4000, 1792): with memory / one fit", f"{seconds['path'] / seconds['one']:.2f}", "~ 1"
    )
    report(
        "NPCA path, 6 ratios at (4000, 1792): without memory / one fit", f"{seconds['plain'] / seconds['one']:.2f}", "-"
    )


def bench_wide():
    X, new = draw(60, 2560), draw(60, 2560)
    square = MahalanobisDetector(LedoitWolf())
    ours = MahalanobisDetector()
    seconds = compare(5, ours=lambda: ours.fit(X).score_samples(new), floor=lambda: linalg.cholesky(np.eye(2560)))
    report("fit and score (60, 2560): ours / one Cholesky of D x D", f"{seconds['ours'] / seconds['floor']:.2f}", "< 1")
    deviation = np.abs(ours.score_samples(new) / square.fit(X).score_samples(new) - 1).max()
    report("  largest relative difference from LedoitWolf()", f"{deviation:.0e}", "-")


def bench_memory():
    peaks = []
    for n_samples in (10_000, 1_000_000):
        detector = MahalanobisDetector()
        batch = draw(1000, 272)
        tracemalloc.start()
        for _ in range(n_samples // 1000):
            detector.partial_fit(batch)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    what = f"partial_fit: peak memory at 1e6 rows / at 1e4 rows ({peaks[0] / 2**20:.1f} MB)"
    report(what, f"{peaks[1] / peaks[0]:.3f}", "1")


def main():
    for bench in (
        bench_fit,
        bench_scoring,
        bench_share_of_the_network,
        bench_one_image,
        bench_npca_path,
        bench_wide,
        bench_memory,
    ):
        bench()


if __name__ == "__main__":
    main()
