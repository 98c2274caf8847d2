import copy

import numpy as np
import pandas as pd
import pytest
from joblib import dump, load
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf

from skgad import FPRThresholdCV, MahalanobisDetector, MahalanobisMixture, load_line, save_line
from skgad.exceptions import WorkingPointWarning


def draw(sizes=(60, 40), n_features=6, step=8.0, seed=0):
    """Rows of several modes of one covariance, in columns of two levels."""
    rng = np.random.default_rng(seed)
    scales = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0] * np.logspace(0.3, -0.7, n_features)
    rows = [rng.normal(size=(size, n_features)) @ scales + at * step for at, size in enumerate(sizes)]
    names = [f"level{1 + index // 3}__{index:04d}" for index in range(n_features)]
    return pd.DataFrame(np.vstack(rows), columns=names), np.repeat(np.arange(len(sizes)), sizes)


def naive_tied(X, modes):
    """The covariance of rows less the mean of their mode, of each level, by scikit-learn."""
    rows = X - np.array([X[modes == mode].mean(axis=0) for mode in range(modes.max() + 1)])[modes]
    return [ledoit_wolf(rows[:, level], assume_centered=True)[0] for level in (slice(0, 3), slice(3, 6))]


def naive_distances(X, means, covariances):
    total = 0
    for level, covariance in zip((slice(0, 3), slice(3, 6)), covariances, strict=True):
        difference = X[:, np.newaxis, level] - means[np.newaxis, :, level]
        total = total + np.sqrt(np.einsum("ijk,kl,ijl->ij", difference, np.linalg.inv(covariance), difference))
    return total


def test_tied_distances_are_those_of_a_naive_twin():
    X, modes = draw()
    mixture = MahalanobisMixture(2, random_state=0).fit(X)
    found = mixture.find_modes(X)
    assert len(set(zip(found, modes, strict=True))) == 2  # the same modes, whatever they are called
    values = X.to_numpy()
    means = np.array([values[found == mode].mean(axis=0) for mode in (0, 1)])
    np.testing.assert_allclose(mixture.locations_, means)
    expected = naive_distances(values, means, naive_tied(values, found))
    np.testing.assert_allclose(mixture.transform(X), expected)
    np.testing.assert_allclose(mixture.score_samples(X), -expected.min(axis=1))
    assert list(mixture.transform(X).columns) == ["mode0__dist6", "mode1__dist6"]


def test_a_covariance_each_is_a_detector_each():
    X, _ = draw()
    mixture = MahalanobisMixture(2, tied=False, random_state=0).fit(X)
    found = mixture.find_modes(X)
    for mode in (0, 1):
        detector = MahalanobisDetector().fit(X[found == mode])
        np.testing.assert_allclose(mixture.transform(X).iloc[:, mode], -detector.score_samples(X))


@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize("tied", [True, False])
def test_one_mode_is_the_detector(levels, tied):
    X, _ = draw((50,))
    mixture = MahalanobisMixture(1, levels=levels, tied=tied).fit(X)
    detector = MahalanobisDetector(levels=levels).fit(X)
    np.testing.assert_allclose(mixture.score_samples(X), detector.score_samples(X))
    assert mixture.offset_ == pytest.approx(detector.offset_)
    left_out = detector.leave_one_out_scores(X)
    np.testing.assert_allclose(mixture.leave_one_out_scores(X), left_out, rtol=3e-2 if tied else 1e-9)


@pytest.mark.parametrize("sizes", [(80,), (60, 40), (40, 40, 40), (90, 8)])
def test_the_number_of_modes_is_found(sizes):
    X, _ = draw(sizes)
    mixture = MahalanobisMixture(random_state=0).fit(X)
    assert sorted(mixture.mode_sizes_.tolist()) == sorted(sizes)
    assert mixture.n_modes_ == len(sizes)
    assert len(mixture.log_likelihoods_) >= len(sizes)


