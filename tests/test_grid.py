"""Levels pooled over the cells of grids."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, MahalanobisDetector
from skgad.deep import Backbone, cache_info
from skgad.exceptions import BackboneError, WeightsError
from skgad.model_selection import LevelSelector

LITE0 = "tf_efficientnet_lite0"


def make(**parameters):
    return DeepFeatureTransformer(LITE0, **{"levels": [5, 6], "image_size": 75, **parameters})


def pool_by_hand(extractor, images, side, pool):
    """Return the cells of each level of numpy's slices: (n, side, side, channels) a level."""
    (_, maps), *_ = extractor.iter_maps(images)
    levels = []
    for level in maps:
        edges = [[(i * size // side, -(-(i + 1) * size // side)) for i in range(side)] for size in level.shape[1:3]]
        rows = [[level[:, a:b, c:d] for c, d in edges[1]] for a, b in edges[0]]
        levels.append(np.stack([np.stack([getattr(cell, pool)((1, 2)) for cell in row], 1) for row in rows], 1))
    return levels


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("side", [2, 3])
def test_a_cell_holds_the_locations_that_it_touches_whatever_the_size_of_the_map(photographs, pool, side):
    extractor = make(pool=pool, grid=side)
    found = extractor.fit_transform(photographs)
    for number, cells in zip((5, 6), pool_by_hand(make(), photographs, side, pool), strict=True):
        assert cells.shape[1] < 5  # 75 pixels: no multiple of 2 or 3 locations
        for row in range(side):
            for column in range(side):
                names = [name for name in found.columns if name.startswith(f"level{number}__g{side}r{row}c{column}__")]
                np.testing.assert_allclose(found[names], cells[:, row, column], rtol=1e-5, atol=1e-6)


def test_columns_are_named_level_by_level_and_cell_by_cell():
    names = make(grid=(1, 2)).get_feature_names_out()
    assert [names[0], names[79], names[80]] == ["level5__g1r0c0__0000", "level5__g1r0c0__0079", "level5__g2r0c0__0000"]
    cells = [name.split("__")[:2] for name in names[::16]]
    order = list(dict.fromkeys(map(tuple, cells)))
    assert order == [(f"level{n}", c) for n in (5, 6) for c in ("g1r0c0", "g2r0c0", "g2r0c1", "g2r1c0", "g2r1c1")]


def test_the_whole_image_is_what_it_is_without_a_grid(photographs):
    plain, one = make().fit_transform(photographs), make(grid=(1,)).fit_transform(photographs)
    assert list(one.columns) == list(plain.columns)
    np.testing.assert_array_equal(one, plain)
    both = make(grid=(2, 1)).fit_transform(photographs)
    np.testing.assert_array_equal(both.filter(like="__g1r0c0__"), plain)
    assert both.columns[0] == "level5__g2r0c0__0000"  # in the order that was given


def test_steps_on_columns_take_the_cells_of_a_level_together(photographs):
    features = make(grid=2).fit_transform(photographs)
    assert LevelSelector([6]).fit_transform(features).shape[1] == 4 * 112
    detector = make_pipeline(NPCA(0.5), MahalanobisDetector()).fit(features)
    assert detector[-1].levels_ == ["level5", "level6"]


def test_a_cache_serves_cells_without_the_network_and_keeps_them_apart_from_others(photographs, tmp_path, monkeypatch):
    parameters = {"grid": (1, 2), "cache": tmp_path}
    expected = make(**parameters).fit_transform(photographs)
    plain = make(cache=tmp_path).fit_transform(photographs)
    assert plain.shape != expected.shape
    n_images = len(photographs)
    assert cache_info(tmp_path).n_images == 2 * n_images
    monkeypatch.setattr("skgad.deep._network.Network.pool_levels", lambda *_: pytest.fail("a pass of the network"))
    np.testing.assert_array_equal(make(**parameters).fit_transform(photographs), expected)
    np.testing.assert_array_equal(
        make(levels=[6], **parameters).fit_transform(photographs), expected.filter(like="level6__")
    )
    np.testing.assert_array_equal(make(cache=tmp_path).fit_transform(photographs), plain)


def test_a_grid_that_only_shallow_levels_can_fill_is_served_from_a_cache_too(photographs, tmp_path):
    extractor = make(levels=[2], grid=9, cache=tmp_path)  # level 9 has 3 locations a side here
    expected = make(levels=[2], grid=9).fit_transform(photographs)
    for _ in range(2):
        np.testing.assert_allclose(extractor.fit_transform(photographs), expected, rtol=1e-5, atol=1e-6)


def test_a_grid_finer_than_a_level_is_refused_by_name(photographs):
    with pytest.raises(ValueError, match=r"grid=6 has more cells along a side than level 5 .* has locations: 5 x 5"):
        make(grid=(1, 6)).fit_transform(photographs)


@pytest.mark.parametrize("grid", [0, -1, True, 2.0, "2", (), (1, 1), (1, 2.0), None, {1, 2}])
def test_what_is_no_grid_is_refused(photographs, grid):
    with pytest.raises(ValueError, match="grid must be a positive int"):
        make(grid=grid).fit(photographs)


def test_vectors_have_no_cells(photographs):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    backbone = Backbone(module, levels=["0", "2"], image_size=32)
    DeepFeatureTransformer(backbone).fit(photographs)
    with pytest.raises(BackboneError, match=r"Levels \[2\] .* are vectors without locations: they have no cells"):
        DeepFeatureTransformer(backbone, grid=2).fit(photographs)
    names = DeepFeatureTransformer(backbone, grid=2, levels=[1]).fit_transform(photographs).columns
    assert names[-1] == "level1__g2r1c1__0003"


def test_another_grid_than_that_of_the_fit_is_refused(photographs):
    extractor = make(grid=2).fit(photographs)
    with pytest.raises(WeightsError, match=r"Fitted with grid \[2\], but it is now \[3\]"):
        extractor.set_params(grid=3).transform(photographs)
