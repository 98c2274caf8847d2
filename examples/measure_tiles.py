"""What resolution is worth, what tiles cost, and what becomes of the rate: squeezed squares, rectangles, tiles.

    python examples/measure_tiles.py --root DIR --out tiles.csv

measures forms on KolektorSDD, whose photographs have about 256 x 640 pixels, and keeps cells in ``--out``: image AUROC,
pixel AUROC and PRO, and with ``--rate`` the share of new normal images that are called anomalous at 5 %, over splits of
all normal images.

    python examples/measure_tiles.py --big 20

draws photographs of so many megapixels of cloth, one with a hole of 6 pixels, and measures what it takes to find it,
beside the network over the same tiles. ``--seams`` measures whether the map shows where tiles begin and end.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import ShuffleSplit

from skgad import CellwiseDetector, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_image_folder
from skgad.metrics import pixel_scores
from skgad.spatial import SpatialMahalanobisDetector

SIZES = {
    "260 x 260": {},
    "640 x 256": {"image_size": (640, 256)},
    "640 x 256, tiles 256": {"image_size": (640, 256), "tiles": 256},
    "640 x 256, tiles 128": {"image_size": (640, 256), "tiles": 128},
    "1280 x 512, tiles 256": {"image_size": (1280, 512), "tiles": 256},
}
POOLED = {
    "joint": MahalanobisDetector(levels="joint"),
    "a tile, maximum": CellwiseDetector(),
    "all tiles alike, maximum": CellwiseDetector(shared=True),
}
MAPS = {"maps": {}, "maps, tiles alike": {"shared": True}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder with data sets in the MVTec AD layout")
    parser.add_argument("--set", default="kolektor_sdd/commutator")
    parser.add_argument("--backbone", default="tf_efficientnet_lite2")
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--methods", nargs="*", default=[*POOLED, *MAPS])
    parser.add_argument("--out", type=Path, help="a CSV file; forms that are in it are not measured again")
    parser.add_argument("--rate", type=int, metavar="N", help="measure the rate over so many splits, too")
    parser.add_argument("--big", type=float, metavar="MEGAPIXELS", help="measure a drawn photograph instead")
    parser.add_argument("--seams", action="store_true", help="measure seams on drawn photographs instead")
    options = parser.parse_args()
    if options.seams:
        measure_seams(options)
        return
    if options.big:
        measure_big(options)
        return
    done = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=["size", "method"])
    data = load_image_folder(options.root / options.set)
    for size in options.sizes:
        for method in options.methods:
            known = ((done["size"] == size) & (done["method"] == method)).any()
            if known or ("tile" in method and "tiles" not in size):
                continue
            row = {"size": size, "method": method, **measure(options, data, size, method)}
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_csv(options.out, index=False)
            print(pd.DataFrame([row]).round(4).to_string(index=False, header=len(done) == 1), flush=True)
    print(done.round(3).to_string(index=False))


def measure(options, data, size, method):
    train, test = [str(path) for path in data.X_train], [str(path) for path in data.X_test]
    begun = time.perf_counter()
    row = {"pixel AUROC": np.nan, "PRO": np.nan}
    if method in POOLED:
        extractor = DeepFeatureTransformer(options.backbone, cache=True, **SIZES[size])
        detector = POOLED[method]
        X_train, X_test = extractor.fit_transform(train), extractor.transform(test)
    else:
        levels = find_levels(options.backbone)
        extractor = DeepFeatureTransformer(options.backbone, levels=levels, **SIZES[size])
        detector, X_train, X_test = SpatialMahalanobisDetector(extractor, **MAPS[method]), train, test
    detector.fit(X_train)
    row["image AUROC"] = roc_auc_score(data.y_test, detector.score_samples(X_test))
    if method in MAPS:
        shape = detector.features_.image_size_
        masks = [read_mask(path, shape) for path in data.mask_test]
        found = pixel_scores(masks, (detector.score_maps([path])[0] for path in test), y=data.y_test)
        row |= {"pixel AUROC": found.roc_auc, "PRO": found.pro_auc}
    row["seconds"] = time.perf_counter() - begun
    if options.rate:
        row["false alarms at 5 %"] = measure_rate(detector, X_train, X_test, data.y_test, options.rate)
    return row


def measure_rate(detector, X_train, X_test, y_test, n_splits):
    """Return the share of new normal images called anomalous, all normal images being divided anew each time."""
    good = np.flatnonzero(y_test == 1)
    is_frame = hasattr(X_train, "iloc")
    normal = pd.concat([X_train, X_test.iloc[good]]) if is_frame else np.array([*X_train, *np.array(X_test)[good]])
    shares = []
    for learnt, new in ShuffleSplit(n_splits, test_size=0.4, random_state=0).split(normal):
        parts = (normal.iloc[learnt], normal.iloc[new]) if is_frame else (list(normal[learnt]), list(normal[new]))
        inspector = FPRThresholdCV(detector, fpr=0.05).fit(parts[0])
        shares.append(np.mean(inspector.predict(parts[1]) == -1))
    return np.mean(shares)


def find_levels(backbone):
    from skgad.deep import level_table

    reductions = level_table(backbone)["reduction"]
    return reductions[reductions.isin([8, 16])].index.tolist()


def read_mask(path, shape):
    if path is None:
        return None
    with Image.open(path) as mask:
        return np.asarray(mask.convert("L").resize(shape[::-1], Image.Resampling.NEAREST)) > 0


def draw_cloth(rng, height, width):
    """Return a photograph of cloth, uint8 of shape (height, width, 3); drawn strip by strip, in little memory."""
    photograph = np.empty((height, width, 3), dtype=np.uint8)
    shift, x = rng.uniform(0, 500, size=2), np.arange(width, dtype=np.float32)
    for top in range(0, height, 256):
        y = np.arange(top, min(top + 256, height), dtype=np.float32)[:, np.newaxis]
        threads = np.sin(2 * np.pi * (x + shift[0]) / 9) * np.sin(2 * np.pi * (y + shift[1]) / 7)
        light = 6 * np.sin((x + shift[0]) / 700) + 5 * np.cos((y + shift[1]) / 500)
        grey = 150 + 25 * threads + light + 9 * rng.standard_normal(threads.shape, dtype=np.float32)
        photograph[top : top + 256] = np.clip(grey, 0, 255)[:, :, np.newaxis]
    return photograph


def measure_seams(options):
    """Print the steps of the mean map across the borders of tiles, and elsewhere, as shares of the map's spread."""
    rng = np.random.default_rng(0)
    photographs = np.stack([draw_cloth(rng, 768, 1024) for _ in range(12)])
    extractor = DeepFeatureTransformer(options.backbone, levels=find_levels(options.backbone), tiles=(256, 64))
    for form in ({"gaussian": "global", "shared": True}, {"gaussian": "local", "shared": True}):
        detector = SpatialMahalanobisDetector(extractor, **form).fit(photographs[:6])
        maps = detector.score_maps(photographs[6:])
        profile = maps.mean(axis=(0, 1), dtype=float)
        steps = np.abs(profile[8:] - profile[:-8]) / (np.quantile(maps, 0.99) - np.quantile(maps, 0.01))
        lefts = detector.features_.find_tiling().lefts
        at_borders = np.zeros(len(steps), dtype=bool)
        for border in {*lefts[1:], *(left + 256 for left in lefts[:-1])}:
            at_borders[border - 8 : border + 1] = True
        inside = np.zeros(len(steps), dtype=bool)
        inside[40:-40] = True  # the photograph's own border shows, with or without tiles
        print(
            f"{form}: a step of the mean map over 8 pixels is {steps[at_borders].mean():.2%} of its spread at tiles' "
            f"borders, {steps[inside & ~at_borders].mean():.2%} elsewhere"
        )


