import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, LeaveOneOut, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skgad import NPCA, FPRThresholdCV, MahalanobisDetector
from skgad._calibration import _out_of_fold
from skgad.exceptions import WorkingPointWarning

KINDS = ["ledoit_wolf", "oas", "empirical", "diagonal", "identity"]


def draw(n_samples=120, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_features)) * np.arange(1, n_features + 1) + 5


def levels(n_samples=120):
    names = ["level1__0", "level2__0", "level1__1", "level2__1", "level2__2"]  # interleaved
    return pd.DataFrame(draw(n_samples, 5), columns=names)


def rows(X, positions):
    return X.iloc[positions] if isinstance(X, pd.DataFrame) else X[positions]


def naive_scores(estimator, X, folds):
    scores = np.empty(len(X))
    for train, test in folds:
        scores[test] = clone(estimator).fit(rows(X, train)).score_samples(rows(X, test))
    return scores


@pytest.fixture
def no_refits(monkeypatch):
    def refuse(*args):
        raise RuntimeError("refitted")

    monkeypatch.setattr(_out_of_fold, "_refit", refuse)


class Recorder(OutlierMixin, BaseEstimator):
    """A detector with a cheap way, which notes what it was asked; its fits count the rows."""

    def __init__(self, offers=True):
        self.offers = offers

    def fit(self, X, y=None):
        self.n_rows_ = len(X)
        return self

    def score_samples(self, X):
        return -np.abs(X[:, 0]) - self.n_rows_

    def fit_score_out_of_fold(self, X, fold):
        if not self.offers:
            return NotImplemented
        self.fold_ = fold
        self.fit(X)
        return -np.abs(X[:, 0]) - 0.5, self.score_samples(X)


def test_a_detector_with_a_cheap_way_takes_it(no_refits):
    X = draw()
    detector = FPRThresholdCV(Recorder(), fpr=0.1, cv=KFold(5, shuffle=True, random_state=0)).fit(X)
    np.testing.assert_array_equal(detector.out_of_fold_scores_, -np.abs(X[:, 0]) - 0.5)
    for number, (_, test) in enumerate(KFold(5, shuffle=True, random_state=0).split(X)):
        assert (detector.estimator_.fold_[test] == number).all()
    assert len(np.unique(FPRThresholdCV(Recorder(), fpr=0.1, cv="loo").fit(X).estimator_.fold_)) == len(X)


@pytest.mark.filterwarnings("ignore::skgad.exceptions.WorkingPointWarning")  # its scores grow with the rows
def test_a_detector_that_declines_is_refitted():
    X = draw()
    detector = FPRThresholdCV(Recorder(offers=False), fpr=0.1, cv=5).fit(X)
    np.testing.assert_array_equal(detector.out_of_fold_scores_, -np.abs(X[:, 0]) - 96)
    assert detector.estimator_.n_rows_ == 120


@pytest.mark.filterwarnings("ignore::skgad.exceptions.WorkingPointWarning")  # its scores grow with the rows
def test_folds_that_leave_out_more_than_they_test_are_refitted():
    X = draw()
    folds = [(train[5:], test) for train, test in KFold(5).split(X)]
    detector = FPRThresholdCV(Recorder(), fpr=0.1, cv=folds).fit(X)
    np.testing.assert_array_equal(detector.out_of_fold_scores_, -np.abs(X[:, 0]) - 91)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("X", [draw(), levels()], ids=["array", "levels"])
def test_folds_taken_out_of_the_moments_equal_refits(X, kind, no_refits):
    folds = KFold(7, shuffle=True, random_state=0)
    detector = FPRThresholdCV(MahalanobisDetector(kind), fpr=0.1, cv=folds).fit(X)
    expected = naive_scores(MahalanobisDetector(kind), X, folds.split(X))
    np.testing.assert_allclose(detector.out_of_fold_scores_, expected, rtol=1e-9)
    np.testing.assert_allclose(detector.score_samples(X), MahalanobisDetector(kind).fit(X).score_samples(X))


@pytest.mark.parametrize("kind", ["empirical", "diagonal", "identity"])  # nothing is held fixed in these
@pytest.mark.parametrize("X", [draw(), levels()], ids=["array", "levels"])
def test_leave_one_out_in_closed_form_equals_refits(X, kind, no_refits):
    detector = FPRThresholdCV(MahalanobisDetector(kind), fpr=0.1, cv="loo").fit(X)
    expected = naive_scores(MahalanobisDetector(kind), X, LeaveOneOut().split(X))
    np.testing.assert_allclose(detector.out_of_fold_scores_, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["ledoit_wolf", "oas"])
