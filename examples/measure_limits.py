"""Where the method fails, measured: small defects, few images, cameras that drift, several products in one model.

Run with ``python examples/measure_limits.py``; about four minutes on two CPU cores. Textures are drawn here, solar
cells come from the extra ``demo``. EfficientNet-Lite0 at 224 px.
"""

import warnings

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, train_test_split
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThreshold, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_elpv
from skgad.exceptions import WorkingPointWarning
from skgad.spatial import SpatialMahalanobisDetector

BACKBONE = "tf_efficientnet_lite0"
SIZE = 224
FPR = 0.05


def weave(rng):
    """Return a piece of cloth, floats in [0, 1]."""
    row, column = np.mgrid[:SIZE, :SIZE] + rng.uniform(0, 8, size=2)[:, None, None]
    threads = np.sin(2 * np.pi * row / 8) * np.sin(2 * np.pi * column / 8)
    light = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 30, mode="wrap")
    grain = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 0.7)
    return np.clip(0.55 + 0.14 * threads + 2.0 * light + 0.05 * grain, 0, 1)


def pierce(cloth, radius, rng):
    row, column = np.mgrid[:SIZE, :SIZE] - rng.integers(30, SIZE - 30, size=2)[:, None, None]
    soft = ndimage.gaussian_filter((np.hypot(row, column) < radius).astype(float), 0.7)
    return cloth * (1 - soft) + 0.35 * soft


def show_small_defects():
    rng = np.random.default_rng(0)
    train, normal = [np.stack([weave(rng) for _ in range(count)]) for count in (100, 50)]
    pooled = make_pipeline(DeepFeatureTransformer(BACKBONE), NPCA(0.01), MahalanobisDetector()).fit(train)
    maps = DeepFeatureTransformer(BACKBONE, levels=[3, 4, 5])
    spatial = SpatialMahalanobisDetector(maps).fit(train)
    print("\nSmall defects: AUROC in %, holes in cloth, 100 pieces learnt, 50 clean and 50 pierced ones")
    print("radius, px  share of the image  pooled, all levels, NPCA 1 %  maps, levels 3-5, maximum")
    for radius in (1.5, 2, 3, 4, 6, 10):
        holes = np.stack([pierce(weave(rng), radius, rng) for _ in range(50)])
        y = np.repeat([1, -1], 50)
        rates = [roc_auc_score(y, one.score_samples(np.concatenate([normal, holes]))) for one in (pooled, spatial)]
        share = np.pi * radius**2 / SIZE**2
        print(f"{radius:10g}  {share:18.3%}  {100 * rates[0]:27.1f}  {100 * rates[1]:25.1f}")


def show_few_images(features, y):
    normal, defective = features[y == 1].to_numpy(), features[y == -1].to_numpy()
    n_features = normal.shape[1]
    print(f"\nFew images: ELPV mono, level 7, {n_features} features, ten draws; false alarms in % at a target of 5 %")
    print("images  AUROC, %  chi-square  20 folds  leave-one-out  NPCA 1 %: AUROC, %  20 folds  leave-one-out")
    for n_images in (25, 50, 100, 200, 400):
        rows, rng = [], np.random.default_rng(0)
        for _ in range(10):
            order = rng.permutation(len(normal))
            train, held_out = normal[order[:n_images]], normal[order[-180:]]
            test = np.concatenate([held_out, defective])
            labels = np.repeat([1, -1], [len(held_out), len(defective)])
            plain, reduced = MahalanobisDetector(), make_pipeline(NPCA(0.01), MahalanobisDetector())
            law = make_pipeline(MahalanobisDetector(), FPRThreshold(fpr=FPR)).fit(train)
            row = [roc_auc_score(labels, law.score_samples(test)), np.mean(law.predict(held_out) == -1)]
            row += [np.mean(calibrate(plain, cv, train).predict(held_out) == -1) for cv in (20, "loo")]
            row.append(roc_auc_score(labels, reduced.fit(train).score_samples(test)))
            row += [np.mean(calibrate(reduced, cv, train).predict(held_out) == -1) for cv in (20, "loo")]
            rows.append(row)
        mean = 100 * np.mean(rows, axis=0)
        widths = (8, 10, 8, 13, 18, 8, 13)
        print(f"{n_images:6d}  " + "  ".join(f"{value:{width}.1f}" for value, width in zip(mean, widths, strict=True)))


