"""The subspace detector: residuals by scikit-learn's PCA, on random maps, tokens and real features."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from skgad import DeepFeatureTransformer, FPRThresholdCV
from skgad._gaussian._places import PlaceSums
from skgad._gaussian._subspaces import find_residual
from skgad.deep import MaskedImage, level_table
from skgad.deep._rotation import rotate
from skgad.exceptions import ImageError
from skgad.spatial import SpatialSubspaceDetector

from .conftest import LITE0


def net(**options):
    return DeepFeatureTransformer(LITE0, **{"levels": [4, 6], "image_size": 64, **options})


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(100, 130, size=(12, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("explained", [0.5, 0.9, 0.99])
def test_residuals_are_those_of_a_pca(explained):
    rng = np.random.default_rng(0)
    maps = (rng.normal(size=(30, 4, 5, 12)) @ rng.normal(size=(12, 12)) + 3).astype(np.float32)
    sums = PlaceSums.begin(maps[:5], "global")
    sums.add(maps)
    residual = find_residual(sums, explained)
    pca = PCA(n_components=explained, svd_solver="full").fit(maps.reshape(-1, 12).astype(float))
    assert len(residual.axes) == pca.n_components_
    new = rng.normal(size=(3, 4, 5, 12)).astype(np.float32)
    rows = new.reshape(-1, 12).astype(float)
    expected = np.linalg.norm(rows - pca.inverse_transform(pca.transform(rows)), axis=1)
    np.testing.assert_allclose(residual.distances(new).ravel(), expected, rtol=1e-4)


def test_a_detector_is_the_residuals_of_its_maps(images):
    detector = SpatialSubspaceDetector(net(), explained=0.9, top_share=0.1, smoothing=0).fit(images)
    rows = [level.reshape(-1, level.shape[-1]) for level in next(net(batch_size=12).fit(images).iter_maps(images))[1]]
    scores = []
    for level in rows:
        pca = PCA(n_components=0.9, svd_solver="full").fit(level.astype(float))
        residual = np.linalg.norm(level - pca.inverse_transform(pca.transform(level)), axis=1).reshape(12, -1)
        count = max(1, round(0.1 * residual.shape[1]))
        scores.append(np.sort(residual, axis=1)[:, -count:].mean(axis=1))
    np.testing.assert_allclose(-detector.score_samples(images), np.mean(scores, axis=0), rtol=1e-3)
    assert detector.n_samples_seen_ == 12


@pytest.mark.parametrize("rotations", [0, 2])
@pytest.mark.parametrize("n_folds", [3, 40])
def test_folds_are_left_out_with_all_their_turns(rotations, n_folds):
    """By brute force: fits without the fold."""
    images = np.random.default_rng(1).integers(100, 130, size=(40 if n_folds == 40 else 6, 32, 32, 3), dtype=np.uint8)
    detector = SpatialSubspaceDetector(net(levels=[3], image_size=32), rotations=rotations)
    fold = np.arange(len(images)) % n_folds
    found, _ = detector.fit_score_out_of_fold(images, fold)
    for number in (0, 2):
        others = SpatialSubspaceDetector(net(levels=[3], image_size=32), rotations=rotations).fit(
            images[fold != number]
        )
        np.testing.assert_allclose(found[fold == number], others.score_samples(images[fold == number]), rtol=1e-3)
    assert detector.n_samples_seen_ == len(images)


def test_a_working_point_and_regions_stand_behind_it(images):
    inspector = FPRThresholdCV(SpatialSubspaceDetector(net(), rotations=1), fpr=0.2, cv=4).fit(images)
    spoilt = images[:1].copy()
    spoilt[0, 40:50, 10:30] = 255
    assert inspector.predict(spoilt).tolist() == [-1]
    assert len(inspector.regions(spoilt))


@pytest.mark.filterwarnings("ignore:weights=None:skgad.exceptions.WeightsWarning")
def test_tokens_of_a_vision_transformer_are_measured(images):
    features = DeepFeatureTransformer("test_vit", weights=None, levels=[4, 6], image_size=(64, 96))
    detector = SpatialSubspaceDetector(features).fit(images)
    assert detector.score_maps(images[:2]).shape == (2, 64, 96)


def test_the_default_is_a_network_that_timm_has_with_tokens_that_have_places():
    features = SpatialSubspaceDetector()._make_default_features()
    table = level_table(features.backbone)
    assert set(features.levels) <= set(table.index)
    assert set(table["reduction"]) == {14}
    assert features.image_size % 14 == 0


def test_a_quarter_turn_is_numpys():
    image = np.random.default_rng(0).integers(0, 256, size=(20, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(255 * rotate(image, 90), np.rot90(image), atol=0.01)
    wide = np.random.default_rng(0).integers(0, 256, size=(10, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(255 * rotate(wide, 180), wide[::-1, ::-1], atol=0.01)
    smooth = np.zeros((40, 80, 3), dtype=np.uint8)
    smooth[18:22, 58:62] = 200  # 20 pixels right of the middle
    turned = rotate(smooth, 30)[..., 0]
    row, column = np.array(np.nonzero(turned > 0.4)).mean(axis=1)
    assert (row, column) == pytest.approx((19.5 - 20 * np.sin(np.pi / 6), 39.5 + 20 * np.cos(np.pi / 6)), abs=0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"explained": 1.0}, "explained"), ({"rotations": -1}, "rotations"), ({"top_share": 0}, "top_share")],
)
def test_parameters_out_of_range_are_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        SpatialSubspaceDetector(net(), **options).fit(images)


def test_what_shows_no_variance_is_refused():
    maps = np.full((3, 2, 2, 4), 7, dtype=np.float32)
    sums = PlaceSums.begin(maps, "global")
    sums.add(maps)
    with pytest.raises(np.linalg.LinAlgError, match="no variance"):
        find_residual(sums, 0.99)


def test_regions_of_interest_are_not_turned(images):
    masked = [MaskedImage(image, np.ones((64, 64))) for image in images[:3]]
    assert SpatialSubspaceDetector(net()).fit(masked).n_samples_seen_ == 3
    with pytest.raises(ImageError, match="not turned"):
        SpatialSubspaceDetector(net(), rotations=1).fit(masked)
