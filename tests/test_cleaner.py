import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline

from skgad import NPCA, MahalanobisDetector, TrainingSetCleaner
from skgad._calibration._cleaner import central_p_values
from skgad.exceptions import WorkingPointWarning


def draw(n_normal=200, n_hidden=10, n_features=8, seed=0, step=3.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_normal + n_hidden, n_features))
    X[n_normal:] *= step
    return X, np.arange(n_normal + n_hidden) >= n_normal


def test_what_does_not_belong_is_found_and_what_is_left_is_fitted():
    X, hidden = draw(step=5.0)
    cleaner = TrainingSetCleaner().fit(X)
    assert set(np.flatnonzero(hidden)) <= set(cleaner.suspects_)
    assert (~hidden & ~cleaner.kept_).sum() <= 2
    np.testing.assert_array_equal(cleaner.clean(X), X[cleaner.kept_])
    np.testing.assert_allclose(cleaner.estimator_.location_[0], X[cleaner.kept_].mean(axis=0))
    scores = cleaner.scores_
    np.testing.assert_allclose(
        scores[cleaner.kept_],
        MahalanobisDetector(levels="joint").fit(X[cleaner.kept_]).leave_one_out_scores(X[cleaner.kept_]),
    )
    np.testing.assert_allclose(scores[~cleaner.kept_], cleaner.estimator_.score_samples(X[~cleaner.kept_]))
    assert (np.diff(scores[cleaner.suspects_]) >= 0).all()
    np.testing.assert_array_equal(cleaner.fit_predict(X) == 1, cleaner.kept_)


def test_it_has_settled_on_its_own_discoveries():
    X, _ = draw()
    cleaner = TrainingSetCleaner(fdr=0.2).fit(X)
    p_values = central_p_values(-cleaner.scores_)
    np.testing.assert_array_equal(cleaner.p_values_, p_values)
    np.testing.assert_array_equal(stats.false_discovery_control(p_values) > 0.2, cleaner.kept_)


def test_images_that_hide_each_other_are_found_by_going_on():
    X, hidden = draw(n_hidden=8, step=1.0)
    X[hidden, 0] = np.repeat([60.0, 8.0], [3, 5])
    once = MahalanobisDetector(levels="joint").fit(X).leave_one_out_scores(X)
    first = stats.false_discovery_control(central_p_values(-once)) <= 0.1
    cleaner = TrainingSetCleaner().fit(X)
    assert (~cleaner.kept_ & hidden).sum() > (first & hidden).sum()
    assert cleaner.n_iter_ > 2


def test_clean_images_stay():
    lost = [len(TrainingSetCleaner().fit(draw(n_hidden=0, seed=seed)[0]).suspects_) for seed in range(20)]
    assert np.mean(lost) < 0.5


def test_p_values_are_uniform_where_distances_follow_the_law():
    distances = stats.gumbel_r.rvs(3, 2, size=20_000, random_state=0)
    p_values = central_p_values(distances)
    assert stats.kstest(p_values, "uniform").statistic < 0.01


@pytest.mark.parametrize(
    "estimator",
    [MahalanobisDetector(), make_pipeline(NPCA(0.9), MahalanobisDetector()), LocalOutlierFactor(novelty=True)],
    ids=["each", "npca", "folds"],
)
def test_any_detector_will_do(estimator):
    X, hidden = draw(n_hidden=5, step=6.0)
    cleaner = TrainingSetCleaner(estimator).fit(pd.DataFrame(X))
    assert set(np.flatnonzero(hidden)) <= set(cleaner.suspects_)
    assert type(cleaner.estimator_) is type(estimator)


def test_rows_labelled_anomalous_are_left_out():
    X, _ = draw(n_hidden=5, step=6.0)
    X = np.vstack([X, X[:3] + 50])
    y = np.repeat([1, -1], [205, 3])
    cleaner = TrainingSetCleaner().fit(X, y)
    assert np.isnan(cleaner.scores_[205:]).all()
    assert not cleaner.kept_[205:].any()
    assert cleaner.suspects_.max() < 205
    np.testing.assert_array_equal(cleaner.suspects_, TrainingSetCleaner().fit(X[:205]).suspects_)


def test_what_cannot_be_cleaned_is_refused_or_warned_of():
    X, _ = draw()
    with pytest.raises(ValueError, match="fdr must be a share"):
        TrainingSetCleaner(fdr=1.0).fit(X)
    with pytest.raises(ValueError, match="10 normal images at least"):
        TrainingSetCleaner().fit(X[:9])
    with pytest.raises(ValueError, match="takes the 210 images of the fit; got 3"):
        TrainingSetCleaner().fit(X).clean(X[:3])
    with pytest.raises(ValueError, match="All distances are the same"):
        TrainingSetCleaner(MahalanobisDetector("identity")).fit(np.vstack([np.eye(24)]))
    with pytest.warns(WorkingPointWarning, match="come and go after max_iter=1"):
        TrainingSetCleaner(max_iter=1).fit(X)
    many, _ = draw(n_hidden=70, step=8.0)
    with pytest.warns(WorkingPointWarning, match=r"of 270 images were taken out"):
        TrainingSetCleaner().fit(many)
