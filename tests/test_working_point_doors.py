"""What a threshold must refuse, or doubt aloud: columns that were learnt in front, signs, labels, rates, metadata."""

import inspect
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.stats import chi2
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skgad import (
    NPCA,
    CombinedDetector,
    DeepFeatureTransformer,
    FPRThreshold,
    FPRThresholdCV,
    LevelwiseTransformer,
    MahalanobisDetector,
    NormalRowsOnly,
)
from skgad._conventions._parameters import read_fpr
from skgad.exceptions import LabelConventionWarning, WorkingPointWarning


def draw(n=120, n_features=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_features)) * np.arange(1, n_features + 1)


def frame(n=120, seed=0):
    return pd.DataFrame(draw(n, seed=seed), columns=["level1__0", "level1__1", "level2__0", "level2__1"])


# A selection in front of the folds


@pytest.mark.parametrize(
    "step",
    [NPCA(0.5), LevelwiseTransformer(PCA(1)), PCA(2).set_output(transform="pandas"), MahalanobisDetector()],
    ids=str,
)
def test_columns_that_were_learnt_in_front_of_the_folds_are_refused(step):
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1)
    with pytest.raises(ValueError, match=r"learnt it in front of the folds.*Put .* inside"):
        make_pipeline(step, detector).fit(frame())
    make_pipeline(StandardScaler(), detector).fit(frame())
    FPRThresholdCV(make_pipeline(clone(step), MahalanobisDetector()), fpr=0.1, cv=5).fit(frame())


def test_a_frozen_detector_may_stand_behind_a_selection_that_saw_other_images():
    npca = NPCA(0.5).fit(frame(seed=1))
    frozen = FrozenEstimator(MahalanobisDetector().fit(npca.transform(frame(seed=1))))
    FPRThresholdCV(frozen, fpr=0.1).fit(npca.transform(frame()))


# The chi-square threshold


@pytest.mark.parametrize(
    ("detector", "X", "reason"),
    [
        (MahalanobisDetector(), frame(), "a sum of quantiles is no quantile of the sum"),
        (make_pipeline(NPCA(0.5), MahalanobisDetector()), frame().iloc[:, :2], "NPCA chose its directions"),
        (MahalanobisDetector(), draw(30, 20), "even exactly Gaussian data would reach"),
        (MahalanobisDetector(), draw(30, 40), "do not determine a Gaussian"),
    ],
    ids=["levels", "npca", "few", "fewer than features"],
)
def test_the_detectors_own_threshold_voices_the_doubt_where_it_is_used(detector, X, reason):
    fitted = clone(detector).fit(X)
    fitted.score_samples(X)
    fitted.decision_function(X)  # ranks; scorers ask for it
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(WorkingPointWarning, match=f"will not hold fpr=0.01: .*{reason}.*FPRThresholdCV") as caught:
        fitted.predict(X)
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]


def test_no_doubt_where_the_law_may_hold_or_another_threshold_is_set():
    MahalanobisDetector().fit(draw(4000)).predict(draw())
    FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(frame()).predict(frame())
    CombinedDetector([("one", MahalanobisDetector())]).fit(frame()).predict(frame())


