import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, cross_val_predict, cross_validate

from skgad import MahalanobisDetector, as_labels
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
        [0.5, np.nan],
        [[2, 3], [4, 5]],
        [[1, -1], [2, 3]],
        [None, None, None],
    ],
)
def test_other_y_is_ignored(y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normal_rows(y, 3) is None


@pytest.mark.parametrize("stray", [0, 2, 0.5, np.nan, None, pd.NA, "?", Fraction(1, 2)])
@pytest.mark.parametrize("make", [list, lambda y: np.array(y, object), lambda y: pd.Series(y, dtype=object)])
def test_a_row_without_a_label_among_labels_is_refused_by_number(stray, make):
    with pytest.raises(ValueError, match=r"in row 2 \(1 such rows\).*must be left out"):
        normal_rows(make([1, -1, stray, 1]), 4)


@pytest.mark.parametrize(
    "y",
    [
        np.array([1, 1, np.nan]),
        pd.Series([1, 1, None], dtype="Int64"),
        [1, 1, None],
        pd.Series([1, 1, None], dtype="float"),
        [[1], [1], [np.nan]],
        np.array([1, -1, True], object),
    ],
)
def test_normal_rows_beside_missing_labels_are_refused(y):
    with pytest.raises(ValueError, match=r"in row 2.*must be left out"):
        normal_rows(y, 3)


@pytest.mark.parametrize("y", [[-1, 0, 0], [-1, 0], np.array([-1, 0], np.int8)])
def test_minus_one_means_labels_whatever_stands_beside_it(y):
    with pytest.raises(ValueError, match="0 in row 1"):
        normal_rows(y, len(y))


@pytest.mark.parametrize(
    "y",
    [
        np.array([b"1", b"-1"]),
        np.array([b"1", b"-1"], object),
        b"1",
        np.array([1, -1], complex),
        np.array([1, -1], np.complex64),
        np.array([1 + 0j, -1], object),
        {1, -1},
        {0: 1, 1: -1},
        (sign for sign in (1, -1)),
        iter([1, -1]),
        1,
        "good",
        np.ma.masked_array([1, -1], [False, True]),
    ],
    ids=lambda y: type(y).__name__,
)
def test_what_could_never_be_labels_is_refused(y):
    for read in (lambda: normal_rows(y, 2), lambda: as_labels(y), lambda: check_labels(y)):
        with pytest.raises(ValueError, match=r"no array of one label|not supported|masked array"):
            read()


@pytest.mark.parametrize("kind", [np.int8, np.float16, np.float32, np.longdouble])
def test_labels_may_be_any_numbers(kind):
    np.testing.assert_array_equal(normal_rows(np.array([1, -1, 1], kind), 3), [0, 2])


def test_labels_may_be_exact_numbers():
    np.testing.assert_array_equal(normal_rows([Decimal(1), Fraction(-1), True + 0], 3), [0, 2])


def test_the_warning_knows_what_scikit_learn_makes_of_labels():
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.resize([1, 1, -1], 30)
    with pytest.warns(LabelConventionWarning, match="return_estimator=True"), pytest.raises(AttributeError):
        cross_val_predict(MahalanobisDetector(), X, y, method="decision_function")
    found = cross_validate(
        MahalanobisDetector(), X, y, cv=KFold(3), scoring="roc_auc", return_estimator=True, return_indices=True
    )
    scores = np.empty(30)
    for detector, test in zip(found["estimator"], found["indices"]["test"], strict=True):
        scores[test] = detector.score_samples(X[test])
    for train, test in KFold(3).split(X):
        normal = train[y[train] == 1]
        np.testing.assert_allclose(scores[test], MahalanobisDetector().fit(X[normal]).score_samples(X[test]))


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
    np.testing.assert_array_equal(as_labels([1, 1], anomaly=1), [-1, -1])
    np.testing.assert_array_equal(as_labels([1, 1], anomaly=-1), [1, 1])


def test_by_default_one_is_the_anomaly_of_zero_and_one():
    for y in ([0, 1, 0], np.array([0, 1, 0], np.uint8), [False, True, False]):
        np.testing.assert_array_equal(as_labels(y), [1, -1, 1])
    np.testing.assert_array_equal(as_labels([0, 0]), [1, 1])
    assert as_labels([]).shape == (0,)


@pytest.mark.parametrize("y", [[1, 1, 1], [-1, -1], [2, 3], ["good", 1], [0, 1, 2]])
def test_labels_of_an_unknown_convention_need_the_anomalous_values(y):
    with pytest.raises(ValueError, match="anomaly is not given"):
        as_labels(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[0, 1]], "one-dimensional"),
        ([0.0, np.nan], "missing"),
        ([1, None], "missing value in row 1"),
        (pd.Series([1, None], dtype="Int64"), "missing value in row 1"),
        (["0", "1"], "none could ever be equal"),
        ([1, -1, 1], "as it is"),
    ],
)
def test_as_labels_refuses(y, message):
    with pytest.raises(ValueError, match=message):
        as_labels(y)


def test_check_labels_names_the_row():
    with pytest.raises(ValueError, match="row 2 holds 0"):
        check_labels([1, -1, 0])


@pytest.mark.parametrize("y", [[0, 1], [True, False], [[1], [-1]], ["1", "-1"], [1.0, np.nan], [1, 2], [1, None]])
def test_check_labels_refuses_everything_but_plus_and_minus_one(y):
    with pytest.raises(ValueError, match="Labels must be"):
        check_labels(y)


def test_check_labels_returns_ints():
    assert check_labels([1.0, -1.0]).dtype.kind == "i"
