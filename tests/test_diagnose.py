import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.covariance import ledoit_wolf_shrinkage

from skgad.inspection import diagnose


def draw(n_samples=200, n_features=24, seed=0):
    X = np.random.default_rng(seed).normal(size=(n_samples, n_features)) * np.logspace(0.5, -0.5, n_features)
    width = n_features // 2
    return pd.DataFrame(X, columns=[f"level{1 + at // width}__{at % width:04d}" for at in range(n_features)])


def test_independent_images_count_as_many_as_they_are():
    found = diagnose(draw())
    assert found.effective_number == 200
    assert found.repeats == []
    assert found.dominating.empty
    assert (found.levels["effective_number"] > 150).all()
    assert str(found) == "200 images: none repeats or outweighs others, and every level tells something."


def test_bursts_of_one_part_are_found_and_count_as_one():
    X = draw()
    noise = np.random.default_rng(1).normal(size=(9, 24)) * 0.1 * X.std().to_numpy()
    X.iloc[100:106] = X.iloc[100].to_numpy() + noise[:6]
    X.iloc[[3, 50, 199]] = X.iloc[3].to_numpy() + noise[6:]
    found = diagnose(X)
    assert [group.tolist() for group in found.repeats] == [[100, 101, 102, 103, 104, 105], [3, 50, 199]]
    assert found.effective_number == pytest.approx(200 - 9 + 2)
    assert "9 of 200 images are nearly the same as another, in 2 groups (the largest: images 100, 101" in str(found)


def test_repeats_are_those_of_a_naive_twin():
    X = draw(60)
    X.iloc[40:] = X.iloc[:20].to_numpy() + 0.2 * draw(20, seed=2).to_numpy()
    rows = X.to_numpy() - X.to_numpy().mean(axis=0)
    for level in (slice(0, 12), slice(12, 24)):
        rows[:, level] /= np.sqrt(rows[:, level].var(axis=0).sum())
    squares = squareform(pdist(rows)) ** 2
    near = np.quantile(squares, 0.1, axis=1)
    alike = squares <= 0.1 * np.sqrt(np.outer(near, near))
    assert diagnose(X).effective_number == pytest.approx((1 / alike.sum(axis=1)).sum())


def test_products_are_no_repeats_of_each_other():
    X = pd.concat([draw(100), draw(100, seed=1) + 50], ignore_index=True)
    assert diagnose(X).repeats == []


def test_an_image_that_outweighs_others_is_named_with_its_level():
    X = draw()
    X.iloc[17, :12] *= 8
    found = diagnose(X)
    assert found.dominating[["image", "level"]].to_numpy().tolist() == [[17, "level1"]]
    centred = X.iloc[:, :12] - X.iloc[:, :12].mean()
    share = (centred.iloc[17] ** 2).sum() / (centred**2).to_numpy().sum()
    assert found.dominating["share"][0] == pytest.approx(share)
    assert "Image 17 outweighs others: image 17 makes up" in str(found)
    assert "level 1" in str(found)


def test_heavy_tails_lower_the_number_that_tells_the_covariance():
    rng = np.random.default_rng(0)
    gaussian, heavy = rng.normal(size=(2000, 10)), rng.standard_t(3, size=(2000, 1)) * rng.normal(size=(2000, 10))
    assert diagnose(gaussian).levels["effective_number"][0] > 1800
    found = diagnose(heavy)
    assert found.levels["effective_number"][0] < 500
    assert "Heavy tails in 1 of 1 levels" in str(found)


def test_shrinkage_is_that_of_scikit_learn():
    X = draw()
    expected = [ledoit_wolf_shrinkage(X.iloc[:, level]) for level in (slice(0, 12), slice(12, 24))]
    np.testing.assert_allclose(diagnose(X).levels["shrinkage"], expected)
    np.testing.assert_allclose(diagnose(X.iloc[:10]).levels["shrinkage"][0], ledoit_wolf_shrinkage(X.iloc[:10, :12]))


def test_levels_and_features_without_information_are_named():
    X = draw()
    X.iloc[:, 12:] = 3.25
    X.iloc[:, 0] = 0.0
    found = diagnose(X)
    assert found.levels["n_constant"].tolist() == [1, 12]
    assert "Level 2 tells nothing: its features are the same for all images. Leave it out." in found.sentences
    assert "Features that are the same for all images: 1 of 12 of level 1." in found.sentences


def test_a_covariance_of_noise_is_told():
    assert "can hardly be told from noise" in str(diagnose(np.random.default_rng(0).normal(size=(30, 200))))


def test_positions_are_those_of_the_caller():
    X = draw()
    X.iloc[150] *= 10
    y = np.where(np.arange(200) < 20, -1, 1)
    found = diagnose(X, y)
    assert found.n_samples == 180
    assert found.dominating["image"].tolist() == [150] * len(found.dominating)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 3)), "three normal images at least"),
        (np.full((5, 3), np.nan), "finite"),
        (np.zeros(5), "table"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        diagnose(X)
