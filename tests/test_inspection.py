"""A distance is a sum over levels, cells and channels."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import OAS
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgad import (
    NPCA,
    CombinedDetector,
    FPRThresholdCV,
    FullConformalThreshold,
    LevelwiseTransformer,
    MahalanobisDetector,
    make_line,
)
from skgad.inspection import explain
from skgad.model_selection import LevelSelector

CELLS = ("g2r0c0", "g2r0c1", "g2r1c0", "g2r1c1")


def draw(n_samples=80, times=1, seed=0):
    rng = np.random.default_rng(seed)
    names = [
        f"level{level}__{cell}__{index:04d}" for level in (1, 2) for cell in CELLS for index in range(times * level)
    ]
    mixing = np.random.default_rng(9).normal(size=(len(names), len(names)))
    return pd.DataFrame(rng.normal(size=(n_samples, len(names))) @ mixing + 2, columns=names)


def is_frozen(detector):
    return isinstance(detector, FrozenEstimator)


DETECTORS = [
    *(MahalanobisDetector(kind) for kind in ("ledoit_wolf", "oas", "empirical", "diagonal", "identity")),
    MahalanobisDetector(OAS()),
    MahalanobisDetector(levels="joint"),
    MahalanobisDetector("diagonal", levels="joint"),
    make_pipeline(NPCA(0.3), MahalanobisDetector()),
    make_pipeline(LevelwiseTransformer(PCA(3)), MahalanobisDetector()),
    make_pipeline(LevelSelector([2]), NPCA(0.3), MahalanobisDetector()),
    FPRThresholdCV(make_pipeline(NPCA(0.3), MahalanobisDetector()), fpr=0.1),
    FullConformalThreshold(MahalanobisDetector(levels="joint"), fpr=0.1),
    FrozenEstimator(make_pipeline(NPCA(0.3), MahalanobisDetector())),
    make_pipeline(LevelwiseTransformer(PCA(3)).set_output(transform="default"), MahalanobisDetector()),
]


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("detector", DETECTORS)
def test_contributions_add_up_to_minus_the_score(detector, times):
    X, new = draw(times=times), draw(6, times, seed=1)
    if getattr(detector, "covariance", "") == "empirical" and times > 1:
        pytest.skip("an empirical covariance of fewer rows than features is singular")
    fitted = FrozenEstimator(detector.estimator.fit(X)) if is_frozen(detector) else detector.fit(X)
    plain = fitted.estimator_ if hasattr(fitted, "estimator_") else fitted
    for by in ("level", "cell", "channel"):
        parts = explain(fitted, new, by=by)
        sums = parts.groupby("image")[["contribution", "share"]].sum()
        np.testing.assert_allclose(sums["contribution"], -plain.score_samples(new), rtol=1e-8)
        np.testing.assert_allclose(sums["share"], 1.0)


@pytest.mark.parametrize("detector", [MahalanobisDetector(), MahalanobisDetector(levels="joint")])
@pytest.mark.parametrize("times", [1, 20])
def test_the_gradient_is_that_of_a_small_step(detector, times):
    X, new = draw(times=times), draw(1, times, seed=1)
    _, gradients = detector.fit(X).deviations_and_gradients(new)
    for column in (0, 5, 11):
        step = np.zeros(X.shape[1])
        step[column] = 1e-4
        rise = (detector.score_samples(new - step) - detector.score_samples(new + step))[0] / 2e-4
        assert gradients[0, column] == pytest.approx(rise, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    "detector", [MahalanobisDetector(levels="joint"), make_pipeline(NPCA(0.9), MahalanobisDetector())]
)
def test_a_deviation_in_one_cell_has_the_largest_share_there(detector):
    X = draw(400)
    detector.fit(X)
    odd = X[:1].copy()
    odd[[name for name in X if "level2__g2r1c0" in name]] += 60
    parts = explain(detector, odd)
    largest = parts.loc[parts["share"].idxmax()]
    assert (largest["level"], largest["cell"]) == ("level2", "g2r1c0")
    assert explain(detector, X[:1], by="channel")["channel"].tolist() == [name.rsplit("__")[-1] for name in X]


def test_names_are_those_of_the_fit_and_keep_apart_what_they_keep_apart():
    X = draw()
    detector = MahalanobisDetector().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's, of an array without names
        pd.testing.assert_frame_equal(explain(detector, X[:2].to_numpy()), explain(detector, X[:2]))
    names = ["left__level1__0000", "right__level1__0000", "left__level1__g2r0c1__0001"]
    parts = explain(
        MahalanobisDetector().fit(draw().iloc[:, :3].set_axis(names, axis=1)),
        draw(1).iloc[:, :3].set_axis(names, axis=1),
        by="channel",
    )
    assert parts[["level", "cell", "channel"]].to_numpy().tolist() == [
        ["left__level1", "", "0000"],
        ["right__level1", "", "0000"],
        ["left__level1", "g2r0c1", "0001"],
    ]
    names = ["left__0000", "right__0000"]
    parts = explain(
        MahalanobisDetector().fit(draw().iloc[:, :2].set_axis(names, axis=1)),
        draw(1).iloc[:, :2].set_axis(names, axis=1),
        by="channel",
    )
    assert parts["channel"].tolist() == names


def test_shares_keep_their_digits_over_a_small_floor():
    X, new = draw(40, times=20), draw(3, times=20, seed=1)
    X.iloc[:, 0] *= 1e5  # the floor is a tiny share of the largest variance
    detector = MahalanobisDetector("ledoit_wolf").fit(X)
    parts = explain(detector, new, by="channel")
    np.testing.assert_allclose(parts.groupby("image")["contribution"].sum(), -detector.score_samples(new), rtol=1e-9)


def test_the_most_similar_normal_image_is_the_nearest_in_the_detectors_metric():
    X, new = draw(40), draw(5, seed=1)
    detector = MahalanobisDetector().fit(X)
    found = explain(detector, new, by="level", normals=X)["most_similar"].to_numpy()[::2]
    expected = []
    for row in new.to_numpy():
        total = 0.0
        for level, covariance in zip(("level1", "level2"), detector.covariance_, strict=True):
            columns = [i for i, name in enumerate(X) if name.startswith(level)]
            steps = X.to_numpy()[:, columns] - row[columns]
            total = total + np.sqrt(np.einsum("ij,ji->i", steps, np.linalg.solve(covariance, steps.T)))
        expected.append(total.argmin())
    np.testing.assert_array_equal(found, expected)


def test_a_whole_line_is_explained_from_photographs(photographs):
    line = (
        make_line("tf_efficientnet_lite0", fpr=0.2)
        .set_params(extractor__image_size=64, extractor__levels=[5, 6])
        .fit(photographs)
    )
    parts = explain(line, photographs[:2], normals=photographs)
    assert set(parts["cell"]) == {"g1r0c0", *CELLS}
    assert parts["most_similar"].tolist() == [0] * 10 + [1] * 10
    plain = line[-1].estimator_.score_samples(line[0].transform(photographs[:2]))
    np.testing.assert_allclose(parts.groupby("image")["contribution"].sum(), -plain, rtol=1e-6)


def test_columns_without_levels_are_numbered():
    X = draw().to_numpy()
    parts = explain(MahalanobisDetector().fit(X), X[:1], by="channel")
    assert parts["level"].unique().tolist() == [""]
    assert parts["channel"].tolist() == list(range(X.shape[1]))


def test_an_image_at_the_mean_has_no_shares():
    X = draw()
    parts = explain(MahalanobisDetector(levels="joint").fit(X), pd.DataFrame([X.mean()]))
    assert np.isfinite(parts["share"]).all()


@pytest.mark.parametrize(
    "detector",
    [
        LocalOutlierFactor(novelty=True),
        make_pipeline(StandardScaler(), MahalanobisDetector()),
        CombinedDetector([("a", MahalanobisDetector()), ("b", MahalanobisDetector("oas"))]),
        make_pipeline(LevelwiseTransformer(PCA(2, whiten=True)), MahalanobisDetector()),
    ],
)
def test_what_cannot_be_explained_is_refused(detector):
    X = draw().to_numpy()
    with pytest.raises(ValueError, match=r"cannot be explained|is no projection"):
        explain(detector.fit(X), X)
    with pytest.raises(ValueError, match="by must be one of 'level', 'cell', 'channel'; got 'image'"):
        explain(MahalanobisDetector().fit(X), X, by="image")
