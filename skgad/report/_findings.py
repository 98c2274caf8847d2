"""What a report shows: judgements, small pictures of all images, large ones of those that matter, the learnt ones."""

import base64
import io
from typing import Any

import numpy as np

from .._conventions._levels import name_part
from .._images._geometry import whole_box
from .._judge import CHUNK, Judge, in_chunks
from .._line_file import describe_line
from ..deep._finding import find_extractor
from ..exceptions import ImageError
from ..inspection import diagnose, explain
from ._overlays import lay_map_over, read_small

MOST_THUMBNAILS = 5000  # of 2 to 3 kB: with the large pictures a page stays below 25 MB
_MOST_PICTURES = 60  # most anomalous images that are shown large, and as many false alarms and misses
_MOST_SUSPECTS = 24
_THUMBNAIL, _PICTURE = 80, 480  # pixels, at most, of the longer side
_MOST_PARTS = 6  # of an explanation


def gather(line, images, names, y=None, kinds=None, learnt=None, progress=iter):
    """Return all that a page shows, as JSON knows it.

    Parameters
    ----------
    line : estimator
        As `Judge` takes it.
    images : sequence of images
    names : list of str
    y : ndarray of int of shape (n_samples,), default=None
        +1 and -1, where known.
    kinds : list of str, default=None
        The kinds of anomaly, where known.
    learnt : sequence of images, default=None
        Those of the fit, in their order.
    progress : callable, default=iter
        Goes through what it is given, and shows how far.
    """
    judge = Judge(line)
    detector = judge.detector
    rows: list[dict[str, Any]] = []
    for chunk in progress(list(in_chunks(range(len(images)), CHUNK))):
        judged = judge.judge([images[at] for at in chunk], [names[at] for at in chunk])
        for at, judgement in zip(chunk, judged, strict=True):
            row = {"name": judgement.path, "distance": judgement.distance, "p": judgement.p_value}
            row |= {"error": judgement.error, "truth": None if y is None else int(y[at])}
            row |= {"kind": None if kinds is None else str(kinds[at]), "regions": judgement.regions}
            if judgement.error is None and at < MOST_THUMBNAILS:
                row["thumbnail"] = _encode(read_small(images[at], _THUMBNAIL)[0], 60)
            rows.append(row)
    threshold = -float(detector.offset_)
    for at in _choose(rows, threshold):
        rows[at] |= _picture(judge, images[at], rows[at])
    edges, p_values = detector.p_value_staircase()
    return {
        "images": rows,
        "threshold": threshold,
        "fpr": float(detector.fpr),
        "learnt": (-detector.out_of_fold_scores_).tolist(),
        "staircase": {"edges": (-edges[::-1]).tolist(), "p": p_values[::-1].tolist()},
        "suspects": _find_suspects(detector, learnt),
        "diagnosis": _diagnose(detector),
        "line": describe_line(line),
    }


def _choose(rows, threshold):
    """Return the positions of the images to show large: the most anomalous, and those that were judged wrongly."""
    scored = [at for at, row in enumerate(rows) if row["distance"] is not None]
    descending = sorted(scored, key=lambda at: -rows[at]["distance"])
    alarms = [at for at in descending if rows[at]["truth"] == 1 and rows[at]["distance"] > threshold]
    misses = [at for at in descending if rows[at]["truth"] == -1 and rows[at]["distance"] <= threshold]
    return sorted({*descending[:_MOST_PICTURES], *alarms[:_MOST_PICTURES], *misses[:_MOST_PICTURES]})


def _picture(judge, image, row):
    """Return an image large, with its map and boxes where there are any, and what its distance is made of."""
    picture, size = read_small(image, _PICTURE)
    found = {"picture": _encode(picture, 80), "parts": _explain(judge, image)}
    detector = judge.detector.estimator_
    if judge.makes_maps and hasattr(detector, "pixel_threshold_"):
        boxes = [(one["left"], one["top"], one["right"], one["bottom"]) for one in row["regions"] or ()]
        anomaly_map = np.nan_to_num(detector.score_maps([image])[0])
        extractor = find_extractor(judge.line)
        box = extractor.find_box(*size) if hasattr(extractor, "find_box") else whole_box(*size)
        drawn = lay_map_over(picture, size, anomaly_map, box, detector.pixel_threshold_, boxes)
        found["overlay"] = _encode(drawn, 80)
    return found


def _explain(judge, image):
    """Return the parts that count most in an image's distance: names and numbers, in units of distance."""
    detector = judge.detector.estimator_
    if hasattr(detector, "level_distances"):
        distances = detector.level_distances([image])[0] / len(detector.levels_)
        parts = [(f"level {level}", float(value)) for level, value in zip(detector.levels_, distances, strict=True)]
    else:
        try:
            table = explain(judge.line, [image])
        except ValueError:  # a detector that has no explanation
            return None
        parts = [(name_part(row.level, row.cell), float(row.contribution)) for row in table.itertuples(index=False)]
    return [[name, round(value, 3)] for name, value in sorted(parts, key=lambda part: -abs(part[1]))[:_MOST_PARTS]]


def _diagnose(detector):
    """Return what there is to say of the learnt images as a whole, where the line has kept their features."""
    rows = detector.learnt_rows()
    return [] if rows is None else diagnose(rows).sentences


def _find_suspects(detector, learnt):
    """Return the learnt images that the others find most anomalous, with pictures where the images are there."""
    scores = detector.out_of_fold_scores_
    if learnt is None or len(learnt) != len(scores):
        return []
    ranks = np.argsort(scores)[:_MOST_SUSPECTS]
    suspects = []
    for at in ranks:
        p_value = (1 + int((scores < scores[at]).sum())) / len(scores)  # among the learnt ones, itself counted
        suspect = {"name": str(learnt[at]), "distance": -float(scores[at]), "p": p_value}
        try:
            suspect["thumbnail"] = _encode(read_small(learnt[at], 2 * _THUMBNAIL)[0], 70)
        except ImageError:
            suspect["thumbnail"] = None
        suspects.append(suspect)
    return suspects


def _encode(picture, quality):
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