def test_leave_one_out_in_closed_form_is_close_to_refits_where_shrinkage_is_held_fixed(kind, no_refits):
    X = draw()
    detector = FPRThresholdCV(MahalanobisDetector(kind), fpr=0.1, cv="loo").fit(X)
    expected = naive_scores(MahalanobisDetector(kind), X, LeaveOneOut().split(X))
    np.testing.assert_allclose(detector.out_of_fold_scores_, expected, rtol=0.05)
    np.testing.assert_allclose(detector.offset_, np.sort(expected)[11], rtol=0.02)


@pytest.mark.parametrize(
    "estimator", [make_pipeline(NPCA(2), MahalanobisDetector()), MahalanobisDetector(LedoitWolf())]
)
def test_leave_one_out_refits_whatever_has_no_closed_form(estimator):
    X = draw(40)
    detector = FPRThresholdCV(estimator, fpr=0.1, cv="loo").fit(X)
    np.testing.assert_allclose(detector.out_of_fold_scores_, naive_scores(estimator, X, LeaveOneOut().split(X)))


@pytest.mark.parametrize("X", [draw(30, 100), np.vstack([draw(), [[1e9] * 4]])], ids=["few rows", "a row far out"])
def test_the_gaussian_refits_where_moments_do_not_serve(X):
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X)
    expected = naive_scores(MahalanobisDetector(), X, KFold(5).split(X))
    np.testing.assert_allclose(detector.out_of_fold_scores_, expected)


def test_folds_are_fitted_in_parallel_alike():
    X = draw()
    detectors = [
        FPRThresholdCV(make_pipeline(NPCA(2), MahalanobisDetector()), fpr=0.1, n_jobs=n_jobs).fit(X)
        for n_jobs in (None, 2)
    ]
    assert detectors[0].offset_ == detectors[1].offset_


def test_progress_is_told_on_request(capsys):
    FPRThresholdCV(make_pipeline(NPCA(2), MahalanobisDetector()), fpr=0.1, cv=20, verbose=1).fit(draw())
    assert "20 out of" in "".join(capsys.readouterr())


# Folds that are none


def test_more_folds_than_normals_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"cv=20 .*n_samples = 15"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=20).fit(draw(15))


def test_more_folds_than_groups_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"cv=20 .*n_groups = 15"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2).fit(draw(120), groups=np.arange(120) % 15)


def test_folds_that_do_not_test_each_image_once_are_refused():
    with pytest.raises(ValueError, match="test each normal image once"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=ShuffleSplit(3, random_state=0)).fit(draw())
    train, test = next(KFold(4).split(draw()))
    with pytest.raises(ValueError, match="image 0 of 120 is tested 2 times"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=[(train, [0, *test])]).fit(draw())


def test_bad_folds_are_refused():
    X = draw(60)
    overlapping = [(np.arange(60), test) for _, test in KFold(5).split(X)]
    with pytest.raises(ValueError, match="overlap"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=overlapping).fit(X)
    beyond = list(KFold(5).split(X))
    with pytest.raises(ValueError, match="beyond the 50 normal images"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=beyond).fit(X, np.repeat([1, -1], [50, 10]))
    negative = [(train, test - 60) for train, test in KFold(5).split(X)]
    with pytest.raises(ValueError, match="positions count from 0"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=negative).fit(X)


@pytest.mark.parametrize(("part", "fold"), [("training", ([], [0, 1])), ("test", ([0, 1], []))])
def test_a_fold_without_normal_images_is_refused(part, fold):
    with pytest.raises(ValueError, match=f"Fold 0 of cv is without normal images in its {part} part"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.2, cv=[fold]).fit(draw())


@pytest.mark.parametrize("cv", ["prefit", "leave-one-out"])
def test_words_other_than_loo_are_refused(cv):
    with pytest.raises(ValueError, match="'loo', a splitter" + (".*FrozenEstimator" if cv == "prefit" else "")):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=cv).fit(draw())


# Frozen detectors


def test_a_frozen_detector_is_calibrated_on_held_out_images():
    frozen = MahalanobisDetector().fit(draw(seed=5))
    detector = FPRThresholdCV(FrozenEstimator(frozen), fpr=0.1).fit(
        draw(19)
    )  # fewer images than folds, which it has not
    np.testing.assert_allclose(detector.out_of_fold_scores_, frozen.score_samples(draw(19)))
    np.testing.assert_array_equal(detector.score_samples(draw(seed=1)), frozen.score_samples(draw(seed=1)))


