"""The papers' trainings: a category, a division of its training images, a variant; each is a cell on disk."""

import json
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from tqdm.auto import tqdm

from .._conventions._atomic import write_atomically
from .._images._files import is_path
from .._version import __version__
from ..datasets import load_mask
from ..deep import AutoencoderDetector, FineTuner
from ..metrics import pixel_scores
from ._store import digest, read_whole

_MOST_FPR = 0.3  # of the per-region overlap
_VERSIONS = (__version__, "tuning 1")  # the latter of cells and what they mean

FROZEN = {"max_epochs": 0}
VARIANTS: dict[str, dict] = {
    "Gaussian, frozen": FROZEN,
    "Gaussian, tuned": {},
    "Deep SVDD, frozen": {"objective": "svdd", **FROZEN},
    "Deep SVDD, tuned": {"objective": "svdd"},
    "FCDD, tuned": {"objective": "fcdd"},
    "fixed epochs": {"validation": None},
    "validation loss": {"validation": "loss"},
    **{f"AugMix, severity {n}": {"vicinity": "augmix", "severity": n} for n in range(3, 8)},
    "Confetti": {"vicinity": "confetti"},
    "CutOut": {"vicinity": "cutout"},
    **{
        f"{gaussian}, {aggregate}": {"gaussian": gaussian, "aggregate": aggregate}
        for gaussian in ("global", "local", "tied")
        for aggregate in ("mean", "max")
    },
}
AUTOENCODERS = {"Autoencoder, map mean": "mean", "Autoencoder, CCA": "cca"}
SUPERVISED = "Supervised bound"
_PATIENCE = 20  # epochs, of the supervised bound: the papers do not say
_SAME = {"tied, max": "Gaussian, tuned"}  # two names of one training


class TuningCell(NamedTuple):
    """A finished training, judged by the whole test set."""

    backbone: str
    category: str
    fold: int
    variant: str
    image_auroc: float  # in percent, as all of these; by the objective's own score
    pixel_auroc: float  # NaN without masks
    pro: float
    n_epochs: int
    kept: int  # the epoch whose state was kept
    seconds: float


def evaluate_tuning(categories, extractor, variants, *, out, n_folds, parameters, verbose=0):
    """Return the cells of all trainings; those that are finished are read, a killed one goes on from its checkpoint.

    Parameters
    ----------
    categories : list of Category
    extractor : DeepFeatureTransformer
    variants : list of str
        Out of `VARIANTS`, `AUTOENCODERS` and `SUPERVISED`.
    out : path
        The folder whose ``cells`` hold what is finished.
    n_folds : int
        Divisions of the training images: 80 % to train on, 20 % to examine on, drawn with the fold as the seed.
    parameters : dict
        Of `FineTuner`, for all variants that do not say otherwise.
    verbose : int, default=0

    Returns
    -------
    list of TuningCell
    """
    folder, cells = Path(out) / "cells", []
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(_SAME.get(name, name) for name in variants))
    total = len(categories) * n_folds * len(wanted)
    with tqdm(total=total, unit="training", desc="trainings", disable=not verbose) as bar:
        for category in categories:
            extractor = clone(extractor).fit(category.X_train[:1])
            images = _digest_images(category.X_train), _digest_images(category.X_test), category.y_test
            known = digest(_VERSIONS, extractor.settings_, extractor.weights_sha256_, *images)
            for fold, variant in product(range(n_folds), wanted):
                cells.append(_compute(folder, known, extractor, category, fold, variant, parameters))
                bar.update()
    again = [cell._replace(variant=name) for name, same in _SAME.items() for cell in cells if cell.variant == same]
    return [*cells, *(cell for cell in again if cell.variant in variants)]


def to_table(cells):
    """Return mean and standard error over the categories of each variant, of means over the folds, as a frame."""
    table = pd.DataFrame(cells)
    measures = ["image_auroc", "pixel_auroc", "pro"]
    by_category = table.groupby(["variant", "category"], sort=False)[measures].mean()
    grouped = by_category.groupby("variant", sort=False)
    return pd.concat({"mean": grouped.mean(), "sem": grouped.sem()}, axis=1)


