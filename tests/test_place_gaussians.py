"""What keeps the Gaussians of many places right where digits are few: still places, rows that left, moments."""

import numpy as np
import pytest

from skgad._gaussian._place_gaussians import estimate_places
from skgad._gaussian._places import PlaceSums, central_quartic, pooled_covariance
from skgad.spatial import SpatialMahalanobisDetector

from .test_spatial import ArrayMaps


def draw(n_images=60, places=(2, 3), n_channels=4, seed=0):
    rng = np.random.default_rng(seed)
    scales = np.linspace(1, 2, n_channels)
    return (rng.normal(size=(n_images, *places, n_channels)) * scales).astype(np.float32)


@pytest.mark.parametrize("share", [1e-6, 1e-5])
def test_a_still_place_is_measured_by_what_all_places_share(share):
    """It varies by a hundredth of what others do, or less: its own covariance would call any change a defect."""
    maps = draw()
    maps[:, 0, 0] *= np.sqrt(share)
    local, tied = (PlaceSums.begin(maps, kind) for kind in ("local", "tied"))
    for sums in (local, tied):
        sums.add(maps)
    changed = maps[:5] + np.float32(1)
    own, shared = estimate_places(local).distances(changed), estimate_places(tied).distances(changed)
    np.testing.assert_allclose(own[:, 0, 0], shared[:, 0, 0], rtol=1e-2)  # exactly but for the intensity's one term
    assert not np.allclose(own[:, 1, 1], shared[:, 1, 1], rtol=1e-2)


@pytest.mark.parametrize("kind", ["tied", "local", "global"])
def test_what_has_left_leaves_no_direction_of_rounding(kind):
    """A channel that only the images varied which were taken out again is constant, whatever its sums still hold."""
    maps, large = draw(), draw(3, seed=1)
    maps[..., 0] = 0.5
    large[..., 0] = 1e6 * np.arange(1, 4)[:, np.newaxis, np.newaxis]
    sums = PlaceSums.begin(maps - np.float32([0.3, 0, 0, 0]), kind)  # away from the pivot there is something to round
    part = sums.empty()
    sums.add(maps)
    sums.add(large)
    part.add(large)
    found = estimate_places(sums.remove(part), n_components=1.0)
    assert (found.n_kept == 3).all()


def test_the_fourth_moment_is_never_less_than_any_rows_could_have():
    """Far from the pivot the one term that a tied Gaussian does not keep is off by more than all the rest."""
    rng = np.random.default_rng(0)
    maps = np.zeros((50, 1, 2, 2), dtype=np.float32)
    maps[:, 0, 0, 0], maps[:, 0, 1, 1] = rng.normal(size=(2, 50))
    sums = PlaceSums.begin(maps - [30.0, 0.0], "tied")  # the first place moves along where the other does not vary
    sums.add(maps)
    rows = (maps - maps.mean(axis=0)).reshape(50, 2, 2) / sums.unit
    squares = np.square(rows).sum(axis=2)
    least = squares.sum(axis=0) ** 2 / 50  # Cauchy and Schwarz
    found = central_quartic(sums, pooled_covariance(sums))
    assert (found >= least * (1 - 1e-9)).all()
    assert found[0] == pytest.approx(least[0])  # here it is the bound that holds, not the sums


def test_parameters_hold_from_a_fit_to_the_next():
    maps = draw(20, (4, 4), 3)
    detector = SpatialMahalanobisDetector(features=ArrayMaps(), gaussian="tied", smoothing=2, pixel_fpr=0.05).fit(
        maps[:12]
    )
    detector.calibrate_pixels(maps[12:])
    expected = detector.score_samples(maps), detector.score_maps(maps), detector.predict_masks(maps), detector.offset_
    changed = {"smoothing": 0, "aggregate": "mean", "top_share": 0.5, "fpr": 0.5, "pixel_fpr": 0.5}
    detector.set_params(**changed, n_components=2, gaussian="local", standardize=False, neighborhood=1)
    got = detector.score_samples(maps), detector.score_maps(maps), detector.predict_masks(maps), detector.offset_
    for one, two in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one, two)
    detector.fit(maps[:12])
    assert not np.array_equal(detector.score_samples(maps), expected[0])
    assert not hasattr(detector, "pixel_threshold_")


def test_a_fit_leaves_alone_what_others_have_set():
    detector = SpatialMahalanobisDetector(features=ArrayMaps())
    detector.note_of_the_user = "line 3"
    assert detector.fit(draw(12, (4, 4), 3)).note_of_the_user == "line 3"
