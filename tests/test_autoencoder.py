"""The trained baseline: what it learns, what its scores are, and what a file holds."""

import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage

from skgad import FPRThresholdCV
from skgad.deep import AutoencoderDetector
from skgad.deep.training._autoencoder import find_largest_threshold
from skgad.deep.training._autoencoder_network import AutoencoderNetwork
from skgad.exceptions import ImageError

SIDE = 32


def draw_images(n_images=20, seed=0):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, SIDE)[:, np.newaxis, np.newaxis]
    return np.clip(ramp + rng.normal(0, 4, size=(n_images, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained():
    options = {"learning_rate": 3e-3, "batch_size": 16, "max_epochs": 8, "patience": 8, "fpr": 0.2}
    return AutoencoderDetector(image_size=SIDE, **options).fit(draw_images(40))


def test_it_learns_to_draw_normal_images_and_not_others(trained):
    history = trained.history_
    assert history["criterion"].max() > history["criterion"].iloc[0] / 3  # an error is a negative criterion
    normal, odd = draw_images(10, seed=1), draw_images(10, seed=2)
    odd[:, 8:20, 8:20] = [255, 0, 0]
    assert trained.score_samples(odd).max() < trained.score_samples(normal).min()
    assert (trained.predict(odd) == -1).all()
    assert (trained.predict(normal) == -1).mean() <= 0.5


def test_a_map_is_the_squared_error_and_the_score_its_mean(trained):
    images = draw_images(3, seed=1)
    maps = trained.score_maps(images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    model = trained._find_network().model.eval()
    with torch.no_grad():
        expected = np.square(model(x).numpy() - x.numpy()).mean(axis=1)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(trained.score_samples(images), -maps.mean(axis=(1, 2)), rtol=1e-5)


def test_the_largest_threshold_is_that_of_a_search_through_all():
    rng = np.random.default_rng(0)
    for seed in range(5):
        one = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 24)), 1.5)
        min_area = int(rng.integers(1, 60))
        expected = one.min()
        for threshold in np.linspace(one.min(), one.max(), 1000):
            labels, count = ndimage.label(one >= threshold, structure=np.ones((3, 3)))
            if count and np.bincount(labels.ravel())[1:].max() >= min_area:
                expected = threshold
        assert find_largest_threshold(one, min_area) == pytest.approx(expected)
    diagonal = np.eye(6)
    assert find_largest_threshold(diagonal, 6) == 1.0


def test_cca_scores_regions(trained):
    by_region = AutoencoderDetector(image_size=SIDE, score="cca", min_area=9, max_epochs=0).fit(draw_images())
    images = draw_images(4, seed=1)
    expected = [-find_largest_threshold(one, 9) for one in by_region.score_maps(images)]
    np.testing.assert_allclose(by_region.score_samples(images), expected)


def test_the_decoder_gives_images_of_the_size_it_got():
    for side in (32, 64, 96):
        x, reconstruction = AutoencoderNetwork(side, torch.device("cpu"), 0)(torch.zeros(2, 3, side, side))
        assert x.shape == reconstruction.shape == (2, 3, side, side)
        assert 0 <= reconstruction.min() <= reconstruction.max() <= 1


def test_the_seed_decides_and_a_pickle_gives_the_same(trained):
    images = draw_images()
    one, again, other = (
        AutoencoderDetector(image_size=SIDE, max_epochs=1, random_state=seed).fit(images) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.score_samples(images), again.score_samples(images))
    assert not np.array_equal(one.score_samples(images), other.score_samples(images))
    loaded = pickle.loads(pickle.dumps(trained))
    np.testing.assert_allclose(loaded.score_samples(images), trained.score_samples(images), rtol=1e-6)
    assert trained.offset_ == loaded.offset_


def test_training_stops_when_held_out_images_are_drawn_no_better():
    detector = AutoencoderDetector(image_size=SIDE, learning_rate=0.3, patience=1).fit(draw_images())
    kept = int(detector.history_.loc[detector.history_["kept"], "epoch"].iloc[0])
    assert len(detector.history_) == kept + 1 + 1
    assert kept == detector.history_["criterion"].idxmax()
    assert not set(detector.train_rows_) & set(detector.validation_rows_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_size": 100}, "image_size must be a multiple of 32"),
        ({"score": "max"}, "score must be 'mean' or 'cca'"),
        ({"score": "cca"}, "min_area must be a positive int"),
        ({"learning_rate": -1.0}, "learning_rate must be a non-negative number"),
        ({"validation_fraction": 0}, "validation_fraction must be a share"),
        ({"fpr": 2}, r"fpr must lie in \(0, 1\)"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderDetector(**{"image_size": SIDE, "max_epochs": 0, **params}).fit(draw_images())


def test_bad_images_are_refused_and_a_working_point_is_set_behind_it(trained, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        trained.score_samples([tmp_path / "bad.png"])
    from sklearn.frozen import FrozenEstimator

    images = draw_images(60, seed=7)
    calibrated = FPRThresholdCV(FrozenEstimator(trained), fpr=0.1).fit(images[:30])
    assert (calibrated.predict(images[30:]) == -1).mean() < 0.4