def _compute(folder, known, extractor, category, fold, variant, parameters):
    """Return a cell, from the disk where it is there."""
    changes = {**parameters, **VARIANTS.get(variant, {}), "random_state": fold}
    kind = "tuning" if variant in VARIANTS else variant
    path = folder / f"{digest(known, kind, sorted(changes.items(), key=str))}.json"
    found = read_whole(path, _read)
    if found is not None:  # of another variant, maybe, that is the same training
        return found._replace(category=category.name, variant=variant)
    figures = _train(path.with_suffix(".pt"), extractor, category, fold, variant, changes)
    cell = TuningCell(extractor.backbone_, category.name, fold, variant, *figures)
    write_atomically(path, lambda file: file.write(json.dumps(cell._asdict()).encode()))
    return cell


def _train(checkpoint, extractor, category, fold, variant, changes):
    """Return the figures of a cell, trained now."""
    if variant == SUPERVISED:
        return _judge_supervised(extractor, category, fold, changes["max_epochs"])
    if variant in AUTOENCODERS:
        trained = AutoencoderDetector(
            image_size=_round_up(max(extractor.image_size_)),
            score=AUTOENCODERS[variant],
            min_area=_find_smallest_anomaly(category, (_round_up(max(extractor.image_size_)),) * 2),
            max_epochs=changes["max_epochs"],
            random_state=fold,
            checkpoint=checkpoint,
        )
    else:
        trained = FineTuner(extractor, checkpoint=checkpoint, **changes)
    figures = _judge(trained, category)
    checkpoint.unlink(missing_ok=True)
    return figures


def _judge_supervised(extractor, category, fold, max_epochs):
    """Return the figures of the supervised bound: train and test pooled, five stratified folds used 3/1/1."""
    from ..deep.training._supervised import score_supervised  # it needs torch

    begun = time.perf_counter()
    images = [*category.X_train, *category.X_test]
    y = np.concatenate([np.ones(len(category.X_train), dtype=int), category.y_test])
    folds = [part for _, part in StratifiedKFold(5, shuffle=True, random_state=0).split(y, y)]
    test, validation = folds[fold % 5], folds[(fold + 1) % 5]
    train = np.setdiff1d(np.arange(len(y)), np.concatenate([test, validation]))
    options = {"max_epochs": max_epochs, "patience": _PATIENCE, "random_state": fold}
    scores = score_supervised(extractor, images, y, train, validation, test, **options)
    seconds = time.perf_counter() - begun
    return 100 * roc_auc_score(y[test] == -1, scores), np.nan, np.nan, max_epochs, -1, seconds


def _round_up(image_size):
    """Return the side of an autoencoder's images: a multiple of 32."""
    return -(-image_size // 32) * 32


def _find_smallest_anomaly(category, size):
    """Return the pixels of the smallest anomaly of the test masks, as the papers have it; 1 without masks."""
    masks = [mask for mask in category.mask_test or () if mask is not None]
    areas = [int(_read_mask(mask, size).sum()) for mask in masks]
    return max(1, min(areas, default=1))


def _digest_images(images):
    """Return the digest of images, files or pixels."""
    return digest(*(np.asarray(one) if not is_path(one) else Path(one).read_bytes() for one in images))


def _judge(tuner, category):
    begun = time.perf_counter()
    tuner.fit(list(category.X_train))
    seconds = time.perf_counter() - begun
    test, history = list(category.X_test), tuner.history_
    image = roc_auc_score(category.y_test, tuner.score_samples(test))
    pixels = _judge_pixels(tuner, category)
    kept = int(history.loc[history["kept"], "epoch"].iloc[0])
    return 100 * image, *pixels, len(history) - 1, kept, seconds


def _judge_pixels(tuner, category):
    """Return pixel AUROC and PRO in percent, over images whose anomalous pixels are known; NaN where none are."""
    masks = category.mask_test
    if masks is None or all(mask is None for mask in masks):
        return np.nan, np.nan
    pairs = zip(category.X_test, masks, category.y_test, strict=True)
    usable = [(path, mask) for path, mask, label in pairs if mask is not None or label == 1]
    is_square = isinstance(tuner, AutoencoderDetector)
    size = (tuner.image_size,) * 2 if is_square else tuner.extractor_.image_size_
    maps = (tuner.score_maps([path])[0] for path, _ in usable)
    found = pixel_scores((_read_mask(mask, size) for _, mask in usable), maps, max_fpr=_MOST_FPR)
    return 100 * found.roc_auc, 100 * found.pro_auc


def _read_mask(path, size):
    if path is None:
        return None
    return np.asarray(Image.fromarray(load_mask(path)).resize(size[::-1], Image.Resampling.NEAREST))


def _read(path):
    values = json.loads(path.read_text())
    return TuningCell(*(values[name] for name in TuningCell._fields))
