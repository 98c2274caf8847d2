import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.covariance import LedoitWolf

from skgad import NPCA, CellwiseDetector, FPRThresholdCV, MahalanobisDetector
from skgad._conventions._levels import group_by_cell

NAMES = [
    f"level{level}__g2r{row}c{column}__{index:04d}"
    for level, size in ((1, 3), (2, 5))
    for row in (0, 1)
    for column in (0, 1)
    for index in range(size)
]


def draw(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_samples, len(NAMES))) @ np.random.default_rng(9).normal(size=(len(NAMES), len(NAMES)))
    return pd.DataFrame(values, columns=NAMES)


def of_cell(X, cell):
    return X.filter(like=f"__{cell}__")


@pytest.mark.parametrize(
    "detector", [None, MahalanobisDetector("oas"), MahalanobisDetector("diagonal", levels="joint")]
)
def test_the_score_is_that_of_the_cell_that_deviates_most_from_what_is_usual_there(detector):
    X, new = draw(), draw(9, seed=1)
    standardised = []
    for cell in ("g2r0c0", "g2r0c1", "g2r1c0", "g2r1c1"):
        one = clone(detector or MahalanobisDetector(levels="joint"))
        part = of_cell(X, cell)
        left_out = [-clone(one).fit(part.drop(index=i)).score_samples(part.loc[[i]])[0] for i in part.index]
        distances = -one.fit(part).score_samples(of_cell(new, cell))
        standardised.append((distances - np.mean(left_out)) / np.std(left_out))
    scores = CellwiseDetector(detector).fit(X).score_samples(new)
    np.testing.assert_allclose(scores, -np.max(standardised, axis=0), rtol=1e-7)


def test_a_deviation_in_any_one_cell_is_found():
    X = draw(200)
    detector = CellwiseDetector().fit(X)
    for cell in detector.cells_:
        damaged = X.iloc[:1].copy()
        damaged[of_cell(X, cell).columns] += 40 * np.resize([1, -1], 8)
        assert detector.predict(damaged)[0] == -1
        assert detector.score_samples(damaged)[0] < detector.score_samples(X.iloc[:1])[0]


def test_its_threshold_comes_from_the_training_row_that_deviates_most():
    X = draw(100)
    assert (CellwiseDetector().fit(X).predict(draw(2000, seed=1)) == -1).mean() < 0.04


def test_a_working_point_is_found_behind_folds():
    X, new = draw(300), draw(2000, seed=1)
    detector = FPRThresholdCV(CellwiseDetector(), fpr=0.1).fit(X)
    assert (detector.predict(new) == -1).mean() == pytest.approx(0.1, abs=0.06)


def test_columns_without_cells_and_other_detectors_are_refused():
    X = draw()
    for columns in (X.to_numpy(), X.rename(columns=lambda name: name.replace("__g2", "__h2"))):
        with pytest.raises(ValueError, match=r"takes columns such as 'level7__g3r0c2__0013'"):
            CellwiseDetector().fit(columns)
    with pytest.raises(ValueError, match="Some columns carry a cell and some do not: 'level1__0000' lack"):
        CellwiseDetector().fit(X.rename(columns={NAMES[0]: "level1__0000"}))
    for detector in (NPCA(), MahalanobisDetector(LedoitWolf())):
        with pytest.raises(ValueError, match="detector must be a MahalanobisDetector"):
            CellwiseDetector(detector).fit(X)
    with pytest.raises(ValueError, match=r"at least 3 normal rows.*got n_samples = 2"):
        CellwiseDetector().fit(X[:2])


def test_rows_at_minus_one_are_left_out():
    X = draw()
    y = np.where(np.arange(60) < 50, 1, -1)
    expected = CellwiseDetector().fit(X[:50]).score_samples(X)
    np.testing.assert_array_equal(CellwiseDetector().fit(X, y).score_samples(X), expected)


def test_cells_are_read_from_the_names_of_columns():
    groups = group_by_cell(["level7__g2r0c1__0000", "left__level7__g1r0c0__0000", "level8__g2r0c1__0000"])
    assert {cell: list(columns) for cell, columns in groups.items()} == {"g2r0c1": [0, 2], "g1r0c0": [1]}
    assert group_by_cell(None) == group_by_cell(["level7__0000"]) == {}