def test_log_likelihoods_are_of_rows_that_were_not_seen():
    X, modes = draw((50, 50), step=4.0)
    mixture = MahalanobisMixture(random_state=0).fit(X)
    values = X.to_numpy()
    means, covariance = (
        [values[modes == mode].mean(axis=0) for mode in (0, 1)],
        np.cov((values - np.array([values[modes == mode].mean(axis=0) for mode in (0, 1)])[modes]).T),
    )
    inverse, sign = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
    logs = [-0.5 * (np.einsum("ij,jk,ik->i", values - mean, inverse, values - mean) + sign) for mean in means]
    in_sample = (logsumexp(logs, axis=0) - np.log(2) - 3 * np.log(2 * np.pi)).mean()
    scale = sum(np.log(X.iloc[:, level].var(ddof=0).sum()) * 1.5 for level in (slice(0, 3), slice(3, 6)))
    assert mixture.log_likelihoods_[1] < in_sample + scale  # in the units of the search, without the luck of the fit
    assert mixture.log_likelihoods_[1] > in_sample + scale - 1
    assert mixture.log_likelihoods_[0] < mixture.log_likelihoods_[1]


@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n_features", [6, 150])
def test_leave_one_out_equals_refits_with_the_modes_held(levels, tied, n_features, monkeypatch):
    X, _ = draw((30, 20), n_features)
    mixture = MahalanobisMixture(2, levels=levels, tied=tied, random_state=0).fit(X)
    found, left_out = mixture.find_modes(X), mixture.leave_one_out_scores(X)
    for row in (0, 7, 31, 49):
        others = np.delete(np.arange(len(X)), row)
        refit = clone(mixture)
        monkeypatch.setattr("skgad._detectors._modes.ModeFinder.find", lambda self, X, found=found[others]: found)
        refit.fit(X.iloc[others])
        monkeypatch.undo()
        expected = refit.score_samples(X.iloc[[row]])[0]
        assert left_out[row] == pytest.approx(expected, rel=3e-2 if tied else 1e-7)


@pytest.mark.parametrize("levels", ["each", "joint"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n_features", [6, 300])
def test_streams_are_exact(levels, tied, n_features):
    X, _ = draw((60, 40), n_features)
    more, _ = draw((10, 5), n_features, seed=1)
    mixture = MahalanobisMixture(2, levels=levels, tied=tied, random_state=0).fit(X)
    before = mixture.score_samples(more)
    other = copy.deepcopy(mixture)
    mixture.partial_fit(more.iloc[:7]).partial_fit(more.iloc[7:])
    assert mixture.mode_sizes_.sum() == mixture.n_samples_seen_ == 115
    both = pd.concat([X, more])
    found = mixture.find_modes(both)
    for mode in (0, 1):
        np.testing.assert_allclose(mixture.locations_[mode], both[found == mode].mean(), atol=1e-9)
    if tied and levels == "each" and n_features == 6:
        expected = naive_distances(both.to_numpy(), mixture.locations_, naive_tied(both.to_numpy(), found))
        np.testing.assert_allclose(mixture.transform(both), expected)
    assert not np.allclose(mixture.score_samples(more), before)
    np.testing.assert_allclose(mixture.forget(more).score_samples(more), before, rtol=1e-6)
    doubled = other.merge(copy.deepcopy(other))
    np.testing.assert_array_equal(doubled.mode_sizes_, 2 * mixture.mode_sizes_)


def test_a_threshold_rests_on_left_out_scores_and_can_be_one_for_each_mode():
    X, _ = draw((300, 150))
    detector = FPRThresholdCV(MahalanobisMixture(2, random_state=0), fpr=0.1).fit(X)
    assert np.isfinite(detector.inflation_)
    np.testing.assert_allclose(detector.out_of_fold_scores_, detector.estimator_.leave_one_out_scores(X))
    modes = detector.estimator_.find_modes(X)
    by_mode = FPRThresholdCV(MahalanobisMixture(2, random_state=0), fpr=0.1).fit(X, categories=modes)
    assert set(by_mode.offsets_) == {0, 1}
    alarms = by_mode.predict(X, categories=modes) == -1
    for mode in (0, 1):
        assert alarms[modes == mode].mean() <= 0.1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_modes": 0}, "n_modes must be a positive int or None"),
        ({"n_modes": 1.5}, "n_modes must be a positive int or None"),
        ({"covariance": "full"}, "covariance must be one of"),
        ({"levels": "both"}, "levels must be"),
        ({"tied": 1}, "tied must be True or False"),
        ({"fpr": 2}, "fpr must lie in"),
        ({"n_modes": 12}, r"mode \d+ of 12 has \d of 40 images, and a mode takes 5 at least"),
    ],
)
def test_what_is_out_of_range_is_refused(parameters, message):
    X, _ = draw((20, 20))
    with pytest.raises(ValueError, match=message):
        MahalanobisMixture(**{"random_state": 0, **parameters}).fit(X)


