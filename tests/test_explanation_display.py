import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector, make_line
from skgad.inspection import explain
from skgad.plotting import ExplanationDisplay

NAMES = [f"level{n}__g{g}r{r}c{c}__0000" for n in (1, 2) for g in (1, 2) for r in range(g) for c in range(g)]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw(n_samples=100, seed=0):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(n_samples, 10)), columns=NAMES)


def test_bars_and_cells_are_the_contributions():
    X = draw()
    detector, odd = MahalanobisDetector(levels="joint").fit(X), draw(1, 1) + 3
    parts = explain(detector, odd)
    display = ExplanationDisplay.from_estimator(detector, odd)
    by_level = parts.groupby("level")["contribution"].sum()
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], by_level)
    by_cell = parts.groupby("cell")["contribution"].sum()
    expected = [[by_cell[f"g2r{row}c{column}"] for column in (0, 1)] for row in (0, 1)]
    np.testing.assert_allclose(display.cells_.get_array(), expected)
    assert display.legend_.get_texts()[0].get_text() == f"distance {-detector.score_samples(odd)[0]:.3g}"
    again = ExplanationDisplay.from_parts(parts)
    np.testing.assert_array_equal(again.cells_.get_array(), display.cells_.get_array())


def test_without_a_grid_there_are_bars_alone():
    X = draw().filter(like="g1r0c0").rename(columns=lambda name: name.replace("__g1r0c0", ""))
    display = ExplanationDisplay.from_estimator(MahalanobisDetector().fit(X), X[:1])
    assert display.cells_ is None
    assert display.ax_.figure is display.figure_
    with pytest.raises(ValueError, match="1 axes are drawn, but ax holds 2"):
        display.plot(plt.subplots(1, 2)[1])


def test_the_cells_of_a_photograph_are_drawn_over_it(photographs):
    line = make_line("tf_efficientnet_lite0", fpr=0.2).set_params(extractor__image_size=64, extractor__levels=[5, 6])
    display = ExplanationDisplay.from_estimator(line.fit(photographs), photographs[:1])
    height, width = np.asarray(photographs[0]).shape[:2]
    assert display.cells_.get_extent() == [0, width, height, 0]


def test_several_images_are_refused():
    X = draw()
    with pytest.raises(ValueError, match="parts is of 2 images, and one is drawn at a time"):
        ExplanationDisplay.from_estimator(MahalanobisDetector().fit(X), X[:2])


def test_a_photograph_is_found_by_position_and_where_the_extractor_is_inside_others(photographs, tmp_path):
    paths = pd.Series(
        [str(tmp_path / f"{i}.png") for i in range(len(photographs))], index=range(100, 140)[: len(photographs)]
    )
    for photograph, path in zip(photographs, paths, strict=True):
        Image.fromarray(photograph).save(path)
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[5, 6], image_size=64, resize="timm", grid=2)
    inner = FPRThresholdCV(make_pipeline(extractor, MahalanobisDetector(levels="joint")), fpr=0.2).fit(paths)
    for detector in (inner, FrozenEstimator(inner.estimator_)):
        display = ExplanationDisplay.from_estimator(detector, paths[-1:])
        np.testing.assert_array_equal(display.image, photographs[-1])
        left, top, right, bottom = extractor.find_box(*photographs[-1].shape[:2])
        assert display.cells_.get_extent() == pytest.approx([left, right, bottom, top])


def test_colours_say_shares_and_negative_bars_are_hatched():
    parts = pd.DataFrame(
        {
            "image": 0,
            "level": ["level1", "level1", "level2", "level2"],
            "cell": ["g2r0c0", "g2r0c1", "g2r1c0", "g2r1c1"],
            "contribution": [3.0, 2.0, -1.0, -2.0],
        }
    )
    small, large = (ExplanationDisplay.from_parts(parts.assign(contribution=f * parts["contribution"])) for f in (1, 9))
    np.testing.assert_allclose(small.cells_.get_clim(), (-1, 1))
    np.testing.assert_allclose(large.cells_.get_clim(), (-9, 9))
    assert [bar.get_hatch() for bar in small.bars_] == ["", "///"]