def measure_big(options):
    """Print whether a hole of 6 pixels is found, where, in how much memory, and at what time beside the network's."""
    height = round((options.big * 1e6 * 3 / 4) ** 0.5)
    width = height * 4 // 3
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        normal = [Path(folder) / f"{number}.jpg" for number in range(5)]
        for path in normal:
            Image.fromarray(draw_cloth(rng, height, width)).save(path, quality=95)
        holed = draw_cloth(rng, height, width)
        y, x = np.mgrid[-3:3, -3:3] + 0.5
        row, column = int(0.61 * height), int(0.37 * width)
        holed[row - 3 : row + 3, column - 3 : column + 3][np.hypot(y, x) < 3] = 40
        photograph = Path(folder) / "holed.jpg"
        Image.fromarray(holed).save(photograph, quality=95)
        extractor = DeepFeatureTransformer(options.backbone, levels=find_levels(options.backbone), tiles=(256, 64))
        detector = SpatialMahalanobisDetector(extractor, gaussian="global", shared=True, pixel_fpr=1e-6)
        begun = time.perf_counter()
        inspector = FPRThresholdCV(detector, fpr=0.3, cv=5).fit(normal)
        print(f"{width} x {height} pixels; {len(normal)} photographs learnt in {time.perf_counter() - begun:.0f} s")
        regions = inspector.regions([photograph])
        print(f"the hole is at x = {column}, y = {row}\n{regions.round(2).to_string()}")
        ratios = []
        for _ in range(3):
            begun = time.perf_counter()
            for _ in inspector.estimator_.features_.iter_maps([photograph]):
                pass
            network = time.perf_counter() - begun
            begun = time.perf_counter()
            inspector.regions([photograph])
            ratios.append((time.perf_counter() - begun) / network)
            print(
                f"network over the tiles {network / options.big:.3f} s a megapixel; with regions {ratios[-1]:.3f} times"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"median ratio {np.median(ratios):.3f}; the most memory of the process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
