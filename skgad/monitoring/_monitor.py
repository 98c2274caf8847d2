"""A line after its fit, watched: whether it still sees what it was calibrated on, and what moved if not."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._calibration._closed_form import learning_part, to_rows
from .._calibration._threshold_cv import FPRThresholdCV
from .._conventions._atomic import write_atomically
from .._conventions._levels import level_number, name_cell, name_part
from .._conventions._scores import read_scores
from .._images._sequence import check_images, fetch
from ._alterations import alter, find_names
from ._drift import FeatureDrift
from ._martingale import ConformalTestMartingale

_SURE = 0.01  # of the p-values of all blocks together: what moved at all
_ALIKE = 0.15  # cosine: with less, a shift is like no alteration
_ALMOST = 0.8  # of the largest cosine: with more, the second is told as well
_MOST_IMAGES = 8  # that are altered


class LineMonitor:
    """Watch a fitted line: an alarm that may be trusted when photographs change, and in plain words what moved.

    Nothing is learnt from what it observes: the line stays as it is. Once images have entered the line by ``update``,
    or it was fitted anew, make a new monitor.

    Parameters
    ----------
    line : FPRThresholdCV, or a pipeline that ends in one
        Fitted, as `make_line` makes it.
    alpha, run_length, defect_share, random_state
        As in `ConformalTestMartingale`.
    normal : its input, of length n_samples, default=None
        Normal images, which new ones are told against. None for those that the line has learnt, where it has kept
        their features: with a `MahalanobisDetector` that is left out in closed form, as that of `make_line`.

    Attributes
    ----------
    martingale_ : ConformalTestMartingale
        What raises the alarm, on the scores.
    drift_ : FeatureDrift or None
        What moved, of the features; None where the line makes no table of features (with maps), or keeps none.
    alarm_at_ : int or None
        The number of the image, from 0, at which the alarm was raised; None as long as there is none.
    change_at_ : int or None
        The number of the image at which the change most likely began.
    n_seen_ : int
        New images so far.

    Raises
    ------
    TypeError
        If the line does not end in an `FPRThresholdCV`.
    ValueError
        If a parameter is out of range, or the line was calibrated with groups: photographs of one part are not
        exchangeable with each other.

    See Also
    --------
    ConformalTestMartingale, FeatureDrift : Its parts, and what holds.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import FPRThresholdCV, MahalanobisDetector
    >>> from skgad.monitoring import LineMonitor
    >>> rng = np.random.default_rng(0)
    >>> line = FPRThresholdCV(MahalanobisDetector(), fpr=0.05).fit(rng.normal(size=(300, 5)))
    >>> monitor = LineMonitor(line, random_state=0).observe(rng.normal(size=(500, 5)))
    >>> print(monitor.describe())
    500 images, no alarm. They are still like those of the calibration.
    >>> print(monitor.observe(rng.normal(size=(200, 5)) + 1).describe())
    Alarm at image 525 of 700: since about image 500 they are not like those of the calibration. The mean of all \
