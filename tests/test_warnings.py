"""Where a warning points to: the user's line."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skgad import FPRThreshold, MahalanobisDetector
from skgad._conventions._labels import normal_rows
from skgad._conventions._warnings import warn
from skgad.exceptions import WorkingPointWarning


def lines_of(call, *args, **kwargs):
    """Return the files and lines that the warnings of a call point to, as Python's default filter shows them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        call(*args, **kwargs)
    return {(one.filename, one.lineno) for one in caught}


@pytest.mark.parametrize(
    "call",
    [
        lambda: normal_rows([0, 1], 2),
        lambda: MahalanobisDetector().fit(np.eye(3), [0, 1, 1]),
        lambda: make_pipeline(MahalanobisDetector()).fit(np.eye(3), [0, 1, 1]),
        lambda: cross_val_score(MahalanobisDetector(), np.eye(6), [0, 1] * 3, cv=2, scoring=lambda *args: 0.0),
        lambda: joblib.Parallel()([joblib.delayed(normal_rows)([0, 1], 2)]),
    ],
    ids=["call", "fit", "pipeline", "search", "joblib"],
)
def test_a_warning_points_at_the_line_outside_of_the_package(call):
    assert lines_of(call) == {(__file__, call.__code__.co_firstlineno)}


def test_each_line_that_deserves_a_warning_gets_one():
    def fit_twice():
        make_pipeline(FPRThreshold(dof=9)).fit(np.ones((10, 1)))
        make_pipeline(FPRThreshold(dof=9)).fit(np.ones((10, 1)))

    assert len(lines_of(fit_twice)) == 2


def test_where_all_lines_are_inside_it_points_at_the_outermost():
    code = compile("from skgad._conventions._warnings import warn; warn('x', UserWarning)", "<other>", "exec")
    assert {name for name, _ in lines_of(exec, code, {})} == {"<other>"}


def test_the_category_is_kept():
    with pytest.warns(WorkingPointWarning, match="text"):
        warn("text", WorkingPointWarning)