def test_a_pipeline_may_freeze_what_learns_and_keep_what_does_not():
    fitted = MahalanobisDetector().fit(draw(seed=5))
    for pipe in (
        make_pipeline(FunctionTransformer(), FrozenEstimator(fitted)),
        make_pipeline(
            "passthrough", FrozenEstimator(StandardScaler(with_mean=False, with_std=False).fit(draw())), fitted
        ),
    ):
        frozen_last = make_pipeline(*(step for _, step in pipe.steps[:-1]), FrozenEstimator(fitted))
        detector = FPRThresholdCV(frozen_last, fpr=0.1).fit(draw())
        np.testing.assert_allclose(detector.out_of_fold_scores_, fitted.score_samples(draw()))


def test_a_frozen_detector_that_was_never_fitted_is_refused():
    with pytest.raises(NotFittedError, match="never fitted"):
        FPRThresholdCV(FrozenEstimator(MahalanobisDetector()), fpr=0.1).fit(draw())


def test_a_frozen_detector_behind_a_step_that_learns_is_refused():
    pipe = make_pipeline(NPCA(2), FrozenEstimator(MahalanobisDetector().fit(draw())))
    with pytest.raises(ValueError, match=r"step 'npca'.*Freeze the whole"):
        FPRThresholdCV(pipe, fpr=0.1).fit(draw())


def test_a_fitted_detector_that_is_not_frozen_is_fitted_anew_on_a_clone():
    fitted = MahalanobisDetector().fit(100 * draw())
    before = fitted.score_samples(draw())
    detector = FPRThresholdCV(fitted, fpr=0.1).fit(draw())
    np.testing.assert_allclose(detector.score_samples(draw()), MahalanobisDetector().fit(draw()).score_samples(draw()))
    np.testing.assert_array_equal(fitted.score_samples(draw()), before)


# Groups in folds


@pytest.mark.parametrize("cv", [4, GroupKFold(4), LeaveOneGroupOut()])
def test_groups_stay_together(cv):
    X, groups = draw(), np.random.default_rng(0).integers(12, size=120)
    splitter = GroupKFold(4) if cv == 4 else cv
    detector = FPRThresholdCV(make_pipeline(MahalanobisDetector()), fpr=0.1, cv=cv).fit(X, groups=groups)
    expected = naive_scores(MahalanobisDetector(), X, splitter.split(X, groups=groups))
    np.testing.assert_allclose(detector.out_of_fold_scores_, expected)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored:UserWarning")
def test_folds_that_tear_a_group_apart_are_refused():
    for cv in (KFold(4), list(KFold(4).split(draw()))):
        with pytest.raises(ValueError, match="one group in training and in test"):
            FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=cv).fit(draw(), groups=np.arange(120) % 12)


def test_leave_one_out_with_groups_is_refused():
    with pytest.raises(ValueError, match="LeaveOneGroupOut"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv="loo").fit(draw(), groups=np.arange(120) % 12)


def test_bad_groups_are_refused():
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=4)
    with pytest.raises(ValueError, match=r"one group an image, shape \(120,\); got shape \(119,\)"):
        detector.fit(draw(), groups=np.arange(119) % 12)
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match="missing value at image 7"):
            detector.fit(draw(), groups=[missing if row == 7 else row % 12 for row in range(120)])


# Fits that are not stable


class Growing(OutlierMixin, BaseEstimator):
    """Distances that grow with the number of images learnt."""

    def fit(self, X, y=None):
        self.scale_ = len(X) / 100
        return self

    def score_samples(self, X):
        return -self.scale_ * (1 + np.abs(X[:, 0]))


def test_a_rate_that_drifts_is_foretold_with_a_warning():
    X = draw(200)
    with pytest.warns(WorkingPointWarning, match=r"fpr=0\.1 may not hold.*cv='loo'"):
        detector = FPRThresholdCV(Growing(), fpr=0.1, cv=5).fit(X)
    # leaving out 40 more of 160 images takes 0.4 off the scale, so 40 more images are expected to add 0.4
    pair = np.r_[0:40, 80:120]
    rise = -0.4 * (1 + np.abs(X[pair, 0])).mean()
    below = (detector.out_of_fold_scores_ + rise < detector.offset_).sum()
    assert detector.drifted_fpr_ == pytest.approx((1 + below) / 201)
    assert f"a rate of about {detector.drifted_fpr_:.2g}" in detector.summary()
    actual = (detector.predict(draw(20_000, seed=1)) == -1).mean()
    assert detector.drifted_fpr_ == pytest.approx(actual, rel=0.3)


def test_a_stable_fit_is_not_warned_of():
    X = draw(200)
    detector = FPRThresholdCV(make_pipeline(NPCA(0.5), MahalanobisDetector()), fpr=0.1, cv=20).fit(X)
    assert detector.drifted_fpr_ == pytest.approx(0.1, abs=0.03)
    assert "not hold" not in detector.summary()