features has moved by 2.41 of its standard deviations, 12 times as far as by chance.
    """

    def __init__(self, line, *, alpha=0.01, run_length=None, defect_share=0.02, random_state=None, normal=None):
        self.detector, self._front = _split(line)
        point: Any = self.detector._point
        if point.numbers is not None:
            raise ValueError(
                "This line was calibrated with groups: photographs of one part are not exchangeable with "
                "each other, so no rank among them means anything. Calibrate it on one photograph of each part."
            )
        self.alpha, self.run_length, self.defect_share = alpha, run_length, defect_share
        martingale = ConformalTestMartingale(
            alpha=alpha, run_length=run_length, defect_share=defect_share, random_state=random_state
        )
        self.martingale_ = martingale.fit(
            self.detector.out_of_fold_scores_, categories=self.detector._labels.categories
        )
        learnt = self.detector.learnt_rows()
        self._kept = learnt is not None
        rows = learnt if normal is None else self._to_rows(self._to_features(normal))
        self.drift_ = None if rows is None else FeatureDrift().fit(rows)

    def observe(self, X, *, categories=None):
        """Take new images, in the order in which they came.

        Parameters
        ----------
        X : whatever the line takes, of length n_samples
            Images that are known to be defective may be left out.
        categories : array-like of shape (n_samples,), default=None
            What each image shows, where the line was fitted with categories.

        Returns
        -------
        self
        """
        features = self._to_features(X)
        if self.drift_ is None or not self._kept:
            return self.observe_features(features, self.detector.score_samples(features), categories=categories)
        rows = to_rows(self.detector.estimator_, features)
        return self._observe(rows, read_scores(learning_part(self.detector.estimator_), rows), categories)

    def observe_features(self, features, scores, *, categories=None):
        """Take new images whose features and scores are there: photographs go through a network once.

        Parameters
        ----------
        features : array-like or frame of shape (n_samples, n_features), or None
            What the `FPRThresholdCV` takes. None where they are lost: then only the scores count. Not used where
            ``drift_`` is None.
        scores : array-like of shape (n_samples,)
            What its ``score_samples`` gave.
        categories : array-like of shape (n_samples,), default=None
            As in `observe`.

        Returns
        -------
        self
        """
        return self._observe(
            None if self.drift_ is None or features is None else self._to_rows(features), scores, categories
        )

    def _observe(self, rows, scores, categories):
        drift = self.drift_
        before = {} if drift is None else vars(drift).copy()
        if drift is not None:
            drift.skip(len(scores)) if rows is None else drift.observe(rows)
        try:
            self.martingale_.observe(scores, categories=categories)
        except BaseException:
            if drift is not None:
                vars(drift).update(before)
            raise
        return self

    @property
    def alarm_at_(self):
        return self.martingale_.alarm_at_

    @property
    def change_at_(self):
        return self.martingale_.change_at_

    @property
    def n_seen_(self):
        return self.martingale_.n_seen_

    @property
    def identity(self):
        """What tells the calibration of this line, and what is asked of the monitor, from others: a text."""
        scores = np.ascontiguousarray(self.detector.out_of_fold_scores_, dtype=np.float64)
        asked = f"{self.alpha} {self.run_length} {self.defect_share}".encode()
        return hashlib.sha256(scores.tobytes() + asked).hexdigest()

    def what_moved(self, since=None):
        """Return for each level and place how far the mean of the recent images lies from the normal ones.

        Parameters
        ----------
        since : int, default=None
            The number of the image from which on they count; None for ``change_at_`` once there is an alarm, and for
            all of them before.

        Returns
        -------
        DataFrame
            As `FeatureDrift.table` gives it, what moved most, in units of chance, first.

        Raises
        ------
        ValueError
            If there are no features to tell it by, or nothing was observed.
        """
        table = self._find_drift().table(self._since(since))
        order = np.argsort(-(table["shift"] / table["chance"]).to_numpy(), kind="stable")
        return table.iloc[order].reset_index(drop=True)

    def compare_alterations(self, images, since=None):
        """Return what the shift of the recent images looks like: more light, less focus, another place, and so on.

        Some of the images are altered in each of these ways, and go through the network again; the mean of what that
        does to the features is held against the shift.

        Parameters
        ----------
        images : sequence of images
            The latest ones, or others of the line. Eight of them are altered.
        since : int, default=None
            As in `what_moved`.

        Returns
        -------
        DataFrame
            ``alteration``, and ``cosine``, in [-1, 1], in the metric of the Gaussians; the most alike first.

        Raises
        ------
        ValueError
            As `what_moved`; or if the line takes features, not images.
        """
        drift = self._find_drift()
        if self._front is None and not isinstance(self.detector.estimator_, Pipeline):
            raise ValueError("This line takes features, not images: there is nothing to alter.")
        images = check_images(images)
        chosen = np.unique(np.linspace(0, len(images) - 1, _MOST_IMAGES).round().astype(int))
        items = [fetch(images, at) for at in chosen]
        plain = self._mean_features(items)
        names = find_names(items[0], 0)
        rows = [self._mean_features([alter(item, at, name) for at, item in enumerate(items)]) - plain for name in names]
        cosines = drift.similarity(pd.concat(rows, ignore_index=True), self._since(since))
        table = pd.DataFrame({"alteration": names, "cosine": cosines})
        return table.sort_values("cosine", ascending=False, kind="stable", ignore_index=True)

    def describe(self, images=None):
        """Return in plain words whether, since when and what has moved.

        Parameters
        ----------
        images : sequence of images, default=None
            The latest ones: then also what it looks like, as `compare_alterations` tells.

        Returns
        -------
        str
        """
        if self.alarm_at_ is None:
            return f"{self.n_seen_} images, no alarm. They are still like those of the calibration."
        words = [
            f"Alarm at image {self.alarm_at_} of {self.n_seen_}: since about image {self.change_at_} they are not like "
            "those of the calibration."
        ]
        if self.drift_ is not None:
            words.append(describe_shift(self.what_moved()))
        if images is not None and self.drift_ is not None:
            words.append(describe_alterations(self.compare_alterations(images)))
        return " ".join(words)

    def save_state(self, path):
        """Write what was observed to a file, to go on with later: numbers only, so that it is safe to open.

        Parameters
        ----------
        path : path
            The file is replaced if it is there, and is whole or not there.
        """
        arrays = {f"martingale.{name}": value for name, value in self.martingale_.get_state().items()}
        if self.drift_ is not None:
            arrays |= {f"drift.{name}": value for name, value in self.drift_.get_state().items()}
        arrays["line"] = np.array([self.identity])
        write_atomically(Path(path), lambda file: np.savez_compressed(file, **arrays))

    def load_state(self, path):
        """Go on from a file of `save_state`, of the same line.

        Parameters
        ----------
        path : path

        Returns
        -------
        self

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is of another line, or of one with other parameters, or no such file. Nothing is changed then.
        """
        content = io.BytesIO(Path(path).read_bytes())
        try:
            with np.load(content, allow_pickle=False) as archive:
                arrays = dict(archive)
            own = arrays["line"].tolist() == [self.identity]
        except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{path} is damaged, or no state of a LineMonitor ({error}).") from error
        if not own:
            raise ValueError(
                f"{path} is the state of another line, or of this one before an update, or with other parameters: "
                "begin anew, with another file."
            )
        parts = [part for part in (self.martingale_, self.drift_) if part is not None]
        before = [vars(part).copy() for part in parts]
        try:
            for part, name in zip(parts, ("martingale.", "drift."), strict=False):
                own_arrays = {key.removeprefix(name): value for key, value in arrays.items() if key.startswith(name)}
                part.set_state(own_arrays)
        except (KeyError, ValueError) as error:
            for part, state in zip(parts, before, strict=True):
                vars(part).update(state)
            raise ValueError(f"{path} is no whole state of a LineMonitor ({error}).") from error
        return self

    def _find_drift(self):
        if self.drift_ is None:
            raise ValueError(
                "This line keeps no features of its normal images, or makes none (with maps): give normal images as "
                "normal=, to a line that makes features."
            )
        return self.drift_

    def _since(self, since):
        if since is not None:
            return since
        return 0 if self.alarm_at_ is None else self.change_at_

    def _to_features(self, X):
        return X if self._front is None else self._front.transform(X)

    def _to_rows(self, features):
        """Return the features that what learns in the detector has learnt from."""
        return to_rows(self.detector.estimator_, features) if self._kept else features

    def _mean_features(self, images):
        rows = self._to_rows(self._to_features(images))
        return pd.DataFrame(np.asarray(rows).mean(axis=0)[np.newaxis], columns=getattr(rows, "columns", None))


def describe_shift(table):
    """Return in plain words what `LineMonitor.what_moved` says."""
    moved = table[table["p_value"] * len(table) <= _SURE]
    if not len(moved):
        return "No mean of a level has moved: single images are odd, or the change is one of spread."
    first = moved.iloc[0]
    what = name_part(first["level"], first["cell"])
    words = (
        f"The mean of {what} has moved by {first['shift']:.2f} of its standard deviations, "
        f"{first['shift'] / first['chance']:.0f} times as far as by chance"
    )
    if len(table) == 1:
        return f"{words}."
    by_level = {level: set(part["cell"]) for level, part in table.groupby("level", sort=False)}
    places = set(table["cell"])
    found = {level: set(part["cell"]) for level, part in moved.groupby("level", sort=False)}
    levels = sorted(found, key=level_number)
    where = "all levels" if len(levels) == len(by_level) else _list_levels(levels)
    if len(places) > 1:
        if all(found[level] == by_level[level] for level in levels):
            where += ", everywhere"
        elif len(set(moved["cell"])) == 1:
            where += f", {name_cell(first['cell'])} only"
        else:
            where += f", in {len(moved)} of {len(table)} places"
    return f"{words}; what moved beyond chance: {where}."


def _list_levels(levels):
    """Return "levels 1, 2 and 5"."""
    numbers = [level.removeprefix("level") for level in levels]
    listed = ", ".join(numbers[:-1]) + f" and {numbers[-1]}" if len(numbers) > 1 else numbers[0]
    return f"level{'s' if len(numbers) > 1 else ''} {listed}"


def describe_alterations(table):
    """Return in plain words what `LineMonitor.compare_alterations` says."""
    first, second = table.iloc[0], table.iloc[1]
    nearest = f"{first['alteration']}, cosine {first['cosine']:.2f}"
    if first["cosine"] < _ALIKE:
        return f"It is like none of the known alterations (the nearest: {nearest})."
    if second["cosine"] > _ALMOST * first["cosine"]:
        nearest += f"; or {second['alteration']}, {second['cosine']:.2f}"
    return f"Its direction is that of: {nearest}."


def _split(line):
    """Return the fitted detector, and the steps in front of it, None without."""
    front = line[:-1] if isinstance(line, Pipeline) and len(line) > 1 else None
    detector = line[-1] if isinstance(line, Pipeline) else line
    if not isinstance(detector, FPRThresholdCV):
        raise TypeError(
            f"A line to be watched ends in FPRThresholdCV, whose calibration it is held against; got {detector!r}."
        )
    check_is_fitted(detector)
    return detector, front
