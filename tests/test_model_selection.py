from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import metrics
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad.model_selection import (
    LevelSelector,
    NormalTrainSplit,
    auroc_scorer,
    average_precision_scorer,
    neg_fpr_at_tpr_scorer,
    partial_auroc_scorer,
)

from .conftest import LITE0

SCORERS = [auroc_scorer, average_precision_scorer, neg_fpr_at_tpr_scorer, partial_auroc_scorer]


class Given:
    """An estimator whose scores are its input."""

    def score_samples(self, X):
        return np.asarray(X, dtype=float)


def scores_and_labels(seed=0, n_normal=60, n_anomalous=25):
    rng = np.random.default_rng(seed)
    y = np.repeat([1, -1], [n_normal, n_anomalous])
    return rng.normal(size=len(y)) + y, y


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    scores, y = scores_and_labels()
    pairs = scores[y == 1][:, np.newaxis] > scores[y == -1]
    assert auroc_scorer(Given(), scores, y) == pytest.approx(pairs.mean())


def test_average_precision_is_that_of_the_anomalies():
    scores, y = scores_and_labels()
    ranked = y[np.argsort(scores)] == -1
    precision = np.cumsum(ranked) / np.arange(1, len(y) + 1)
    assert average_precision_scorer(Given(), scores, y) == pytest.approx(precision[ranked].mean())


@pytest.mark.parametrize("tpr", [0.2, 0.5, 0.95, 1.0])
def test_fpr_at_tpr_is_read_off_the_roc_curve(tpr):
    scores, y = scores_and_labels()
    fpr, found, _ = metrics.roc_curve(y == -1, -scores, drop_intermediate=False)
    expected = -fpr[np.argmax(found >= tpr - 1e-12)]
    assert partial(neg_fpr_at_tpr_scorer, tpr=tpr)(Given(), scores, y) == pytest.approx(expected)


def test_partial_auroc_is_perfect_for_a_perfect_ranking_and_half_for_chance():
    y = np.repeat([1, -1], 500)
    assert partial_auroc_scorer(Given(), y, y) == 1.0
    assert partial_auroc_scorer(Given(), np.random.default_rng(0).normal(size=1000), y) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_know_the_sign(scorer):
    scores, y = scores_and_labels()
    assert scorer(Given(), scores, y) > scorer(Given(), -scores, y)


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("y", [[0, 1, 1], [True, False, True], [1, 1, 1], ["1", "-1", "1"]])
def test_scorers_refuse_other_labels(scorer, y):
    with pytest.raises(ValueError, match=r"Labels must be|Both normal"):
        scorer(Given(), [1.0, 2.0, 3.0], y)


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_refuse_scores_that_are_no_numbers(scorer):
    with pytest.raises(ValueError, match="NaN to image 1"):
        scorer(Given(), [1.0, np.nan, 3.0], [1, -1, 1])


def test_splitter_refuses_an_iterator():
    X, y = np.zeros((6, 1)), [1, 1, 1, -1, -1, -1]
    with pytest.raises(ValueError, match=r"pass list\(cv\)"):
        list(NormalTrainSplit(StratifiedKFold(3).split(X, y)).split(X, y))


@pytest.mark.parametrize("share", [0, 1.5, True, "a"])
def test_scorers_refuse_bad_shares(share):
    scores, y = scores_and_labels()
    with pytest.raises(ValueError, match="must be a share"):
        neg_fpr_at_tpr_scorer(Given(), scores, y, tpr=share)
    with pytest.raises(ValueError, match="must be a share"):
        partial_auroc_scorer(Given(), scores, y, max_fpr=share)


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_serve_a_search(scorer):
    rng = np.random.default_rng(0)
    y = np.repeat([1, -1], [80, 30])
    X = rng.normal(size=(110, 3)) + 2 * (y == -1)[:, np.newaxis]
    search = GridSearchCV(
        MahalanobisDetector(), {"covariance": ["oas", "identity"]}, scoring=scorer, cv=StratifiedKFold(3)
    )
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()


def level_frame(n_samples=40):
    columns = ["level1__0", "level2__0", "level2__1", "left__level7__0"]
    return pd.DataFrame(np.random.default_rng(0).normal(size=(n_samples, 4)), columns=columns)


