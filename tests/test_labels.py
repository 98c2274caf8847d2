import warnings

import numpy as np
import pandas as pd
import pytest

from skgad import as_labels
from skgad._conventions._labels import check_labels, normal_rows
from skgad.exceptions import LabelConventionWarning


@pytest.mark.parametrize(
    "make", [list, np.array, pd.Series, lambda y: np.array(y, float), lambda y: np.array(y, object)]
)
def test_rows_at_minus_one_are_left_out(make):
    np.testing.assert_array_equal(normal_rows(make([1, -1, 1]), 3), [0, 2])


def test_a_column_of_labels_counts_as_labels():
    np.testing.assert_array_equal(normal_rows([[1], [-1]], 2), [0])


@pytest.mark.parametrize(
    "y",
    [
        None,
        [0.1, 2.0],
        [1, 2, 3],
        [-1, 0, 1],
        [np.nan, 1.0],
        [[2, 3], [4, 5]],
        np.array([True, -1, 1], object),
    ],
)
def test_other_y_is_ignored(y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normal_rows(y, 3) is None


@pytest.mark.parametrize("y", [[True, False], np.array([True, True], dtype=object), pd.Series([False, True])])
def test_boolean_y_is_refused(y):
    with pytest.raises(ValueError, match="as_labels"):
        normal_rows(y, 2)


@pytest.mark.parametrize("y", [[0, 1], [0, 0], [0.0, 1.0]])
def test_zero_one_y_warns_and_is_ignored(y):
    with pytest.warns(LabelConventionWarning, match="worst model"):
        assert normal_rows(y, 2) is None


@pytest.mark.parametrize("y", [["good", "bad"], np.array(["1", "-1"], object), pd.Series(["good", "good"])])
def test_text_warns_and_is_ignored(y):
    with pytest.warns(LabelConventionWarning, match="holds text"):
        assert normal_rows(y, 2) is None


def test_y_without_normals_is_refused():
    with pytest.raises(ValueError, match="labelled \\+1"):
        normal_rows([-1, -1], 2)


@pytest.mark.parametrize("y", [[1, -1], [[1, -1], [1, 1]]])
def test_labels_of_another_shape_are_refused(y):
    with pytest.raises(ValueError, match="X has 3 samples"):
        normal_rows(y, 3)


def test_as_labels_marks_the_anomalies():
    np.testing.assert_array_equal(as_labels([True, False], anomaly=True), [-1, 1])
    for anomaly in (["crack", "hole"], {"crack", "hole"}, np.array(["crack", "hole"])):
        np.testing.assert_array_equal(as_labels(["good", "crack", "hole"], anomaly=anomaly), [1, -1, -1])
    np.testing.assert_array_equal(as_labels([1, -1], anomaly=-1), [1, -1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[0, 1]], "one-dimensional"),
        ([0.0, np.nan], "missing"),
        ([1, None], "missing"),
        (["0", "1"], "none could ever be equal"),
        ([1, -1, 1], "as it is"),
    ],
)
def test_as_labels_refuses(y, message):
    with pytest.raises(ValueError, match=message):
        as_labels(y)


@pytest.mark.parametrize("y", [[0, 1], [True, False], [[1], [-1]], ["1", "-1"], [1.0, np.nan], [1, 2]])
def test_check_labels_refuses_everything_but_plus_and_minus_one(y):
    with pytest.raises(ValueError, match="Labels must be"):
        check_labels(y)


def test_check_labels_returns_ints():
    assert check_labels([1.0, -1.0]).dtype.kind == "i"
