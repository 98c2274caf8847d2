"""Images to judgements, a chunk at a time: each image goes through the network once."""

import math
import os
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ._images._files import is_path
from ._images._interest import split
from ._line_file import split_line
from .deep._finding import find_extractor
from .exceptions import ImageError, ImageWarning

CHUNK = 64  # images: a few hundred kilobytes of features


class Judgement(NamedTuple):
    """What a line says of an image.

    Attributes
    ----------
    path : str
    label : str
        "normal", "anomalous", or "unreadable".
    distance, threshold, p_value : float or None
        An image whose distance exceeds the threshold is anomalous. None if it is unreadable.
    error : str or None
    regions : list of dict or None
        Of an anomalous image, where the line makes maps: boxes in its own pixels, with p-values.
    """

    path: str
    label: str
    distance: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    error: str | None = None
    regions: list | None = None

    def as_dict(self):
        """Return what there is to say, as JSON knows it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Judge:
    """A line that says of each image what it is, and goes on where one cannot be read.

    Parameters
    ----------
    line : estimator
        As `load_line` returns it.

    Raises
    ------
    ValueError
        If it has no threshold of one rate, so that it says of no image what it is.
    """

    def __init__(self, line):
        self.line = line
        self.front, self.detector = split_line(line)
        if not hasattr(self.detector, "judge_scores"):
            raise ValueError(
                f"This line ends in {type(self.detector).__name__}, without the threshold of FPRThresholdCV that "
                "judgements take. Fit one with `skgad fit`, or make_line."
            )
        if hasattr(self.detector, "offsets_"):
            raise ValueError(
                "This line has a threshold for each category, which a file name does not tell: use it from Python, "
                "with predict(X, categories=...)."
            )
        self.makes_maps = hasattr(self.detector, "score_maps")
        self._extractor = find_extractor(line)
        if self._extractor is None:
            raise ValueError(
                "This line takes features, not photographs: save the whole of it, the DeepFeatureTransformer in front."
            )

    def look(self, images):
        """Return the features and the score of each image, NaN where it is unreadable.

        Returns
        -------
        features : frame of shape (n_samples, n_features), or None
            What the detector takes; None where it takes images.
        scores : ndarray of shape (n_samples,)
        """
        with self._bad_images("nan"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)  # each is told by itself
            if self.front is None:
                return None, self.detector.estimator_.score_samples(images)
            features = self.front.transform(images)
        usable = features.notna().all(axis=1).to_numpy()
        scores = np.full(len(images), np.nan)
        if usable.any():
            scores[usable] = self.detector.score_samples(features[usable])
        return features, scores

    def judge(self, images, names=None, scores=None):
        """Return the judgement of each image.

        Parameters
        ----------
        images : list of images
            Paths, arrays or PIL images.
        names : list of str, default=None
            What to call them; None for their paths.
        scores : ndarray of shape (n_samples,), default=None
            Those of `look`; None to look now.
        """
        paths = [name_image(image, at) for at, image in enumerate(images)] if names is None else names
        scores = self.look(images)[1] if scores is None else scores
        usable = np.flatnonzero(np.isfinite(scores))
        labels, p_values = self.detector.judge_scores(scores[usable]) if len(usable) else ([], [])
        judged = {
            int(row): Judgement(
                paths[row],
                "anomalous" if label == -1 else "normal",
                -float(scores[row]),
                -float(self.detector.offset_),
                float(p_value),
            )
            for row, label, p_value in zip(usable, labels, p_values, strict=True)
        }
        self._add_regions(judged, images)
        return [
            judged[row] if row in judged else Judgement(path, "unreadable", error=self._find_error(images[row]))
            for row, path in enumerate(paths)
        ]

    def _find_error(self, image):
        """Return why an image is unreadable."""
        try:
            with self._bad_images("raise"):
                next(iter(self._extractor.iter_maps([image]))) if self.front is None else self.front.transform([image])
        except Exception as error:  # whatever it is, it belongs to this image
            return " ".join(str(error).removeprefix("image 0, ").split())
        return "it could not be read before, and can now: judge it again"

    @contextmanager
    def _bad_images(self, policy):
        """Let the line's extractor do this with images that cannot be used, for the time being."""
        before = self._extractor.on_bad_image
        self._extractor.set_params(on_bad_image=policy)
        try:
            yield
        finally:
            self._extractor.set_params(on_bad_image=before)

    def _add_regions(self, judged, images):
        """Give anomalous images their regions, where there are maps, with p-values up to the rate."""
        rows = [row for row, judgement in judged.items() if judgement.label == "anomalous"]
        if not (rows and self.makes_maps and hasattr(self.detector.estimator_, "pixel_threshold_")):
            return
        try:
            table = self.detector.regions([images[row] for row in rows])
        except ImageError:  # a file that has gone since it was scored
            return
        for position, row in enumerate(rows):
            found = table[(table["image"] == position) & (table["p_value"] <= float(self.detector.fpr))]
            found = found.drop(columns="image").to_dict("records")
            regions = [
                {name: round(value, 4) if math.isfinite(value) else None for name, value in one.items()}
                for one in found
            ]
            judged[row] = judged[row]._replace(regions=regions)


def name_image(image, position):
    """Return what to call an image: its path, or its position."""
    item = split(image)[0]
    return os.fspath(item) if is_path(item) else f"image {position}"


def in_chunks(items, size):
    """Yield lists of up to so many items."""
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
