"""What a line is made of, if it can be learnt in parts: steps that learn nothing, NPCA, a Gaussian, a threshold."""

from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from .._calibration._closed_form import is_offered, learns_nothing
from .._calibration._out_of_fold import choose_cv, is_frozen
from .._calibration._threshold import FPRThreshold
from .._calibration._threshold_cv import FPRThresholdCV
from .._conventions._scores import check_has_scores
from .._detectors._mahalanobis import MahalanobisDetector
from .._detectors._npca import NPCA
from ..spatial._spatial_mahalanobis import SpatialMahalanobisDetector
from ..spatial._spatial_subspace import SpatialSubspaceDetector

_MAPS = (SpatialMahalanobisDetector, SpatialSubspaceDetector)
_CAN = (
    "On many machines, or in parts, a line is learnt of steps that learn nothing (an extractor), NPCA, a "
    "MahalanobisDetector or a SpatialMahalanobisDetector, and FPRThresholdCV or FPRThreshold around or behind it"
)


@dataclass
class Plan:
    """The steps of a line, each a clone that is to be fitted."""

    line: Any
    front: list  # of (name, step), which learn nothing; none for a detector of columns, or of images
    npca: Any
    detector: Any
    calibrator: Any  # FPRThresholdCV around the detector, or None
    chi: Any  # FPRThreshold behind it, or None
    cv: Any  # "loo", or folds; None without a calibrator

    @property
    def makes_maps(self):
        """Whether the detector takes images, and learns maps."""
        return isinstance(self.detector, _MAPS)

    @property
    def takes_images(self):
        """Whether it takes images, and not rows of a table."""
        return self.makes_maps or any(not get_tags(step).input_tags.two_d_array for _, step in self.front)

    def make_front(self):
        """Return the steps that learn nothing as one estimator, None for none."""
        steps = [(name, clone(step)) for name, step in self.front]
        return Pipeline(steps) if steps else None

    def install(self, fitted, front, calibrated=None):
        """Make the line what it is after a fit.

        Parameters
        ----------
        fitted : dict of int to estimator
            The fitted NPCA, detector and chi-square threshold, by the ``id`` of the step that each stands for.
        front : Pipeline or None
            Fitted.
        calibrated : callable, default=None
            From the fitted detector, or pipeline, that stands in the `calibrator`, to that, calibrated.
        """
        fronts = [] if front is None else [step for _, step in front.steps]
        fitted = {**fitted, **dict(zip([id(step) for _, step in self.front], fronts, strict=True))}
        if self.calibrator is not None:
            inner = self.calibrator.estimator
            if isinstance(inner, Pipeline):
                steps = [(name, _find(fitted, step)) for name, step in inner.steps]
                inner = Pipeline(steps, memory=inner.memory, verbose=inner.verbose)
            else:
                inner = fitted[id(inner)]
            fitted = {**fitted, id(self.calibrator): calibrated(inner)}
        for step in [step for _, step in self.line.steps] if isinstance(self.line, Pipeline) else [self.line]:
            if id(step) in fitted:
                state = {**vars(fitted[id(step)]), **step.get_params(deep=False)}
                vars(step).clear()
                vars(step).update(state)
        return self.line


def read_plan(line):
    """Return the `Plan` of a line.

    Raises
    ------
    TypeError
        If it is no outlier detector, nor ends in one.
    ValueError
        If a step of it cannot be learnt in parts; says which, and what helps.
    """
    check_has_scores("line", line)
    steps = _list_steps(line)
    calibrator = chi = None
    *steps, (_, last) = steps
    if isinstance(last, FPRThresholdCV):
        calibrator = last
        if is_frozen(last.estimator):
            raise ValueError(
                "The detector of FPRThresholdCV is frozen: it is fitted, and score_samples gives the scores of the "
                "calibration images on many machines."
            )
        *more, (_, last) = _list_steps(last.estimator)
        steps += more
    elif isinstance(last, FPRThreshold) and steps:
        chi = last
        *steps, (_, last) = steps
    detector, npca = last, None
    if not isinstance(detector, (MahalanobisDetector, *_MAPS)):
        _refuse(detector)
    if steps and isinstance(steps[-1][1], NPCA):
        *steps, (_, npca) = steps
    for _, step in steps:
        if not (learns_nothing(step) or isinstance(step, FrozenEstimator)):
            _refuse(step)
    if isinstance(detector, _MAPS) and (steps or npca is not None):
        raise ValueError(f"{type(detector).__name__} takes images, and no step can stand in front of it here.")
    if isinstance(detector, MahalanobisDetector) and not isinstance(detector.covariance, str):
        raise ValueError(f"covariance={detector.covariance!r} keeps no moments that could be merged: name a kind.")
    if npca is not None and detector.levels == "joint":
        raise ValueError("NPCA in front of levels='joint' costs detections, and is not learnt in parts: leave it out.")
    if npca is not None and npca.rule == "published":
        raise ValueError('NPCA(rule="published") keeps directions without variance, which moments do not tell.')
    return Plan(line, steps, npca, detector, calibrator, chi, _read_cv(calibrator, npca, detector))


def _list_steps(line):
    if not isinstance(line, Pipeline):
        return [("", line)]
    return [(name, step) for name, step in line.steps if step not in (None, "passthrough")]


def _read_cv(calibrator, npca, detector):
    """Return how images are left out: "loo", or what makes folds."""
    if calibrator is None:
        return None
    cv = choose_cv(calibrator.cv, calibrator.estimator, grouped=False)
    if cv == "loo" and not is_offered(calibrator.estimator):
        raise ValueError(
            f"cv='loo' around {type(detector).__name__} takes refits of all images but one: use folds, cv=None."
        )
    if cv != "loo" and npca is not None:
        raise ValueError(
            f"cv={cv!r} behind NPCA takes a fit a fold. Leave cv at None, which leaves out one image at a time by "
            "moments; or fit on one machine."
        )
    return cv


def _refuse(step):
    name, remedy = type(step).__name__, "fit it on one machine"
    if type(step).__module__.startswith("skgad.deep.training"):
        remedy = "it trains a network in many epochs: fit it on one machine, and put FrozenEstimator(tuner) in front"
    raise ValueError(f"{name} learns from all images at once, so that its parts do not add up: {remedy}. {_CAN}.")


def _find(fitted, step):
    return fitted.get(id(step), step)
