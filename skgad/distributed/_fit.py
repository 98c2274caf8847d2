"""A line is learnt in parts: which passes it takes, and what comes back of them."""

import os

from .._calibration._working_point import check_reachable
from .._conventions._parameters import check_int, read_fpr
from .._conventions._warnings import warn
from ..deep._reports import report
from ._columns import fit_columns
from ._engines import check_dask, choose_engine
from ._kept import Kept, describe_front
from ._maps import fit_maps
from ._parts import make_parts
from ._plan import read_plan
from ._reading import Source
from ._tasks import fit_front


def fit(line, X, y=None, *, client=None, checkpoint=None, partition_size=None):
    """Fit a line on many machines, or on more images than one process should hold: ``line.fit(X)``, in parts.

    Workers read the images, run the network and return moments, which are merged in trees; features stay on the disk of
    the worker that made them. The line becomes what ``line.fit(X)`` makes it, within rounding, whatever the parts and
    their order: an ordinary line, for one machine, to be saved and used as any other.

    Parameters
    ----------
    line : estimator
        What `make_line` returns, or a pipeline or detector like it: an extractor and steps that learn nothing, or none;
        `NPCA`, or not; a `MahalanobisDetector`, or, without steps in front, a `SpatialMahalanobisDetector`; alone, in
        `FPRThresholdCV` or in front of `FPRThreshold`. It is fitted in place.
    X : sequence of images, Dask bag or Series, or iterator
        Paths that each worker can read, best of all; for a detector of columns, a table, or a Dask DataFrame. An
        iterator or generator of batches of images is gone through once, here.
    y : array-like of shape (n_samples,), default=None
        Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.
    client : distributed.Client, default=None
        Of the cluster. None for the one that was made last; without any, parts are worked on in this process, one after
        the other, in constant memory.
    checkpoint : path, default=None
        A folder for the features, that all workers see. It stays: a fit that was killed, run again with the same folder
        and the same images, goes on from there, and gives the same. 4 bytes a feature of each image. Not for maps.
    partition_size : int, default=None
        Images in a part, which is what a worker that dies takes with it. None for an eighth of a thread's share, 4096
        at most, or, with a checkpoint, 256.

    Returns
    -------
    estimator
        `line`, fitted.

    Raises
    ------
    ValueError
        If a step learns from all images at once (a network that is trained, a mixture); if the rate cannot be reached
        with so few images; if an image lies so far out that nothing is left of the others beside it; and as ``fit`` of
        the steps. The line is what it was before.
    TypeError
        If `line` is no outlier detector, nor ends in one, or `client` is no client.
    ImageError
        If an image cannot be used; names it, by its position in `X`, and the worker.
    RuntimeError
        If workers die at the same images again and again, or the scheduler is lost.
    DependencyError
        If a Dask collection comes, and dask.distributed is missing.

    Warns
    -----
    ImageWarning
        Where the extractor has ``on_bad_image="nan"``: one list of the images of all workers that were left out.

    See Also
    --------
    score_samples : Scores on many machines.

    Notes
    -----
    *Passes.* A line of columns sends each image through the network once; behind `NPCA`, and for `FPRThresholdCV`,
    workers go through their features once more each. Maps are not kept: each pass goes through the network.
    *Working point.* `FPRThresholdCV` leaves out single images, or folds, by moments. Beyond a million images its
    ``out_of_fold_scores_`` are a million that stand for all: no p-value is smaller than by all scores, nor larger by
    more than 1e-6 and the share of the fullest of a million bins. What differs from one machine: ``drifted_fpr_`` is
    NaN, and ``update`` is refused, but for a few images of many features.
    *Faults.* A part that is lost with its worker is worked on again by another; parts are counted when they are merged.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import make_line
    >>> from skgad.distributed import fit
    >>> images = np.random.default_rng(0).integers(0, 256, size=(24, 64, 64, 3), dtype=np.uint8)
    >>> line = make_line("tf_efficientnet_lite0", fpr=0.05, image_size=64)
    >>> fit(line, iter(np.split(images, 3))).predict(images).shape
    (24,)
    """
    check_int("partition_size", partition_size, 1, optional=True)
    plan = read_plan(line)
    check_dask(X)
    engine = choose_engine(client, once=hasattr(X, "__next__"))
    parts = make_parts(
        X,
        y,
        partition_size,
        images=plan.takes_images,
        n_threads=engine.n_threads,
        count=engine.count,
        kept=checkpoint is not None,
    )
    _check_before(plan, parts, checkpoint)
    kept, front = Kept(engine.run, checkpoint), plan.make_front()
    try:
        if plan.makes_maps:
            fitted, calibrated, summary = fit_maps(plan, parts, engine, kept)
        else:
            source, notes = _begin(engine, parts, front, kept)
            front = source.front
            fitted, calibrated, summary = fit_columns(plan, parts, engine, source)
            summary.notes |= notes
    finally:
        engine.clean(kept)
    plan.install(fitted, front, calibrated)
    report_summary(summary, "they were left out of the fit")
    return line


def report_summary(summary, consequence):
    """Warn of images that could not be used, in one list, and of what workers have said."""
    for category, text in sorted(summary.notes, key=str):
        warn(text, category)
    if summary.n_bad:
        reasons = [reason for _, reason in sorted(summary.bad)]
        report(reasons + ["..."] * (summary.n_bad - len(reasons)), summary.n_images, consequence)


def _check_before(plan, parts, checkpoint):
    """Refuse what no pass would make good."""
    if plan.calibrator is not None and parts.n_images is not None:
        share = read_fpr(plan.calibrator.fpr)
        check_reachable(plan.calibrator.fpr, share, parts.n_images, grouped=False)
    if parts.once and (plan.makes_maps or not plan.takes_images):
        raise ValueError("An iterator is for lines with an extractor in front: maps, and tables, take several passes.")
    if parts.once and plan.cv not in (None, "loo"):
        raise ValueError("Folds take the number of images, which an iterator does not tell: leave cv at None.")
    place = None if checkpoint is None else os.path.expanduser(checkpoint)
    if place is not None and os.path.exists(place) and not os.path.isdir(place):
        raise ValueError(f"checkpoint={os.fspath(checkpoint)!r} is no folder.")
    if checkpoint is not None and (plan.makes_maps or not plan.takes_images):
        raise ValueError("checkpoint keeps the features of an extractor: a line with maps, or of columns, has none.")


def _begin(engine, parts, front, kept):
    """Return the `Source` of the features, its front fitted where the first part is, and what was warned of."""
    if front is None:
        return Source(None, None, "", kept), set()
    first = next(iter(parts.make())) if not parts.once else parts.peek()
    [(front, names, notes)] = engine.map(fit_front, [first], lambda part: (front,))
    return Source(front, names, describe_front(front), kept), notes
