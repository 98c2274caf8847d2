"""What the extractor costs, as ratios to what it is made of, measured side by side in one run.

    python examples/bench_extractor.py [--rounds 7] [--images 96] [--section speed|grid|files|memory]

Ratios are medians over interleaved rounds, so that a slow moment of the machine hits both sides. The solar cells (300 x
300 grey PNG) and EfficientNet-Lite0 at 224 px. The section `memory` takes minutes.
"""

import argparse
import copy
import pickle
import resource
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad._images._decoding import decode
from skgad.datasets import load_elpv
from skgad.deep import _network, cache_info
from skgad.deep._sources import find_source
from skgad.model_selection import LevelSelector

NAME = "tf_efficientnet_lite0"
LEVEL_SETS = [[7], [6], [5], [6, 7], [5, 6, 7], [7, 8], [7, 8, 9], [4, 5, 6, 7], "all"]
RATIOS = [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(functions, rounds):
    """Return the median seconds of each function, over rounds in which each runs once."""
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def raw_forward(batch_size, memory_format, n_images):
    """Return a plain forward pass of the same network over preloaded tensors."""
    network = _network.load_network(find_source(NAME), "auto")
    model = copy.deepcopy(network._model).to(memory_format=memory_format)
    x = torch.randn(n_images, 3, 224, 224, device=network._device).contiguous(memory_format=memory_format)

    def run():
        with torch.inference_mode():
            for start in range(0, n_images, batch_size):
                features = model.forward_features(x[start : start + batch_size])
            features.cpu()

    return run


def measure_speed(paths, rounds):
    arrays = np.stack([decode(path, 0) for path in paths])
    formats = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
    raw = {(name, size): raw_forward(size, formats[name], len(paths)) for name in formats for size in (8, 16, 32, 64)}
    for run in raw.values():
        run()
    tried = interleave(raw, 3)
    best = min(tried, key=tried.get)
    print("raw forward, images a second:", {f"{k[0]}, {k[1]}": round(len(paths) / v, 1) for k, v in tried.items()})
    extractor = DeepFeatureTransformer(NAME).fit(arrays)
    medians = interleave(
        {
            "raw": raw[best],
            "arrays": lambda: extractor.transform(arrays),
            "files": lambda: extractor.transform(paths),
            "files, one reader": lambda: DeepFeatureTransformer(NAME, num_workers=1).transform(paths),
        },
        rounds,
    )
    print(f"best: {best}, {len(paths) / medians['raw']:.1f} images a second")
    for name in ("arrays", "files", "files, one reader"):
        print(f"throughput from {name} / raw forward: {medians['raw'] / medians[name]:.2f}")
    measure_single_image(arrays[:1], rounds)


def measure_single_image(image, rounds):
    extractor = DeepFeatureTransformer(NAME).fit(image)
    network = _network.load_network(find_source(NAME), "auto")
    numbers = [level.number for level in network.levels]
    square = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    square = torch.nn.functional.interpolate(square, (224, 224), mode="bilinear")
    pairs = {
        "transform": lambda: extractor.transform(image),
        "network": lambda: network.pool_levels(square, numbers),
    }
    medians = interleave(pairs, 30 * rounds)
    beyond = (medians["transform"] - medians["network"]) * 1000
    print(f"one image: {medians['transform'] * 1000:.1f} ms, beyond the network {beyond:.2f} ms")


def measure_grid(paths, y, rounds):
    pipe = make_pipeline(DeepFeatureTransformer(NAME), NPCA(), MahalanobisDetector())
    folds = StratifiedKFold(5, shuffle=True, random_state=0)

    def search_images(cache, n_jobs=1):
        model = clone_with(pipe, cache)
        grid = {"deepfeaturetransformer__levels": LEVEL_SETS, "npca__n_components": RATIOS}
        return GridSearchCV(model, grid, scoring="roc_auc", cv=folds, refit=False, n_jobs=n_jobs).fit(paths, y)

    def search_features():
        model = make_pipeline(LevelSelector(), NPCA(), MahalanobisDetector())
        grid = {"levelselector__levels": LEVEL_SETS, "npca__n_components": RATIOS}
        GridSearchCV(model, grid, scoring="roc_auc", cv=folds, refit=False).fit(features, y)

    passed, ratios = count_images(), []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            passed.clear()
            times = {"pass": seconds(lambda: DeepFeatureTransformer(NAME).transform(paths))}
            features = DeepFeatureTransformer(NAME, cache=cache).fit_transform(paths)
            times["search on features"] = seconds(search_features)
        with tempfile.TemporaryDirectory() as cache:
            passed.clear()
            times["search on images, cold"] = seconds(lambda: search_images(cache))
            cold = sum(passed)
            times["again, warm"] = seconds(lambda: search_images(cache))
            print(f"{len(paths)} images; through the network: cold {cold}, warm {sum(passed) - cold}")
            # that worker processes load no network either: tests/test_cache.py, where loading one would fail
            times["again, warm, n_jobs=2"] = seconds(lambda: search_images(cache, n_jobs=2))
        parts = times["pass"] + times["search on features"]
        print({name: round(value, 1) for name, value in times.items()})
        ratios.append(times["search on images, cold"] / parts)
    print(f"search on images / (one pass + search on features): {statistics.median(ratios):.2f}, of {rounds} rounds")


def clone_with(pipe, cache):
    return make_pipeline(DeepFeatureTransformer(NAME, cache=cache), *[step for _, step in pipe.steps[1:]])


def count_images():
    """Return a list that grows by the size of each batch that goes through the network in this process."""
    counts, pool_levels = [], _network.Network.pool_levels

    def counted(self, batch, *args):
        counts.append(len(batch))
        return pool_levels(self, batch, *args)

    _network.Network.pool_levels = counted
    return counts


def measure_files(rounds):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smooth = [np.clip(rng.normal(128, 30, (192, 160, 3)), 0, 255).astype(np.uint8) for _ in range(64)]
        paths = [folder / f"{index}.png" for index in range(64)]
        for path, image in zip(paths, smooth, strict=True):
            Image.fromarray(image).save(path)
        size = statistics.mean(path.stat().st_size for path in paths)
        extractor = DeepFeatureTransformer(NAME, cache=folder / "cache").fit(paths)
        extractor.transform(paths)
        taken = interleave({"hits": lambda: extractor.transform(paths)}, 5 * rounds)["hits"]
        print(f"a cache hit of a file of {size / 1000:.0f} kB: {taken / 64 * 1000:.3f} ms")
        bare = pickle.dumps(extractor)
        stored = pickle.dumps(extractor.set_params(store_weights=True))
        print(f"pickle: {len(bare)} bytes; with store_weights=True {len(stored) / 1e6:.1f} MB")
        X = extractor.transform(paths)
        line = make_pipeline(extractor.set_params(store_weights=False), MahalanobisDetector()).fit(paths)
        print(f"pickle of a fitted line, nine levels, {X.shape[1]} features: {len(pickle.dumps(line)) / 1e6:.1f} MB")
        print(cache_info(folder / "cache")._replace(path="..."))


def measure_memory():
    """Send 2,000, then 100,000 paths through a tiny pass: the output grows, what is held meanwhile does not."""
    warnings.simplefilter("ignore")
    images, _ = load_elpv("mono")
    extractor = DeepFeatureTransformer("resnet18", weights=None, levels=[1], image_size=32, num_workers=2)
    peaks = {}
    for n_images in (2_000, 100_000):
        features = extractor.transform(pd.Series(np.resize(images[:50], n_images)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peaks[n_images] = peak
        print(
            f"{n_images} paths: peak {peak:.0f} MB, of which the features are {features.to_numpy().nbytes / 2**20:.1f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--section", choices=["speed", "grid", "files", "memory"])
    options = parser.parse_args()
    images, y = load_elpv("mono")
    if options.section in (None, "speed"):
        measure_speed(images[: options.images], options.rounds)
    if options.section in (None, "files"):
        measure_files(options.rounds)
    if options.section in (None, "grid"):
        chosen = np.r_[np.flatnonzero(y == 1)[:300], np.flatnonzero(y == -1)[:150]]
        measure_grid(images[chosen], y[chosen], min(options.rounds, 3))
    if options.section == "memory":
        measure_memory()
