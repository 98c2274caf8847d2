"""The paper's protocol: five folds of the training images; four are learnt from, the whole test set is judged.

A cell is one fold of one category, one backbone and one family of methods that share work. Its result is the distances
of the test images; every figure of every table follows from these.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import scipy
import sklearn
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from .._version import __version__
from ..deep import DeepFeatureTransformer
from ._baselines import make_detector
from ._cost import measured
from ._features import Extractor
from ._methods import score_augmented, score_compressions, score_detector, score_gaussians
from ._store import Log, Result, Store, digest

GAUSSIANS, COMPRESSIONS, AUGMENTED = "gaussians", "compressions", "augmented"
_FORMAT = 1  # of results and what they mean
_VERSIONS = (__version__, np.__version__, scipy.__version__, sklearn.__version__, _FORMAT)


class Cell(NamedTuple):
    """A finished cell.

    Parameters
    ----------
    backbone : str
        With the tag of its training.
    category : str
    fold : int
    family : str
        "gaussians", "compressions", "augmented", or the name of a detector.
    y_test : ndarray of int
        +1 normal, -1 anomalous.
    result : Result
    """

    backbone: str
    category: str
    fold: int
    family: str
    y_test: np.ndarray
    result: Result


class ExtractionCost(NamedTuple):
    """What was extracted for a category, and what it cost."""

    backbone: str
    category: str
    images: str  # "plain" or "augmented"
    n_images: int
    seconds: float
    peak_mib: float


class Run(NamedTuple):
    """What an evaluation gives."""

    cells: list  # of Cell
    settings: dict  # the extractor's, by backbone
    extractions: list  # of ExtractionCost: of this run and of those before it


def make_folds(n_train, n_folds=5):
    """Return the positions that each fold learns from: the larger part by ``KFold(shuffle=True, random_state=0)``.

    Parameters
    ----------
    n_train : int
        Training images.
    n_folds : int, default=5

    Returns
    -------
    list of ndarray of int

    Examples
    --------
    >>> from skgad.benchmark import make_folds
    >>> [len(fold) for fold in make_folds(12)]
    [9, 9, 10, 10, 10]
    """
    return [learnt for learnt, _ in KFold(n_folds, shuffle=True, random_state=0).split(np.arange(n_train))]


def evaluate(
    categories: Sequence,
    plan: dict,
    *,
    out,
    n_folds=5,
    n_passes=100,
    n_jobs=1,
    cache=True,
    weights="auto",
    random_state=0,
    verbose=0,
):
    """Return all cells of a plan; those that are finished are read, the others computed and stored one by one.

    Parameters
    ----------
    categories : list of Category
    plan : dict of str to list of str
        For each backbone the families: "gaussians", "compressions", "augmented", or names for `make_detector`.
    out : path
        The folder whose ``cells`` hold what is finished.
    n_folds : int, default=5
    n_passes : int, default=100
        Of augmentation, for the family "augmented".
    n_jobs : int, default=1
        Processes that compute cells, each with one thread, so that results do not depend on it; and threads that read
        images.
    cache : True or path, default=True
        Of the extractor.
    weights : optional
        Of the extractor.
    random_state : int, default=0
        Of augmentation, and of detectors that draw.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    Run

    Raises
    ------
    WeightsError, BackboneError
        If a network cannot be had: before anything is computed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skgad.benchmark import Category, evaluate, measure_aurocs
    >>> images = np.random.default_rng(0).integers(0, 256, size=(14, 32, 32, 3), dtype=np.uint8)
    >>> noise = Category("noise", images[:10], images[10:], np.array([1, 1, -1, -1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = evaluate([noise], {"tf_efficientnet_lite0": ["gaussians"]}, out=folder, cache=folder, n_folds=2)
    >>> measure_aurocs(run.cells)["fold"].unique().tolist()
    [0, 1]
    """
    for backbone in plan:
        DeepFeatureTransformer(backbone, cache=cache, weights=weights).fit(categories[0].X_train[:1])
    store, log, cells, settings = Store(Path(out) / "cells"), Log(Path(out) / "extractions.csv", ExtractionCost), [], {}
    total = len(categories) * n_folds * sum(map(len, plan.values()))
    with tqdm(total=total, unit="cell", desc="cells", disable=not verbose) as bar:
        for backbone, families in plan.items():
            extractor = Extractor(backbone, cache=cache, weights=weights, num_workers=max(n_jobs, 1), verbose=verbose)
            for category in categories:
                features, passes = extractor.extract(category), None
                _note_extraction(log, category, features.settings, "plain", features)
                if AUGMENTED in families:
                    passes = extractor.extract_passes(category, features, n_passes, random_state)
                    _note_extraction(log, category, features.settings, "augmented", passes)
                results = _compute_category(
                    features, passes, families, store, bar, n_folds=n_folds, n_jobs=n_jobs, random_state=random_state
                )
                resolved = features.settings["backbone"]
                settings[resolved] = features.settings
                for (fold, family), result in results:
                    cells.append(Cell(resolved, category.name, fold, family, category.y_test, result))
    return Run(cells, settings, [one for one in log.read() if one.backbone in settings])


def _note_extraction(log, category, settings, images, cost):
    if cost.n_extracted:
        spent = cost.n_extracted, cost.seconds, cost.peak_mib
        log.add(ExtractionCost(settings["backbone"], category.name, images, *spent))


def _compute_category(features, passes, families, store, bar, *, n_folds, n_jobs, random_state):
    """Return pairs of (fold, family) and result, in order; compute those that the store lacks."""
    keys = {}
    for fold, learnt in enumerate(make_folds(len(features.train), n_folds)):
        for family in families:
            images = passes.key if family == AUGMENTED else features.key
            keys[fold, family] = digest(_VERSIONS, images, features.key, learnt, family, random_state)
    finished = {place: store.get(key) for place, key in keys.items()}
    bar.update(sum(result is not None for result in finished.values()))
    lacking = [place for place, result in finished.items() if result is None]
    compute = partial(_compute, features.train, features.test, passes, store, random_state)
    folds = make_folds(len(features.train), n_folds)
    with joblib.Parallel(n_jobs, return_as="generator_unordered") if n_jobs != 1 else nullcontext() as parallel:
        calls = [joblib.delayed(compute)(keys[place], place, folds[place[0]]) for place in lacking]
        done = (function(*args) for function, args, _ in calls) if parallel is None else parallel(calls)
        for place, result in done:
            finished[place] = result
            bar.update()
    return [(place, finished[place]) for place in keys]


def _compute(train, test, passes, store, random_state, key, place, learnt):
    """Compute one cell, store it, and return its place and result."""
    _, family = place
    with threadpool_limits(1), measured() as cost:
        rows = _score(family, train.iloc[learnt], test, passes, learnt, random_state)
    result = Result(
        [row.method for row in rows],
        [row.level for row in rows],
        np.array([row.n_features for row in rows]),
        np.array([row.distances for row in rows]),
        cost.seconds,
        cost.peak_mib,
    )
    store.put(key, result)
    return place, result


def _score(family, train, test, passes, learnt, random_state):
    if family == GAUSSIANS:
        return score_gaussians(train, test)
    if family == COMPRESSIONS:
        return score_compressions(train, test)
    if family == AUGMENTED:
        return score_augmented(lambda: passes.blocks(learnt), test)
    return score_detector(family, make_detector(family, train.columns, random_state), train, test)
