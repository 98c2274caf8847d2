"""A fitted line as one ONNX graph, which is run beside the line before it is written."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._calibration._full_conformal import FullConformalThreshold
from .._calibration._threshold import FPRThreshold
from .._conventions._atomic import write_atomically
from .._conventions._levels import frame
from .._detectors._mahalanobis import MahalanobisDetector
from .._images._sequence import check_images
from .._line_file import describe_line, split_line
from ..deep._finding import find_extractor
from ..deep._graph import Passage, export_network, import_onnx
from ..exceptions import ExportError
from ..inspection._explain import list_steps
from ..spatial import SpatialMahalanobisDetector
from ._builder import Builder
from ._precision import PRECISIONS, lower_precision
from ._runner import FORMAT, Runner
from ._tail import REDUCTIONS, add_distances, add_judgement, add_maps, add_reduction, add_score

TOLERANCE = 1e-3  # of distances, as a share; and by how much a score may lie from the threshold and change sides


class Agreement(NamedTuple):
    """How an exported graph compares with its line, on the images of the export.

    Attributes
    ----------
    n_images : int
    largest_difference : float
        Of scores, as a share of the score.
    n_other_labels : int
        Images whose label differs: all of them nearer to the threshold than rounding.
    largest_map_difference : float or None
        Of maps, as a share of the largest distance; None where there are none.
    n_bytes : int
        The size of the file.
    """

    n_images: int
    largest_difference: float
    n_other_labels: int
    largest_map_difference: float | None
    n_bytes: int


def export_onnx(line, path, *, images, precision="float32"):
    """Write a fitted line as one ONNX graph: photographs in; distances, score, p-value and label out, and the map.

    Parameters
    ----------
    line : Pipeline or FPRThresholdCV
        Fitted, such as `make_line` or `load_line` returns it: features, `NPCA` or `LevelSelector` where they are, a
        `MahalanobisDetector`, and a threshold; or a `SpatialMahalanobisDetector`.
    path : path
        Of the file, by custom ``.onnx``; it is whole or not there.
    images : sequence of images
        On which the graph is run beside the line. In a lower precision, normal images to learn from: as many as a fit
        takes, those of the fit, say.
    precision : {"float32", "float16", "int8"}, default="float32"
        Of the network. A lower one moves features, so that the Gaussian and the threshold are learnt anew, from what
        the graph itself makes of `images`: the rate is kept.

    Returns
    -------
    Agreement
        A named tuple: how the graph compares with the line. It is in the file, too.

    Raises
    ------
    ExportError
        If something in the line has no place in a graph (tiles, regions of interest, categories, other detectors); or
        if the graph does not do what the line does: a score that differs by more than a thousandth, a label that
        differs away from the threshold. Nothing is written then.
    DependencyError
        If onnx, onnxscript or onnxruntime is missing.
    ImageError
        If an image cannot be used.

    See Also
    --------
    load : Runs the file without torch and scikit-learn.

    Notes
    -----
    The graph's input is ``images``, uint8 (n, height, width, 3), RGB, of any size; its outputs are ``distances``
    (n, n_levels), ``score`` (n,), ``label`` (n,), 1 or -1, ``p_value`` (n,) where the line has any, and ``map``
    (n, height, width) where it makes them. It holds resizing and normalisation, and operators of ONNX alone.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skgad import make_line
    >>> from skgad.deploy import export_onnx, load
    >>> images = np.random.default_rng(0).integers(0, 256, size=(24, 64, 64, 3), dtype=np.uint8)
    >>> line = make_line("tf_efficientnet_lite0", fpr=0.05, image_size=64).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     agreement = export_onnx(line, Path(folder) / "line.onnx", images=images)
    ...     runner = load(Path(folder) / "line.onnx")
    >>> bool(agreement.largest_difference < 1e-3)
    True
    >>> bool((runner.predict(images) == line.predict(images)).all())
    True
    """
    check_is_fitted(line)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}.")
    onnx = import_onnx()
    images = check_images(images)
    extractor, (_, threshold) = find_extractor(line), split_line(line)
    _refuse_categories(threshold)
    if isinstance(threshold, FullConformalThreshold) or not hasattr(threshold, "offset_"):
        raise ExportError(f"{type(threshold).__name__} has no threshold that a graph could hold: FPRThresholdCV has.")
    in_space = _find_in_space(threshold)
    if extractor is None or (extractor.learns_nothing and in_space is None and not isinstance(line, Pipeline)):
        raise ExportError("A graph begins with photographs: export the whole line, the extractor in front.")
    if in_space is None:
        _find_steps(line)  # what has no place is refused now, not after the network
    elif precision != "float32":
        raise ExportError(f"precision={precision!r} is for lines without maps: export this one in float32.")
    extraction = extractor._resolve()
    passage = Passage.of(extraction.settings, maps=in_space is not None)
    model = export_network(extraction.load_torch_network("cpu"), passage)
    scores = None
    if precision != "float32":
        model = lower_precision(model, precision, images)
        line, threshold, scores = _learn_anew(line, model, images, precision)
    if in_space is not None:
        _add_spatial(model, in_space, threshold, extraction)
    else:
        _add_pooled(model, line, threshold)
    described = describe_line(line) | {"format": FORMAT, "precision": precision}
    onnx.checker.check_model(model)
    agreement = _compare(line, model, described, images, in_space, scores)
    described |= {"agreement": agreement._asdict(), "exported_by": _list_versions()}
    del described["agreement"]["n_bytes"]  # which the metadata would change
    onnx.helper.set_model_props(model, {"skgad": json.dumps(described)})
    content = model.SerializeToString()
    write_atomically(Path(path), lambda file: file.write(content))
    return agreement._replace(n_bytes=len(content))


def _find_steps(line):
    """Return the reductions in front of the detector of a line of pooled features, and the detector.

    Raises
    ------
    ExportError
        If one of them has no place in a graph.
    """
    _, *steps = list_steps(line)
    if steps and isinstance(steps[-1], FPRThreshold):
        steps.pop()  # it only adds up
    for step in steps[:-1]:
        if not isinstance(step, REDUCTIONS):
            raise ExportError(f"{type(step).__name__} has no place in a graph: NPCA and LevelSelector have.")
    if not steps or not isinstance(steps[-1], MahalanobisDetector):
        last = type(steps[-1]).__name__ if steps else "A line without a detector"
        raise ExportError(f"{last} has no place in a graph: MahalanobisDetector and SpatialMahalanobisDetector have.")
    return steps[:-1], steps[-1]


def _add_pooled(model, line, threshold):
    builder, (reductions, detector) = Builder(model), _find_steps(line)
    tensor = "features"
    for reduction in reductions:
        tensor = add_reduction(builder, tensor, reduction)
    tensor = add_distances(builder, tensor, detector)
    outputs = {"distances": (tensor, "FLOAT", ["n", len(detector.levels_)])}
    _add_end(builder, add_score(builder, tensor), threshold, outputs)


def _add_spatial(model, detector, threshold, extraction):
    builder, measures = Builder(model), detector.read_measures()
    names = [f"map{level.level}" for level in measures.levels]
    score, anomaly_map = add_maps(builder, names, measures, extraction.size)
    outputs = {"map": (anomaly_map, "FLOAT", ["n", *extraction.size])}
    _add_end(builder, score, threshold, outputs)


def _add_end(builder, score, threshold, outputs):
    staircase = threshold.p_value_staircase() if hasattr(threshold, "p_value_staircase") else None
    label, p_value = add_judgement(builder, score, threshold.offset_, staircase)
    outputs |= {"score": (score, "FLOAT", ["n"]), "label": (label, "INT64", ["n"])}
    if p_value is not None:
        outputs["p_value"] = (p_value, "FLOAT", ["n"])
    builder.reset_outputs(**outputs)


def _find_in_space(threshold):
    """Return the fitted detector in space of a threshold, or None; raise ExportError for one without a graph."""
    detector = getattr(threshold, "estimator_", threshold)
    if isinstance(detector, SpatialMahalanobisDetector):
        if detector.read_measures().smoothing:
            raise ExportError("A graph has no smoothing: fit the detector with smoothing=0.")
        return detector
    if hasattr(detector, "score_maps"):
        raise ExportError(f"{type(detector).__name__} has no graph: SpatialMahalanobisDetector has one.")
    return None


def _refuse_categories(threshold):
    if hasattr(threshold, "offsets_"):
        raise ExportError("This line has a threshold for each category, and a graph has one: export a line of each.")


def _learn_anew(line, model, images, precision):
    """Return the line, fitted on what the graph's network makes of images, its threshold, and their scores."""
    front, threshold = split_line(line)
    if front is None or not hasattr(threshold, "judge_scores"):
        raise ExportError(f"precision={precision!r} takes a line of features and an FPRThresholdCV.")
    if threshold.n_groups_ != len(threshold.out_of_fold_scores_):
        raise ExportError(f"precision={precision!r} learns anew, and does not know your groups: export in float32.")
    values = Runner(model.SerializeToString(), {}).run(images, ["features"])["features"]
    features = frame(values, front[0].get_feature_names_out())
    learnt = clone(threshold).fit(features)
    return Pipeline([*front.steps, (line.steps[-1][0], learnt)]), learnt, learnt.score_samples(features)


