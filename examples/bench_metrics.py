"""Memory, time and error of the pixel metrics on 1,000 streamed maps of 1024 x 1024 pixels.

Run with ``python examples/bench_metrics.py``. Three minutes on one CPU core. Another number of maps: ``... 100``.
"""

import resource
import sys
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from skgad.metrics import pixel_scores

SIDE = 1024


def draw(n_maps):
    """Yield masks and maps, every other one normal: float32 noise, a little higher in three squares."""
    rng = np.random.default_rng(0)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[100:300, 100:250] = mask[600:630, 600:630] = mask[900, 900:905] = True
    for number in range(n_maps):
        values = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
        values *= 3
        values += 20
        if number % 2:
            values[mask] += 4
        yield (mask if number % 2 else None), values


def stream(n_maps):
    """Return masks and maps as two generators, neither of which holds more than one image."""
    return (mask for mask, _ in draw(n_maps)), (values for _, values in draw(n_maps))


def held_mb():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere


def seconds(run):
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def bench_stream(n_maps):
    _, drawing = seconds(lambda: sum(1 for _ in zip(*stream(n_maps), strict=True)))
    before = held_mb()
    scores, took = seconds(lambda: pixel_scores(*stream(n_maps)))
    print(
        f"{n_maps} maps of {SIDE} x {SIDE}: peak {held_mb() - before:.0f} MB above the {before:.0f} MB of the imports"
    )
    print(f"{took - drawing:.0f} s, {1e3 * (took - drawing) / n_maps:.0f} ms a map, drawing the maps not counted")
    for name in ("roc_auc", "average_precision", "pro_auc"):
        print(f"{name:18s} {scores[name]:.7f} +- {scores[f'{name}_error']:.1e}")


def bench_against_sklearn(n_maps=8):
    """Compare with scikit-learn, which holds and sorts all pixels at once."""
    masks, maps = zip(*draw(n_maps), strict=True)
    flat = np.concatenate([np.zeros(SIDE**2, dtype=bool) if mask is None else mask.ravel() for mask in masks])
    values = np.concatenate([one.ravel() for one in maps])
    scores, ours = seconds(lambda: pixel_scores(masks, maps))
    exact, theirs = seconds(lambda: [roc_auc_score(flat, values), average_precision_score(flat, values)])
    print(f"{n_maps} maps: time, ours for three figures / scikit-learn's for two: {ours / theirs:.2f}")
    for name, expected in zip(("roc_auc", "average_precision"), exact, strict=True):
        off, bound = abs(scores[name] - expected), scores[f"{name}_error"]
        print(f"{name:18s} off by {off:.1e}, bound {bound:.1e}")


if __name__ == "__main__":
    bench_stream(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    bench_against_sklearn()
