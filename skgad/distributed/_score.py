"""Scores of images by a fitted line, on many machines."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._conventions._parameters import check_int
from .._conventions._scores import check_has_scores
from ..deep import DeepFeatureTransformer
from ..deep._finding import find_extractor
from ._engines import check_dask, choose_engine
from ._fit import report_summary
from ._kept import Kept
from ._parts import make_parts
from ._reading import Source
from ._summaries import Summary
from ._tasks import score_all


def score_samples(line, X, *, client=None, partition_size=None):
    """Return the score of each image by a fitted line, on many machines: ``line.score_samples(X)``, in parts.

    Parameters
    ----------
    line : estimator
        Any that is fitted: a pipeline with an extractor in front, a detector of images, or one of columns.
    X : sequence of images, Dask bag or Series, or iterator of batches
        Or a table, or Dask DataFrame, as the line takes them.
    client, partition_size
        As in `fit`.

    Returns
    -------
    ndarray of shape (n_samples,)
        Higher is more normal. NaN for an image that cannot be used, where the extractor has ``on_bad_image="nan"``.
        ``judge_scores`` of the threshold makes labels and p-values of the others.

    Raises
    ------
    ImageError, RuntimeError, DependencyError
        As `fit`.
    NotFittedError
        If the line is not fitted.

    Warns
    -----
    ImageWarning
        One list of the images of all workers that cannot be used.

    See Also
    --------
    fit : Fits on many machines.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import make_line
    >>> from skgad.distributed import score_samples
    >>> images = np.random.default_rng(0).integers(0, 256, size=(24, 64, 64, 3), dtype=np.uint8)
    >>> line = make_line("tf_efficientnet_lite0", fpr=0.05, image_size=64).fit(images)
    >>> bool(np.allclose(score_samples(line, images), line.score_samples(images)))
    True
    """
    check_int("partition_size", partition_size, 1, optional=True)
    check_has_scores("line", line)
    check_is_fitted(line)
    check_dask(X)
    engine = choose_engine(client, once=hasattr(X, "__next__"))
    front, detector = _split(line)
    extractor = find_extractor(detector)
    takes_images = front is not None or extractor is not None
    parts = make_parts(X, None, partition_size, images=takes_images, n_threads=engine.n_threads, count=engine.count)
    source = engine.share(Source(front, None, "", Kept(engine.run), extractor))
    shared = engine.share(detector)
    scores, summary = [], Summary(0, 0, 0, {})
    for scored in engine.map(score_all, parts.make(), lambda part: (source, shared)):
        scores.append(scored.scores)
        summary.n_images += scored.n_images
        summary.bad += scored.bad
        summary.n_bad += scored.n_bad
        summary.notes |= scored.notes
    report_summary(summary, "their scores are NaN")
    if not scores:
        raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
    return np.concatenate(scores)


def _split(line):
    """Return the steps up to the extractor, None without one, and what takes its features."""
    inner = getattr(line, "estimator_", None)
    line = inner if isinstance(inner, Pipeline) else line  # whose scores are those of a threshold around it
    if not isinstance(line, Pipeline):
        return None, line
    last = max((at for at, step in enumerate(line) if isinstance(step, DeepFeatureTransformer)), default=None)
    return (None, line) if last is None else (line[: last + 1], line[last + 1 :])
