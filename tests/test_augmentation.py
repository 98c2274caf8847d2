"""What augmentation may do to which category, and that its chance is an image's own."""

import numpy as np
import pytest
from scipy.stats import binom

from skgad.deep import AugmentedImages, _augmentation, augment

N = 1000


def arrow(side=32):
    """A dark image with a bright L in one corner: no turn or mirror image equals it."""
    image = np.full((side, side, 3), 20, dtype=np.uint8)
    image[4:16, 4:8] = 220
    image[12:16, 4:12] = 220
    return image


def find_orientations(category, n=N):
    """Count which of the eight orientations of the arrow each augmented image is closest to."""
    image = arrow()
    whole = [np.rot90(mirrored, turns) for mirrored in (image, image[:, ::-1]) for turns in range(4)]
    counts = np.zeros(8, dtype=int)
    for seed in range(n):
        altered = augment(image, np.random.default_rng(seed), category=category).astype(float)
        altered = altered - altered.mean()
        counts[np.argmax([np.sum(altered * (one - one.mean())) for one in whole])] += 1
    return counts[:4], counts[4:]


def test_half_of_the_images_stay_as_they_are():
    image = arrow()
    same = sum(np.array_equal(augment(image, np.random.default_rng(seed)), image) for seed in range(N))
    idle = 0.5 * 0.8 * 0.7 * 0.7 * 0.8 * 0.5 * (0.5 + 0.5 * 0.25) * 0.8  # no step comes, or a turn by nothing
    low, high = binom.interval(0.999, N, 0.5 + idle)
    assert low <= same <= high


def test_images_are_mirrored_and_turned_unless_that_makes_an_anomaly(monkeypatch):
    monkeypatch.setattr(_augmentation, "_move", lambda cv2, image, rng, recipe: image)  # other tests are about it
    plain, mirrored = find_orientations("hazelnut")
    for count, share in ((mirrored.sum(), 0.5 * 0.5), (plain[1:].sum(), 0.5 * 0.5 * 0.5 * 0.75)):
        low, high = binom.interval(0.999, N, share)
        assert low <= count <= high
    for category in ("metal_nut", "pill", "capsule", "screw"):
        plain, mirrored = find_orientations(category, 300)
        assert mirrored.sum() == 0
        assert plain[1:].sum() > 0
    plain, mirrored = find_orientations("transistor", 300)
    assert (plain[1:].sum(), mirrored[[1, 3]].sum()) == (0, 0)
    assert mirrored.sum() > 0


def find_angles(category):
    """Return the angles, from the second moments of a bar, of images that were neither turned nor mirrored further."""
    image = np.zeros((65, 65, 3), dtype=np.uint8)
    image[31:34, 12:53] = 255
    rows, columns = np.mgrid[-32:33, -32:33]
    angles = []
    for seed in range(N):
        weights = augment(image, np.random.default_rng(seed), category=category)[..., 1].astype(float)
        weights[weights < 128] = 0
        if weights.sum() == 0:
            continue
        weights /= weights.sum()
        y, x = rows - (rows * weights).sum(), columns - (columns * weights).sum()
        angle = 0.5 * np.arctan2(2 * (x * y * weights).sum(), (x * x * weights).sum() - (y * y * weights).sum())
        angles.append(np.degrees(angle))
    return np.abs((np.array(angles) + 45) % 90 - 45)  # as if there were no quarter turns


@pytest.mark.parametrize(("category", "most"), [("carpet", 45), ("bottle", 15), ("zipper", 15), ("grid", 0)])
def test_rotation_is_the_category_s(category, most):
    angles = find_angles(category)
    assert angles.max() < most + 2
    assert angles.max() > 0.8 * most


def test_grid_is_not_shifted_nor_enlarged():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[8:56, 8:56] = 200
    sizes = {}
    for category in ("grid", "carpet"):
        masks = [augment(image, np.random.default_rng(seed), category=category).max(axis=2) > 100 for seed in range(N)]
        sizes[category] = np.array([mask.sum() for mask in masks])
    assert sizes["grid"].max() <= 50 * 50  # blur and interpolation move the edge by a pixel
    assert sizes["grid"].min() < 47 * 47
    assert sizes["carpet"].max() > 51 * 51


def test_augmentation_is_the_generator_s_and_writes_nothing():
    image = arrow()
    before = image.copy()
    changed = 0
    for seed in range(50):
        one, two = (augment(image, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert (one.dtype, one.shape) == (np.uint8, image.shape)
        assert not np.shares_memory(one, image)
        changed += not np.array_equal(one, image)
    assert changed > 10
    np.testing.assert_array_equal(image, before)


def test_an_image_s_augmentation_does_not_depend_on_the_others(photographs):
    images = AugmentedImages(photographs, 32, pass_number=3, random_state=5)
    backwards = [images[position] for position in reversed(range(8))][::-1]
    fewer = AugmentedImages(photographs[:4], 32, pass_number=3, random_state=5)
    for position in range(4):
        np.testing.assert_array_equal(backwards[position], fewer[position])
    for other in ({"pass_number": 4, "random_state": 5}, {"pass_number": 3, "random_state": 6}):
        images_2 = AugmentedImages(photographs, 32, **other)
        assert any(not np.array_equal(backwards[position], images_2[position]) for position in range(8))


def test_images_of_another_form_are_refused():
    for image in (arrow().astype(float), arrow()[..., 0], arrow()[:20]):
        with pytest.raises(ValueError, match="uint8 of shape"):
            augment(image, np.random.default_rng(0))