def calibrate(detector, cv, X):
    return FPRThresholdCV(detector, fpr=FPR, cv=cv).fit(X)


def show_drift(images, y):
    train, held_out = train_test_split(images[y == 1], train_size=0.6, random_state=0)
    extractor = DeepFeatureTransformer(BACKBONE, cache=True)
    line = make_pipeline(extractor, calibrate_all(extractor.fit_transform(train)))
    changes = {
        "none": lambda image: image,
        "5 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
        "20 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
        "10 % less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.9),
        "out of focus by 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        "shifted by 3 px": lambda image: Image.fromarray(ndimage.shift(np.asarray(image), 3, mode="nearest")),
        "turned by 1 degree": lambda image: Image.fromarray(turn(np.asarray(image), 1)),
        "upside down": lambda image: image.rotate(180),
    }
    print("\nDrift: ELPV mono, sum of levels, NPCA 1 %; false alarms in % of held-out normal cells, target 5 %")
    for title, change in changes.items():
        altered = [change(Image.open(path).convert("L")) for path in held_out]
        print(f"{title:22s} {100 * np.mean(line.predict(altered) == -1):5.1f}")


def turn(image, angle):
    return ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest")


def calibrate_all(features):
    folds = KFold(20, shuffle=True, random_state=0)
    return calibrate(make_pipeline(NPCA(0.01), MahalanobisDetector()), folds, features)


def show_products():
    extractor = DeepFeatureTransformer(BACKBONE, cache=True)
    parts = {}
    for kind in ("mono", "poly"):
        paths, y = load_elpv(kind)
        features = extractor.fit_transform(paths)
        train, held_out = train_test_split(features[y == 1], train_size=0.6, random_state=0)
        parts[kind] = train.to_numpy(), held_out.to_numpy(), features[y == -1].to_numpy(), list(features)
    names = parts["mono"][3]
    few = parts["mono"][0][:30]
    models = {
        "a model for each": [parts["mono"][0], parts["poly"][0]],
        "one model of both": [np.concatenate([parts["mono"][0], parts["poly"][0]])] * 2,
        "one model, 30 mono": [np.concatenate([few, parts["poly"][0]])] * 2,
    }
    print("\nSeveral products: ELPV mono and poly, sum of levels, NPCA 1 %, target 5 %")
    print(f"{'':20s}  AUROC mono, %  poly, %  false alarms mono, %  poly, %  found mono, %  poly, %")
    for title, train in models.items():
        rates = []
        for learnt, (_, held_out, defective, _) in zip(train, parts.values(), strict=True):
            model = calibrate_all(name_columns(learnt, names))
            new = [name_columns(rows, names) for rows in (held_out, defective)]
            scores = [model.score_samples(rows) for rows in new]
            labels = np.repeat([1, -1], [len(held_out), len(defective)])
            rates.append(
                [roc_auc_score(labels, np.concatenate(scores)), *(np.mean(one < model.offset_) for one in scores)]
            )
        widths = (13, 7, 20, 7, 13, 7)
        values = 100 * np.array(rates).T.ravel()
        print(f"{title:20s}  " + "  ".join(f"{value:{width}.1f}" for value, width in zip(values, widths, strict=True)))
    print("The models of both with a threshold for each category, leave-one-out:")
    for title in ("one model of both", "one model, 30 mono"):
        learnt = models[title][0]
        n_mono = len(learnt) - len(parts["poly"][0])
        kinds = ["mono"] * n_mono + ["poly"] * (len(learnt) - n_mono)
        model = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=0.05)
        model.fit(name_columns(learnt, names), categories=kinds)
        for kind, (_, held_out, defective, _) in parts.items():
            alarms, found = (
                np.mean(model.predict(name_columns(rows, names), categories=[kind] * len(rows)) == -1)
                for rows in (held_out, defective)
            )
            print(f"{title:20s}  {kind}: false alarms {100 * alarms:.1f} %, found {100 * found:.1f} %")


def name_columns(rows, names):
    return pd.DataFrame(rows, columns=names)


def main():
    warnings.simplefilter("ignore", WorkingPointWarning)
    images, y = load_elpv("mono")
    features = DeepFeatureTransformer(BACKBONE, cache=True).fit_transform(images)
    show_few_images(features.filter(like="level7__"), y)
    show_products()
    show_drift(images, y)
    show_small_defects()


if __name__ == "__main__":
    main()