def test_a_tiny_mode_is_refused_by_name_and_not_chosen():
    X, _ = draw((60, 2), step=30.0)
    with pytest.raises(ValueError, match=r"mode \d of 2 has 2 of 62 images"):
        MahalanobisMixture(2, random_state=0).fit(X)
    assert MahalanobisMixture(random_state=0).fit(X).n_modes_ == 1


def test_a_singular_mode_is_named():
    X, _ = draw((60, 6))
    with pytest.raises(ValueError, match=r"mode \d: .*singular"):
        MahalanobisMixture(2, covariance="empirical", levels="joint", tied=False, random_state=0).fit(X)


def test_updates_that_do_not_fit_are_refused():
    X, _ = draw()
    mixture = MahalanobisMixture(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="covariance, levels or tied were changed since the fit"):
        copy.deepcopy(mixture).set_params(tied=False).partial_fit(X)
    with pytest.raises(ValueError, match="have not found the same modes"):
        mixture.merge(MahalanobisMixture(2, random_state=0).fit(X.iloc[5:]))
    with pytest.raises(ValueError, match="merge takes another MahalanobisMixture"):
        mixture.merge(MahalanobisDetector().fit(X))
    with pytest.raises(ValueError, match=r"mode \d: level\d: These rows were never learnt"):
        mixture.forget(X.iloc[:5] + 100)
    with pytest.raises(ValueError, match="takes the 100 rows that were learnt; got 99"):
        mixture.leave_one_out_scores(X.iloc[1:])
    with pytest.raises(ValueError, match="leaves no single rows out"):
        MahalanobisMixture(2, covariance="diagonal", random_state=0).fit(X).leave_one_out_scores(X)
    assert mixture.n_samples_seen_ == 100


def test_rows_labelled_anomalous_are_left_out():
    X, modes = draw((60, 40, 10), step=8.0)
    y = np.where(modes == 2, -1, 1)
    mixture = MahalanobisMixture(random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        mixture.score_samples(X), MahalanobisMixture(random_state=0).fit(X[y == 1]).score_samples(X)
    )
    scores = mixture.leave_one_out_scores(X, y)
    np.testing.assert_array_equal(scores[y == -1], mixture.score_samples(X[y == -1]))


def test_the_chi_square_threshold_is_doubted():
    X, _ = draw()
    with pytest.warns(WorkingPointWarning, match="of several distances the least is taken"):
        MahalanobisMixture(2, random_state=0).fit(X).predict(X)


def test_it_is_saved_and_read_again(tmp_path):
    X, _ = draw()
    detector = FPRThresholdCV(MahalanobisMixture(random_state=0), fpr=0.1).fit(X)
    dump(detector, tmp_path / "line.joblib")
    save_line(detector, tmp_path / "line.skgad")
    for again in (load(tmp_path / "line.joblib"), load_line(tmp_path / "line.skgad")):
        np.testing.assert_allclose(again.score_samples(X), detector.score_samples(X))
        more, _ = draw((3, 3), seed=5)
        again.update(more)
        assert again.estimator_.n_samples_seen_ == 106