@pytest.mark.parametrize(("n", "doubts"), [(90, True), (150, False)])
def test_doubt_begins_at_twice_the_rate(n, doubts):
    """Hotelling's law with 10 features: 90 images reach 2.4 times a target of 5 %, 150 images 1.7 times."""
    from scipy.stats import chi2, f

    reached = f.sf(chi2.isf(0.05, 10) * (n - 10) / (10 * (n + 1)), 10, n - 10)
    assert (reached > 0.1) == doubts
    X = draw(n, 10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_pipeline(MahalanobisDetector(), FPRThreshold(0.05)).fit(X)
        MahalanobisDetector(fpr=0.05).fit(X).predict(X)
    assert [one.category for one in caught] == [WorkingPointWarning] * (2 * doubts)


# Labels


@pytest.mark.parametrize("odd", [0, np.nan, None, pd.NA, 2, "?", 0.5], ids=repr)
@pytest.mark.parametrize(
    "estimator",
    [
        NPCA(),
        MahalanobisDetector(),
        LevelwiseTransformer(StandardScaler()),
        NormalRowsOnly(StandardScaler()),
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1),
        CombinedDetector([("one", MahalanobisDetector())]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_one_row_without_a_label_is_refused_by_its_row(estimator, odd):
    y = pd.Series([1, -1] * 60, dtype=object)
    y[7] = odd
    with pytest.raises(ValueError, match=r"in row 7 \(1 such rows\).*must be left out"):
        clone(estimator).fit(draw(), y)


def test_an_extractor_refuses_such_labels_too(photographs):
    with pytest.raises(ValueError, match=r"in row 2 .*must be left out"):
        DeepFeatureTransformer("tf_efficientnet_lite0", image_size=32).fit(photographs, [1, -1, 0, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    "y",
    [
        np.array([b"1", b"-1"] * 60),
        np.array([1, -1] * 60) + 0j,
        {1, -1},
        dict.fromkeys(range(120), 1),
        (value for value in [1, -1] * 60),
        np.ma.masked_array([1, -1] * 60, mask=[False, True] * 60),
    ],
    ids=["bytes", "complex", "set", "dict", "generator", "masked"],
)
def test_what_could_never_be_labels_is_refused(y):
    with pytest.raises(ValueError, match="y"):
        MahalanobisDetector().fit(draw(), y)


# Rates


@pytest.mark.parametrize(
    ("fpr", "n"),
    [
        (np.float32(0.01), 99),
        (np.float16(0.05), 19),
        (Fraction(1, 20), 19),
        (Decimal("0.05"), 19),
        (np.float64(0.05), 19),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_rate_means_the_same_in_every_type_of_number(fpr, n):
    X = draw(n)
    found = FPRThresholdCV(MahalanobisDetector(), fpr=fpr, cv=5).fit(X)
    plain = FPRThresholdCV(MahalanobisDetector(), fpr=round(float(fpr), 3), cv=5).fit(X)
    assert found.offset_ == plain.offset_ == np.sort(found.out_of_fold_scores_)[0]
    assert found.summary() == plain.summary()


@pytest.mark.parametrize("value", [0.29, 0.07, 1 / 3, 3 / 301, 1e-9, 0.999])
def test_a_float_is_the_simplest_fraction_that_rounds_to_it(value):
    share = read_fpr(value)
    assert float(share) == value
    assert share.denominator <= Fraction(str(value)).denominator
    assert read_fpr(np.float32(value)).denominator <= share.denominator


@pytest.mark.parametrize("fpr", [0, 1, -0.1, np.nan, np.inf, True, "0.01", None, 5])
def test_what_is_no_rate_is_refused(fpr):
    with pytest.raises(ValueError, match="fpr must lie in"):
        read_fpr(fpr)


def test_the_rate_of_a_fit_stays_that_of_the_fit():
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(draw())
    before = detector.summary(), detector.offset_, detector.predict(draw(seed=1))
    detector.set_params(fpr=0.5, cv=3)
    assert (detector.summary(), detector.offset_) == before[:2]
    np.testing.assert_array_equal(detector.predict(draw(seed=1)), before[2])


# Metadata


class Weighted(BaseEstimator):
    """A detector of the distance to the weighted mean, which keeps what its last fit was given."""

    def fit(self, X, y=None, sample_weight=None):
        self.n_, self.weight_ = len(X), None if sample_weight is None else np.asarray(sample_weight)
        self.mean_ = np.average(X, axis=0, weights=sample_weight)
        return self

    def score_samples(self, X):
        return -np.linalg.norm(X - self.mean_, axis=1)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_weights_reach_the_detector_with_the_rows_they_belong_to(routing):
    X, y, weight = draw(), np.r_[-np.ones(20, int), np.ones(100, int)], np.random.default_rng(1).random(120)
    part = Weighted().set_fit_request(sample_weight=True)
    detector = FPRThresholdCV(part, fpr=0.1, cv=KFold(4)).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(detector.estimator_.weight_, weight[20:])
    expected = np.empty(100)
    for train, test in KFold(4).split(X[20:]):
        own = Weighted().fit(X[20:][train], sample_weight=weight[20:][train])
        expected[test] = own.score_samples(X[20:][test])
    np.testing.assert_allclose(detector.out_of_fold_scores_, expected)
    combined = CombinedDetector([("a", part), ("b", MahalanobisDetector())]).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(combined.named_detectors_["a"].weight_, weight[20:])


def test_metadata_without_routing_are_refused_and_not_dropped():
    with pytest.raises(ValueError, match="only supported if enable_metadata_routing=True"):
        FPRThresholdCV(Weighted(), fpr=0.1).fit(draw(), sample_weight=np.ones(120))
    with pytest.raises(ValueError, match="only supported if enable_metadata_routing=True"):
        CombinedDetector([("a", Weighted())]).fit(draw(), sample_weight=np.ones(120))


def test_fit_predict_takes_groups():
    X, groups = draw(), np.repeat(np.arange(40), 3)
    detector = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=GroupKFold(5))
    np.testing.assert_array_equal(detector.fit_predict(X, groups=groups), detector.fit(X, groups=groups).predict(X))


def test_a_combination_takes_what_all_of_its_parts_take():
    class Images(BaseEstimator):
        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.two_d_array, tags.input_tags.string = False, True
            return tags

    both = CombinedDetector([("a", MahalanobisDetector()), ("b", Images())]).__sklearn_tags__().input_tags
    assert not both.two_d_array
    assert not both.string
    assert CombinedDetector([("b", Images())]).__sklearn_tags__().input_tags.string


# Other detectors, folds, rows, warnings


def test_a_detector_of_the_other_sign_is_refused_by_name():
    class Foreign(BaseEstimator):
        def fit(self, X, y=None):
            self.decision_scores_ = np.linalg.norm(X, axis=1)
            return self

        def decision_function(self, X):
            return np.linalg.norm(X, axis=1)

    for wrapped in (Foreign(), make_pipeline(StandardScaler(), Foreign()), NormalRowsOnly(Foreign())):
        with pytest.raises(TypeError, match=r"Foreign\(\) has decision_scores_.*-detector.decision_function"):
            FPRThresholdCV(wrapped, fpr=0.1).fit(draw())
    with pytest.raises(TypeError, match="decision_scores_"):
        CombinedDetector([("a", Foreign())]).fit(draw())


@pytest.mark.parametrize(("cv", "message"), [(KFold, r"pass an object of it, such as KFold\(\)"), ("iterator", "list")])
def test_folds_that_serve_one_fit_or_none_are_refused(cv, message):
    cv = KFold(5).split(draw()) if cv == "iterator" else cv
    for detector in (
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=cv),
        CombinedDetector([("a", Weighted())], cv=cv),
    ):
        with pytest.raises(ValueError, match=message):
            detector.fit(draw())


@pytest.mark.parametrize(
    "estimator",
    [
        FPRThresholdCV(MahalanobisDetector(), fpr=0.1),
        FPRThresholdCV(make_pipeline(StandardScaler(), MahalanobisDetector()), fpr=0.1),
        CombinedDetector([("one", MahalanobisDetector())]),
        MahalanobisDetector(),
        NPCA(),
        NormalRowsOnly(StandardScaler()),
    ],
    ids=lambda one: str(one)[:30],
)
def test_an_error_names_the_callers_row_after_others_were_left_out(estimator):
    X = draw()
    X[115, 2] = np.inf
    with pytest.raises(ValueError, match=r"row 115\b"):
        estimator.fit(X, np.r_[-np.ones(10, int), np.ones(110, int)])


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: make_pipeline(StandardScaler(), one)])
def test_each_fit_is_warned_of_at_the_users_own_line(wrap):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        wrap(MahalanobisDetector()).fit(draw(), [0, 1] * 60)
        wrap(MahalanobisDetector()).fit(draw(), [0, 1] * 60)
    own = [one for one in caught if one.category is LabelConventionWarning]
    assert {one.filename for one in own} == {__file__}
    assert len({one.lineno for one in own}) == len(own) == 2


def test_masked_features_are_refused():
    X = np.ma.masked_array(draw(), mask=False)
    for estimator in (
        MahalanobisDetector(),
        NPCA(),
        FPRThresholdCV(Weighted(), fpr=0.1),
        NormalRowsOnly(OneClassSVM()),
    ):
        with pytest.raises(ValueError, match="masked array"):
            estimator.fit(X)
    distances = np.ma.masked_array(np.abs(draw()[:, :1]), mask=False)
    with pytest.raises(ValueError, match="masked array"):
        FPRThreshold(dof=1).fit(distances)


@pytest.mark.parametrize("fpr", [np.float32(0.05), np.float16(0.05), Fraction(1, 20), Decimal("0.05")], ids=repr)
def test_the_chi_square_threshold_is_that_of_the_number_that_a_rate_says(fpr):
    X, expected = draw(2000), -np.sqrt(chi2.ppf(0.95, 4))
    assert MahalanobisDetector(fpr=fpr).fit(X).offset_ == pytest.approx(expected, rel=1e-12)
    assert FPRThreshold(fpr, dof=4).fit(np.abs(X[:, :1])).offset_ == pytest.approx(expected, rel=1e-12)


# Two cameras, and the rows of others' fits


def test_two_cameras_have_gaussians_of_their_own_where_names_are_kept(photographs):
    from sklearn.compose import ColumnTransformer

    net = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3], image_size=32)
    views = pd.DataFrame({"left": range(8), "right": range(8)}).astype(object)
    for column in views:
        views[column] = list(photographs if column == "left" else photographs[::-1])
    both = ColumnTransformer([("l", net, "left"), ("r", net, "right")]).set_output(transform="pandas")
    line = make_pipeline(both, MahalanobisDetector()).fit(views)
    assert line[-1].levels_ == ["l__level3", "r__level3"]


def test_normal_rows_only_fits_others_on_the_normal_rows():
    X, y = np.vstack([draw(), 100 + draw(30)]), np.repeat([1, -1], [120, 30])
    gaussian = MahalanobisDetector("empirical")  # no scale moves it
    line = make_pipeline(NormalRowsOnly(StandardScaler()), clone(gaussian)).fit(X, y)
    np.testing.assert_allclose(line[0].estimator_.mean_, X[:120].mean(axis=0))
    np.testing.assert_allclose(line.score_samples(X), gaussian.fit(X, y).score_samples(X))
    detector = NormalRowsOnly(LocalOutlierFactor(novelty=True)).fit(X, y)
    assert (detector.predict(X[120:]) == -1).all()
    assert not hasattr(NormalRowsOnly(StandardScaler()), "score_samples")
    assert not hasattr(detector, "transform")