def _compare(line, model, described, images, in_space, expected=None):
    """Return how the graph compares with the line; raise ExportError if it does something else."""
    threshold = split_line(line)[1]
    found = Runner(model.SerializeToString(), described).run(images)
    scores = found["score"].astype(np.float64)
    expected = line.score_samples(images) if expected is None else expected
    difference = np.abs(scores - expected) / np.maximum(np.abs(expected), np.finfo(np.float32).tiny)
    if difference.max() > TOLERANCE:
        worst = int(difference.argmax())
        raise ExportError(
            f"The graph does not do what the line does: it scores image {worst} {scores[worst]:.6g}, and the line "
            f"{expected[worst]:.6g}. Nothing was written."
        )
    labels = np.where(expected < threshold.offset_, -1, 1)
    others = labels != found["label"]
    away = np.abs(expected - threshold.offset_) > TOLERANCE * abs(threshold.offset_)
    if (others & away).any():
        raise ExportError(f"The graph gives image {int(np.argmax(others & away))} another label. Nothing was written.")
    map_difference = None
    if in_space is not None:
        maps = in_space.score_maps(images)
        map_difference = float(np.abs(found["map"] - maps).max() / maps.max())
        if map_difference > TOLERANCE:
            raise ExportError(f"The graph's maps differ by {map_difference:.2g} of the largest distance.")
    return Agreement(len(images), float(difference.max()), int(others.sum()), map_difference, 0)


def _list_versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("onnx", "onnxruntime", "onnxscript", "torch", "timm", "numpy")}
