import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, f, norm
from sklearn.pipeline import make_pipeline

from skgad import NPCA, FPRThreshold, MahalanobisDetector, sigma_to_fpr
from skgad.exceptions import WorkingPointWarning


def distances(columns, n_samples=5000, seed=0):
    return pd.DataFrame(np.random.default_rng(seed).uniform(0, 9, size=(n_samples, len(columns))), columns=columns)


def quiet_fit(X, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WorkingPointWarning)
        return FPRThreshold(**params).fit(X)


@pytest.mark.parametrize("name", ["chi3", "level7__chi3", "level7__npca_chi3", "npca_chi3", "left__level7__chi3"])
def test_degrees_of_freedom_come_from_the_name(name):
    threshold = quiet_fit(distances([name]), fpr=0.02)
    assert threshold.dof_.tolist() == [3]
    assert threshold.offset_ == pytest.approx(-np.sqrt(chi2.ppf(0.98, 3)))


@pytest.mark.parametrize("name", ["level7__dist3", "level7__chi", "chi3__level7", "level7__mychi3", "distance"])
def test_other_names_need_dof(name):
    X = distances([name])
    with pytest.raises(ValueError, match=f"degrees of freedom of column '{name}'"):
        FPRThreshold().fit(X)
    assert quiet_fit(X, dof=3).dof_.tolist() == [3]


def test_an_array_needs_dof():
    with pytest.raises(ValueError, match="a column without a name"):
        FPRThreshold().fit(distances(["a"]).to_numpy())


def test_levels_sum_their_quantiles():
    with pytest.warns(WorkingPointWarning, match="2 levels are summed"):
        threshold = FPRThreshold(fpr=0.02).fit(distances(["level1__chi3", "level2__chi8"]))
    assert threshold.offset_ == pytest.approx(-np.sqrt(chi2.ppf(0.98, 3)) - np.sqrt(chi2.ppf(0.98, 8)))


def test_prediction_is_by_the_sum_of_distances():
    X = distances(["level1__chi3", "level2__chi8"])
    threshold = quiet_fit(X, fpr=0.02)
    np.testing.assert_allclose(threshold.score_samples(X), -X.sum(axis=1))
    np.testing.assert_array_equal(threshold.predict(X), np.where(X.sum(axis=1) > -threshold.offset_, -1, 1))


def test_it_equals_the_detectors_own_threshold():
    X = np.random.default_rng(0).normal(size=(4000, 3))
    pipe = make_pipeline(MahalanobisDetector(), FPRThreshold(fpr=0.03)).fit(X)
    detector = MahalanobisDetector(fpr=0.03).fit(X)
    np.testing.assert_allclose(pipe.decision_function(X), detector.decision_function(X), rtol=1e-10)


def test_it_warns_behind_npca():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 4)), columns=[f"level1__{i}" for i in range(4)])
    with pytest.warns(WorkingPointWarning, match="NPCA chose its directions"):
        make_pipeline(NPCA(2), MahalanobisDetector(), FPRThreshold()).fit(X)


def test_it_warns_when_hotellings_law_says_so():
    n_samples, dof, fpr = 300, 30, 0.01
    expected = f.sf(chi2.ppf(1 - fpr, dof) * (n_samples - dof) / (dof * (n_samples + 1)), dof, n_samples - dof)
    with pytest.warns(WorkingPointWarning, match=f"would reach {expected:.2g} with 300 normal images"):
        FPRThreshold(fpr).fit(distances(["level1__chi30"], n_samples))
    with pytest.warns(WorkingPointWarning, match="30 normal images do not determine"):
        FPRThreshold(fpr).fit(distances(["level1__chi30"], 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FPRThreshold(fpr).fit(distances(["level1__chi30"], 5000))


def test_only_normal_rows_count_as_images():
    with pytest.warns(WorkingPointWarning, match="30 normal images"):
        FPRThreshold().fit(distances(["level1__chi30"], 5000), np.repeat([1, -1], [30, 4970]))


@pytest.mark.parametrize("dof", [0, 2.5, [1, 2, 3], "3", [[3]], np.array([], dtype=int)])
def test_bad_dof_is_refused(dof):
    with pytest.raises(ValueError, match="dof must be"):
        FPRThreshold(dof=dof).fit(distances(["a", "b"]))


def test_scores_instead_of_distances_are_refused():
    X = -distances(["level1__chi3"])
    with pytest.raises(ValueError, match="scores have the other sign"):
        FPRThreshold().fit(X)


def test_a_failed_fit_leaves_the_threshold_as_it_was():
    X = distances(["level1__chi3"])
    threshold = quiet_fit(X)
    with pytest.raises(ValueError, match="degrees of freedom"):
        threshold.fit(distances(["level1__chi3", "level1__dist3"]))
    assert threshold.predict(X).shape == (5000,)


def test_bad_fpr_is_refused():
    with pytest.raises(ValueError, match=r"1 % is 0\.01"):
        FPRThreshold(fpr=1).fit(distances(["chi3"]))


def test_sigma_stands_for_both_tails_of_a_normal_variable():
    for n in (0.1, 1, 2.5, 5, np.float32(8), 37):
        assert sigma_to_fpr(n) == pytest.approx(2 * norm.sf(float(n)), rel=1e-12)


def test_one_to_five_sigma_are_the_targets_of_table_iv():
    published = ["31.7", "4.6", "0.3", "6e-03", "6e-05"]
    formats = [".1f", ".1f", ".1f", ".0e", ".0e"]
    assert [format(100 * sigma_to_fpr(n), form) for n, form in enumerate(formats, start=1)] == published


@pytest.mark.parametrize("n", [0, -1, 39, np.inf, np.nan, "3", None, True])
def test_sigmas_without_a_rate_are_refused(n):
    with pytest.raises(ValueError, match=r"standard deviations in \(0, 38\]"):
        sigma_to_fpr(n)
