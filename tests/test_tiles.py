"""Rectangles and tiles: every pixel is covered, and a map of tiles is that of the photograph, without seams."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skgad import CellwiseDetector, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad._images._tiles import TiledMap, Tiling, read_tiles
from skgad.deep import Backbone, FineTuner
from skgad.exceptions import BackboneError, ImageError, ImageWarning
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector

from .conftest import LITE0


def net(levels=(4, 6), **options):
    return DeepFeatureTransformer(LITE0, levels=list(levels), **options)


@pytest.fixture(scope="module")
def cloth():
    """Sixteen photographs of 104 x 168 pixels, of threads that lie anywhere."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:104, :168].astype(np.float32)
    return (
        np.stack(
            [
                150
                + 25
                * np.sin(2 * np.pi * (column + rng.uniform(0, 99)) / 9)
                * np.sin(2 * np.pi * (row + rng.uniform(0, 99)) / 7)
                + rng.normal(0, 9, row.shape)
                for _ in range(16)
            ]
        )
        .clip(0, 255)
        .astype(np.uint8)[..., np.newaxis]
        .repeat(3, axis=-1)
    )


@pytest.mark.parametrize("size", [(200, 330), (64, 500), (31, 40), (128, 128), (129, 128)])
@pytest.mark.parametrize("overlap", [0, 32, 64])
def test_tiles_cover_every_pixel_and_overlap_as_they_should(size, overlap):
    tiling = Tiling.lay_out(size, (128, overlap), 32)
    covered = np.zeros(tiling.padded, dtype=int)
    for top, left in tiling.corners:
        assert top % 32 == left % 32 == 0
        covered[top : top + tiling.shape[0], left : left + tiling.shape[1]] += 1
    assert covered.min() == 1
    assert 0 <= tiling.padded[0] - size[0] < 32
    for starts, length in zip((tiling.tops, tiling.lefts), tiling.shape, strict=True):
        assert all(before + length - after >= overlap for before, after in pairwise(starts))
    assert len(tiling.corners) == len(set(tiling.corners)) == len(tiling.cells)


def test_tiles_of_a_photograph_are_its_pixels_and_its_mirror_image_beyond_the_border():
    photograph = np.random.default_rng(0).integers(0, 256, size=(70, 100, 3), dtype=np.uint8)
    tiling = Tiling.lay_out((70, 100), (64, 16), 16)
    whole = np.pad(photograph, ((0, 10), (0, 12), (0, 0)), mode="symmetric")
    for top, left in tiling.corners:
        np.testing.assert_array_equal(tiling.cut(photograph, (top, left)), whole[top : top + 64, left : left + 64])


