"""Leave-one-out without refits, of whole pipelines: by brute force, and as what FPRThresholdCV does by default."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, LevelwiseTransformer, MahalanobisDetector
from skgad._calibration._closed_form import is_offered
from skgad.model_selection import LevelSelector


def draw(n, seed=0):
    """Two levels of eight and twelve features, in float64."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, 21) ** -1.5
    values = rng.standard_t(5, size=(n, 20)) @ rng.normal(size=(20, 20)) * spread + rng.normal(size=20)
    names = [f"level{1 + (index >= 8)}__{index:02d}" for index in range(20)]
    return pd.DataFrame(values, columns=names)


PIPELINES = [
    MahalanobisDetector(),
    MahalanobisDetector("oas"),
    make_pipeline(MahalanobisDetector()),
    make_pipeline(LevelSelector([2]), MahalanobisDetector()),
    make_pipeline(NPCA(0.01), MahalanobisDetector()),
    make_pipeline(NPCA(0.3), MahalanobisDetector("oas")),
    make_pipeline(NPCA(3), MahalanobisDetector()),
    make_pipeline(NPCA(1.0), MahalanobisDetector()),
    make_pipeline(LevelSelector([1, 2]), NPCA(0.1), MahalanobisDetector()),
    make_pipeline(LevelwiseTransformer(PCA(0.95)), MahalanobisDetector()),
    make_pipeline(LevelwiseTransformer(PCA(4)), MahalanobisDetector("empirical")),
]
OTHERS = [
    MahalanobisDetector(LedoitWolf()),
    LocalOutlierFactor(novelty=True),
    make_pipeline(StandardScaler(), MahalanobisDetector()),
    make_pipeline(NPCA(0.1, rule="published"), MahalanobisDetector()),
    make_pipeline(LevelwiseTransformer(PCA(0.9, whiten=True)), MahalanobisDetector()),
    make_pipeline(LevelwiseTransformer(StandardScaler()), MahalanobisDetector()),
    make_pipeline(NPCA(0.5), NPCA(0.5), MahalanobisDetector()),
    make_pipeline(NPCA(0.1), LocalOutlierFactor(novelty=True)),
]


@pytest.mark.parametrize("detector", PIPELINES, ids=str)
@pytest.mark.parametrize("n", [80, 24, 10])
def test_the_default_scores_each_image_as_a_refit_without_it(detector, n):
    X = draw(n)
    if n == 10 and "PCA(n_components=4)" in str(detector):
        X = draw(16)
    found = FPRThresholdCV(detector, fpr=0.2).fit(X)
    expected = [clone(detector).fit(X.drop(row)).score_samples(X.loc[[row]])[0] for row in X.index]
    np.testing.assert_allclose(found.out_of_fold_scores_, expected, rtol=1e-7)
    np.testing.assert_allclose(found.score_samples(X), clone(detector).fit(X).score_samples(X), rtol=1e-12)
    np.testing.assert_allclose(FPRThresholdCV(detector, fpr=0.2, cv="loo").fit(X).offset_, found.offset_, rtol=1e-12)


@pytest.mark.parametrize("detector", OTHERS, ids=str)
def test_others_have_twenty_folds_by_default_and_leave_one_out_by_refits(detector):
    X = draw(45)
    assert not is_offered(detector)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = FPRThresholdCV(detector, fpr=0.2).fit(X).out_of_fold_scores_
        np.testing.assert_array_equal(scores, FPRThresholdCV(detector, fpr=0.2, cv=20).fit(X).out_of_fold_scores_)
        left_out = FPRThresholdCV(detector, fpr=0.2, cv="loo").fit(X).out_of_fold_scores_
        expected = clone(detector).fit(X.drop(3)).score_samples(X.loc[[3]])[0]
    assert left_out[3] == pytest.approx(expected)


def test_with_groups_the_default_is_twenty_folds_of_whole_groups():
    X, groups = draw(60), np.repeat(np.arange(30), 2)
    found = FPRThresholdCV(MahalanobisDetector(), fpr=0.2).fit(X, groups=groups)
    expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=20).fit(X, groups=groups)
    np.testing.assert_array_equal(found.out_of_fold_scores_, expected.out_of_fold_scores_)


def test_a_row_that_leaves_no_digits_to_the_others_is_refitted():
    X = draw(40)
    X.loc[7] *= 1e4
    detector = make_pipeline(NPCA(0.1), MahalanobisDetector())
    assert np.isnan(detector[-1].score_left_out_behind(X, 0.1)[7])
    found = FPRThresholdCV(detector, fpr=0.2).fit(X).out_of_fold_scores_
    for row in (7, 8):
        expected = clone(detector).fit(X.drop(row)).score_samples(X.loc[[row]])[0]
        assert found[row] == pytest.approx(expected, rel=1e-6)


def test_images_go_through_the_extractor_once_and_nothing_is_refitted(photographs, monkeypatch):
    fits = []
    fit = NPCA.fit
    monkeypatch.setattr(NPCA, "fit", lambda self, X, y=None: fits.append(len(X)) or fit(self, X, y))
    net = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3], image_size=32)
    line = FPRThresholdCV(make_pipeline(net, NPCA(0.3), MahalanobisDetector()), fpr=0.2).fit(photographs)
    assert fits == [len(photographs)]
    features = clone(net).fit_transform(photographs)
    behind = FPRThresholdCV(make_pipeline(NPCA(0.3), MahalanobisDetector()), fpr=0.2).fit(features)
    np.testing.assert_allclose(line.out_of_fold_scores_, behind.out_of_fold_scores_, rtol=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.001])
def test_on_real_cells_all_levels_behind_npca_are_left_out_as_by_refits(mono, share):
    frame, y = mono
    X = frame[y == 1].astype(np.float64)
    detector = make_pipeline(NPCA(share), MahalanobisDetector())
    found = FPRThresholdCV(detector, fpr=0.05).fit(X).out_of_fold_scores_
    for row in (0, 300):
        left = X.drop(X.index[row])
        expected = clone(detector).fit(left).score_samples(X.iloc[[row]])[0]
        assert found[row] == pytest.approx(expected, rel=1e-7)