@pytest.mark.parametrize(
    ("levels", "kept"), [("all", [0, 1, 2, 3]), ([2], [1, 2]), ([7, 1], [0, 3]), (np.array([1, 2]), [0, 1, 2])]
)
def test_level_selector_keeps_the_columns_of_its_levels(levels, kept):
    X = level_frame()
    pd.testing.assert_frame_equal(LevelSelector(levels).fit_transform(X), X.iloc[:, kept])


def test_level_selector_lets_plain_arrays_pass():
    X = level_frame().to_numpy()
    np.testing.assert_array_equal(LevelSelector().fit_transform(X), X)


@pytest.mark.parametrize("levels", [[3], [], "1", 2, None, [[1]], [True], [1.0], [2, 2]])
def test_level_selector_names_the_levels_that_are_there(levels):
    with pytest.raises(ValueError, match=r"\[1, 2, 7\]"):
        LevelSelector(levels).fit(level_frame())


def test_level_selector_says_when_there_are_no_levels():
    with pytest.raises(ValueError, match="no column is named 'level7__"):
        LevelSelector([1]).fit(level_frame().to_numpy())


def test_what_was_found_on_features_predicts_on_images_without_a_refit(cells):
    images, y = cells
    extractor = DeepFeatureTransformer(LITE0, image_size=64)
    features = extractor.fit_transform(images)
    search = GridSearchCV(
        make_pipeline(LevelSelector(), NPCA(), MahalanobisDetector()),
        {"levelselector__levels": [[5], [6], [5, 6]], "npca__n_components": [0.1, 0.01]},
        scoring="roc_auc",
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ).fit(features, y)
    line = make_pipeline(extractor, *search.best_estimator_)
    np.testing.assert_array_equal(line.score_samples(images), search.score_samples(features))
    levels = search.best_params_["levelselector__levels"]
    direct = make_pipeline(clone(extractor).set_params(levels=levels), *clone(search.best_estimator_)[1:]).fit(
        images, y
    )
    np.testing.assert_allclose(direct.score_samples(images), line.score_samples(images), rtol=1e-6)


def test_training_sets_hold_normals_only_and_test_sets_are_those_of_the_splitter():
    X, y = np.arange(30).reshape(-1, 1), np.resize([1, 1, -1], 30)
    inner = StratifiedKFold(3, shuffle=True, random_state=0)
    for (train, test), (inner_train, inner_test) in zip(
        NormalTrainSplit(inner).split(X, y), inner.split(X, y), strict=True
    ):
        np.testing.assert_array_equal(test, inner_test)
        np.testing.assert_array_equal(train, inner_train[y[inner_train] == 1])
    assert NormalTrainSplit(4).get_n_splits(X, y) == 4


def test_groups_stay_together():
    X, y, groups = np.arange(24).reshape(-1, 1), np.resize([1, 1, 1, -1], 24), np.arange(24) // 4
    for train, test in NormalTrainSplit(GroupKFold(3)).split(X, y, groups):
        assert not set(groups[train]) & set(groups[test])


def test_groups_arrive_by_metadata_routing():
    rng = np.random.default_rng(0)
    y, groups = np.resize([1, 1, 1, -1], 80), np.arange(80) // 8
    X = rng.normal(size=(80, 2)) - y[:, np.newaxis]
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            OneClassSVM(), X, y, cv=NormalTrainSplit(GroupKFold(5)), scoring=auroc_scorer, params={"groups": groups}
        )
    expected = [
        auroc_scorer(OneClassSVM().fit(X[train]), X[test], y[test])
        for train, test in NormalTrainSplit(GroupKFold(5)).split(X, y, groups)
    ]
    np.testing.assert_allclose(scores, expected)


@pytest.mark.parametrize("y", [[0, 1, 1, 0], [True, False, True, True], [1, -1, 1]])
def test_splitter_refuses_other_labels(y):
    with pytest.raises(ValueError, match=r"Labels must be|X has 4 samples"):
        list(NormalTrainSplit(2).split(np.zeros((4, 1)), y))


def test_a_fold_without_normals_is_refused():
    X, y, groups = np.zeros((4, 1)), [1, 1, -1, -1], [0, 0, 1, 1]
    with pytest.raises(ValueError, match="no normal image to train on"):
        list(NormalTrainSplit(GroupKFold(2)).split(X, y, groups))