@pytest.mark.parametrize("overlap", [0, 16, 32, 64])
def test_a_map_that_is_cut_and_joined_is_what_it_was(overlap):
    tiling = Tiling.lay_out((200, 330), (128, overlap), 16)
    whole = np.random.default_rng(0).normal(size=[side // 16 for side in tiling.padded]).astype(np.float32)
    whole[3:5, 2:9] = np.nan
    joined = TiledMap(tiling)
    for top, left in tiling.corners:
        joined.add(whole[np.newaxis, top // 16 : top // 16 + 8, left // 16 : left // 16 + 8])
    assert joined.is_whole
    np.testing.assert_allclose(joined.join(), whole, rtol=1e-6)


def test_where_tiles_overlap_the_nearer_one_counts_more():
    tiling = Tiling.lay_out((16, 32), (16 + 8, 16 - 4), 4)  # two tiles of 16 x 24, 16 pixels shared
    joined = TiledMap(tiling)
    joined.add(np.zeros((1, 4, 6), dtype=np.float32))
    joined.add(np.ones((1, 4, 6), dtype=np.float32))
    np.testing.assert_allclose(joined.join()[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])


def test_features_of_a_tile_are_those_of_the_crop(cloth):
    features = net(tiles=(96, 32))
    found = features.fit_transform(cloth[:2])
    corners = features.find_tiling().corners
    crops = np.pad(cloth[:2], ((0, 0), (0, 24), (0, 24), (0, 0)), mode="symmetric")
    for tile, (top, left) in zip(features.find_tiling().cells, corners, strict=True):
        crop = crops[:, top : top + 96, left : left + 96]
        expected = net(image_size=96).fit_transform(crop)
        of_tile = found.filter(regex=f"__{tile}__")
        assert list(of_tile) == [name.replace("__", f"__{tile}__") for name in expected]
        np.testing.assert_allclose(of_tile, expected, rtol=1e-4, atol=1e-4)
    assert features.image_size_ == (104, 168)


def test_grids_within_tiles_have_columns_of_their_own(cloth):
    found = net(levels=[6], tiles=(96, 32), grid=(1, 2)).fit_transform(cloth[:1])
    assert list(found)[:1] == ["level6__tr0c0g1r0c0__0000"]
    assert list(found)[112:113] == ["level6__tr0c0g2r0c0__0000"]
    assert found.shape[1] == 6 * 5 * 112


def test_a_rectangle_is_seen_as_it_is(cloth):
    features = net(image_size=(104, 168)).fit(cloth[:2])
    (_, maps), *_ = features.iter_maps(cloth[:2])
    assert [level.shape[1:3] for level in maps] == [(13, 21), (7, 11)]
    assert features.find_box(400, 100) == (0, 0, 100, 400)


def test_tokens_of_a_rectangle_lie_where_they_belong():
    class Patches(torch.nn.Module):
        """Tokens that are the mean colour of patches of 8 pixels, behind a class token."""

        def __init__(self):
            super().__init__()
            self.tokens = torch.nn.Identity()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            patches = torch.nn.functional.avg_pool2d(x * self.scale, 8).flatten(2).transpose(1, 2)
            return self.tokens(torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1))

    backbone = Backbone(Patches(), ["tokens"], image_size=64, mean=(0, 0, 0), std=(1, 1, 1), n_prefix_tokens=1)
    image = np.random.default_rng(0).integers(0, 256, size=(1, 32, 80, 3), dtype=np.uint8)
    features = DeepFeatureTransformer(backbone, image_size=(32, 80)).fit(image)
    (_, (tokens,)), *_ = features.iter_maps(image)
    expected = image.reshape(1, 4, 8, 10, 8, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(tokens, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"shared": True}, {"gaussian": "tied"}, {"gaussian": "global", "shared": True}]
)
def test_maps_of_tiles_are_the_photographs_and_count_photographs(cloth, options):
    detector = SpatialMahalanobisDetector(net(tiles=(96, 32)), **options).fit(cloth[:8])
    assert detector.n_samples_seen_ == 8
    assert detector.score_maps(cloth[8:10]).shape == (2, 104, 168)
    holed = cloth[8:10].copy()
    holed[0, 60:70, 120:132] = 20
    maps, scores = detector.score_maps(holed), detector.score_samples(holed)
    assert scores[0] < 1.3 * scores[1]
    row, column = np.unravel_index(maps[0].argmax(), maps[0].shape)
    assert 52 <= row < 78
    assert 112 <= column < 140


def test_standardized_maps_of_tiles_have_no_seams(cloth):
    detector = SpatialMahalanobisDetector(net(tiles=(96, 32)), gaussian="global", shared=True).fit(cloth[:10])
    profile = detector.score_maps(cloth[10:]).astype(float).mean(axis=(0, 1))
    maps = detector.score_maps(cloth[10:])
    steps = np.abs(profile[8:] - profile[:-8]) / (np.quantile(maps, 0.99) - np.quantile(maps, 0.01))
    lefts = detector.features_.find_tiling().lefts
    borders = sorted({*lefts[1:], *(left + 96 for left in lefts[:-1])})
    at_borders = np.mean([steps[border - 8 : border + 1].mean() for border in borders])
    assert at_borders < steps.mean() + 0.02


def test_a_working_point_behind_tiles_counts_photographs(cloth):
    inspector = FPRThresholdCV(SpatialMahalanobisDetector(net(tiles=(96, 32)), shared=True), fpr=0.2, cv=4)
    inspector.fit(cloth[:12])
    assert len(inspector.estimator_.map_peaks_) == 12
    holed = cloth[12:14].copy()
    holed[0, 20:30, 30:42] = 20
    assert inspector.predict(holed)[0] == -1


def test_folds_of_photographs_are_left_out_with_all_their_tiles(cloth):
    """By brute force: fits without the fold."""
    fold = np.arange(6) % 2
    detector = SpatialMahalanobisDetector(net(tiles=(96, 32)), gaussian="global", shared=True, standardize=False)
    found, _ = detector.fit_score_out_of_fold(cloth[:6], fold)
    for number in (0, 1):
        others = SpatialMahalanobisDetector(net(tiles=(96, 32)), gaussian="global", shared=True, standardize=False)
        expected = others.fit(cloth[:6][fold != number]).score_samples(cloth[:6][fold == number])
        np.testing.assert_allclose(found[fold == number], expected, rtol=1e-3)


def test_shared_gaussians_learn_every_tile_as_an_image(cloth):
    """A detector of crops, which are images of their own, has the same Gaussians."""
    detector = SpatialMahalanobisDetector(net(tiles=(96, 32)), shared=True, standardize=False).fit(cloth[:4])
    tiling = detector.features_.find_tiling()
    crops = [tiling.cut(photograph, corner) for photograph in cloth[:4] for corner in tiling.corners]
    expected = SpatialMahalanobisDetector(net(image_size=96), standardize=False).fit(crops)
    for ours, theirs in zip(detector.location_, expected.location_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_partial_fit_goes_on_photograph_by_photograph(cloth):
    options = {"gaussian": "global", "shared": True, "standardize": False}
    whole = SpatialMahalanobisDetector(net(tiles=(96, 32)), **options).fit(cloth[:6])
    detector = SpatialMahalanobisDetector(net(tiles=(96, 32)), **options)
    for start in (0, 1, 3):
        detector.partial_fit(cloth[start : {0: 1, 1: 3, 3: 6}[start]])
    assert detector.n_samples_seen_ == 6
    np.testing.assert_allclose(detector.score_samples(cloth[6:8]), whole.score_samples(cloth[6:8]), rtol=1e-3)


def test_patches_of_tiles_are_kept_and_measured_together(cloth):
    detector = PatchNeighborsDetector(net(tiles=(96, 32)), coreset=0.02).fit(cloth[:4])
    holed = cloth[8:10].copy()
    holed[0, 60:70, 120:132] = 20
    scores = detector.score_samples(holed)
    assert scores.shape == (2,)
    assert scores[0] < scores[1]
    assert detector.score_maps(holed).shape == (2, 104, 168)


@pytest.mark.parametrize("shared", [False, True])
def test_a_cellwise_detector_of_tiles_finds_a_small_hole(cloth, shared):
    features = net(tiles=(96, 32))
    line = make_pipeline(features, CellwiseDetector(shared=shared)).fit(cloth[:12])
    holed = cloth[12:].copy()
    holed[0, 60:70, 120:132] = 20
    scores = line.score_samples(holed)
    assert scores[0] < scores[1:].min()
    detector = line[-1]
    assert detector.cells_ == line[0].find_tiling().cells
    assert (len({id(one) for one in detector.detectors_}) == 1) is shared


def test_a_shared_gaussian_leaves_out_all_cells_of_an_image_together(cloth):
    """By brute force: the scale of each tile, from fits without the image's fold."""
    X = net(levels=[6], tiles=(96, 32)).fit_transform(cloth[:10])
    detector = CellwiseDetector(MahalanobisDetector(covariance="diagonal"), shared=True).fit(X)
    parts = [X.filter(regex=f"__{cell}__").to_numpy() for cell in detector.cells_]
    for cell, part in enumerate(parts):
        distances = []
        for row in range(10):
            others = np.concatenate([np.delete(each, row, axis=0) for each in parts])
            one = MahalanobisDetector(covariance="diagonal").fit(others)
            distances.append(-one.score_samples(part[[row]])[0])
        np.testing.assert_allclose(detector.center_[cell], np.mean(distances), rtol=1e-6)
        np.testing.assert_allclose(detector.scale_[cell], np.std(distances), rtol=1e-5)


def test_a_share_of_the_tiles_is_averaged(cloth):
    X = net(levels=[6], tiles=(96, 32)).fit_transform(cloth[:10])
    detector = CellwiseDetector(top_share=0.5).fit(X)
    distances = -np.column_stack(
        [
            one.score_samples(X.filter(regex=f"__{cell}__"))
            for one, cell in zip(detector.detectors_, detector.cells_, strict=True)
        ]
    )
    deviations = np.sort((distances - detector.center_) / detector.scale_, axis=1)
    np.testing.assert_allclose(detector.score_samples(X), -deviations[:, 3:].mean(axis=1), rtol=1e-6)


def test_a_photograph_of_another_size_is_refused_and_resized_where_a_size_is_given(cloth):
    features = net(tiles=(96, 32)).fit(cloth[:1])
    small = cloth[:1, :60]
    with pytest.raises(ImageError, match=r"image 0 has 60 x 168 pixels.*image_size=\(104, 168\)"):
        features.transform(small)
    with pytest.warns(ImageWarning, match="60 x 168"):
        assert np.isnan(features.set_params(on_bad_image="nan").transform(small)).all(axis=None)
    resized = net(image_size=(104, 168), tiles=(96, 32))
    assert resized.fit_transform(small).shape == features.set_params(on_bad_image="raise").transform(cloth[:1]).shape


def test_own_sizes_are_known_after_the_fit_only(cloth, tmp_path):
    Image.fromarray(cloth[0]).save(tmp_path / "0.png")
    features = net(tiles=(96, 32))
    with pytest.raises(NotFittedError):
        features.transform(cloth[:1])
    features.fit([tmp_path / "0.png"])
    assert features.image_size_ == (104, 168)
    assert features.fit(cloth[:1, :90]).image_size_ == (90, 168)


def test_a_cache_knows_tiles_from_others(cloth, tmp_path):
    plain = net(tiles=(96, 32)).fit_transform(cloth[:2])
    for _ in range(2):
        cached = net(tiles=(96, 32), cache=tmp_path / "cache").fit_transform(cloth[:2])
        np.testing.assert_array_equal(cached, plain)
    other = net(tiles=(64, 32), cache=tmp_path / "cache").fit_transform(cloth[:2])
    assert other.shape != plain.shape


@pytest.mark.parametrize("tiles", [0, -1, "256", (128,), (128, 65), (128, -1), 1.5, True, (128, 32, 1)])
def test_what_are_no_tiles_is_refused(tiles):
    with pytest.raises(ValueError, match="tiles must be"):
        read_tiles(tiles)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiles": (100, 20)}, "multiple of 32.*96 is one"),
        ({"tiles": (64, 32), "image_size": 96, "resize": "timm"}, "one square of an image"),
        ({"image_size": (64, 96), "resize": "timm"}, "makes squares"),
        ({"image_size": (64,)}, "image_size must be"),
        ({"image_size": (64, 0)}, "image_size must be"),
    ],
)
def test_what_does_not_go_together_is_refused(cloth, options, message):
    with pytest.raises(ValueError, match=message):
        net(**options).fit(cloth[:1])


def test_a_tuner_refuses_tiles(cloth):
    with pytest.raises(ValueError, match="whole images, and features has tiles"):
        FineTuner(net(tiles=(96, 32))).fit(cloth[:4])


def test_maps_that_do_not_join_are_refused():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 4, stride=4), torch.nn.AdaptiveAvgPool2d(8))
    backbone = Backbone(module, ["0", "1"], image_size=32)
    features = DeepFeatureTransformer(backbone, tiles=(64, 0)).fit(np.zeros((1, 128, 128, 3), dtype=np.uint8))
    with pytest.raises(BackboneError, match="would join to a map"):
        list(features.iter_maps(np.zeros((1, 128, 128, 3), dtype=np.uint8)))


def test_cells_of_different_features_share_no_gaussian(cloth):
    X = net(levels=[6], tiles=(96, 32)).fit_transform(cloth[:4])
    X = X.drop(columns=list(X)[-1])
    with pytest.raises(ValueError, match="cells of the same features"):
        CellwiseDetector(shared=True).fit(X)