@pytest.mark.parametrize(
    ("estimator", "cv"),
    [
        (MahalanobisDetector(), 20),
        (make_pipeline(MahalanobisDetector()), "loo"),
        (make_pipeline(MahalanobisDetector()), 4),
        (FrozenEstimator(MahalanobisDetector().fit(draw())), 20),
    ],
    ids=["moments", "loo", "few folds", "frozen"],
)
def test_without_enough_refits_nothing_is_foretold(estimator, cv):
    assert np.isnan(FPRThresholdCV(estimator, fpr=0.1, cv=cv).fit(draw(60)).drifted_fpr_)


def test_folds_that_fail_without_a_reduction_are_warned_of():
    X, new = draw(130, 80), draw(5_000, 80, seed=1)
    detector = make_pipeline(MahalanobisDetector("empirical"))  # 104 rows of 80 features in a fold, 78 without two
    with pytest.warns(WorkingPointWarning, match=r"fpr may not hold: without two folds .*cannot be fitted"):
        few = FPRThresholdCV(detector, fpr=0.1, cv=5).fit(X)
    assert (few.predict(new) == -1).mean() < 0.02


def test_a_check_that_fails_does_not_make_the_fit_fail():
    class Hungry(Growing):
        def fit(self, X, y=None):
            if len(X) < 70:
                raise RuntimeError("too few")
            return super().fit(X, y)

    with pytest.warns(WorkingPointWarning, match=r"cannot be fitted \(too few\)"):
        FPRThresholdCV(Hungry(), fpr=0.1, cv=5).fit(draw(100))


def test_a_frozen_step_in_front_of_a_detector_that_is_refitted_is_refused():
    X = draw(60)
    pipe = make_pipeline(FrozenEstimator(NPCA(0.5).fit(X)), MahalanobisDetector())
    with pytest.raises(ValueError, match=r"step 'frozenestimator' is frozen.*Freeze the whole"):
        FPRThresholdCV(pipe, fpr=0.1).fit(X)
    FPRThresholdCV(FrozenEstimator(make_pipeline(NPCA(0.5), MahalanobisDetector()).fit(X[:30])), fpr=0.1).fit(X[30:])


def test_an_error_counts_rows_as_the_caller_does():
    X = draw(60)
    X[50, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN in row 50"):
        FPRThresholdCV(make_pipeline(NPCA(0.5), MahalanobisDetector()), fpr=0.1).fit(X)


def test_a_fit_that_cannot_do_without_two_folds_foretells_nothing():
    X = draw(20, 3)
    detector = FPRThresholdCV(make_pipeline(PCA(13), MahalanobisDetector()), fpr=0.1, cv=5)
    X = np.hstack([X, draw(20, 12, seed=1)])  # PCA(13) needs 13 rows: a fold leaves 16, two leave 12
    with pytest.warns(WorkingPointWarning, match="cannot be fitted"):
        assert np.isnan(detector.fit(X).drifted_fpr_)


def test_five_folds_behind_npca_fail_on_real_cells_as_foretold_and_leave_one_out_does_not(mono):
    features, y = mono
    normals = features[y == 1].filter(like="level7__").sample(frac=1, random_state=0)
    train, held_out = normals.iloc[:170], normals.iloc[170:]  # 192 features: the worst place to be
    estimator, rank = make_pipeline(NPCA(0.01), MahalanobisDetector()), 17
    low, high = betabinom(len(held_out), rank, 171 - rank).ppf([0.0005, 0.9995])
    with pytest.warns(WorkingPointWarning, match="may not hold"):
        few = FPRThresholdCV(estimator, fpr=0.1, cv=5).fit(train)
    assert (few.predict(held_out) == -1).sum() > high
    assert few.drifted_fpr_ > 0.2
    every = FPRThresholdCV(estimator, fpr=0.1, cv="loo").fit(train)
    assert low <= (every.predict(held_out) == -1).sum() <= high


def test_folds_may_be_masks_or_tuples():
    X = draw(60)
    expected = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=5).fit(X).offset_
    masks = [(~np.isin(np.arange(60), test), np.isin(np.arange(60), test)) for _, test in KFold(5).split(X)]
    tuples = [(tuple(train), tuple(test)) for train, test in KFold(5).split(X)]
    for folds in (masks, tuples):
        assert FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=folds).fit(X).offset_ == expected
    with pytest.raises(ValueError, match="cv must give the positions of images, as ints"):
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=[([0.0], [1.0])]).fit(X)
