import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skgad import MahalanobisDetector
from skgad.deep import AutoencoderDetector
from skgad.plotting import TrainingDisplay

HISTORY = pd.DataFrame(
    {"epoch": [0, 1, 2], "loss": [np.nan, 3.0, 2.0], "criterion": [0.7, 0.9, 0.8], "kept": [False, True, False]}
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_lines_are_the_history_and_the_kept_state_is_marked():
    display = TrainingDisplay.from_history(HISTORY)
    np.testing.assert_array_equal(display.loss_.get_xydata(), [[1, 3], [2, 2]])
    np.testing.assert_array_equal(display.criterion_.get_xydata(), [[0, 0.7], [1, 0.9], [2, 0.8]])
    assert [line.get_xdata()[0] for line in display.kept_lines_] == [1, 1]
    assert display.legend_.get_texts()[0].get_text() == "kept: epoch 1"
    assert len(display.ax_) == 2


def test_without_validation_there_is_the_loss_alone():
    display = TrainingDisplay.from_history(HISTORY.assign(criterion=np.nan, kept=[False, False, True]))
    assert display.criterion_ is None
    assert display.ax_.figure is display.figure_
    with pytest.raises(ValueError, match="1 axes are drawn, but ax holds 2"):
        display.plot(plt.subplots(1, 2)[1])


def test_it_takes_what_was_trained_and_nothing_else():
    images = np.random.default_rng(0).integers(0, 256, size=(5, 32, 32, 3), dtype=np.uint8)
    detector = AutoencoderDetector(image_size=32, max_epochs=1).fit(images)
    assert len(TrainingDisplay.from_estimator(detector).criterion_.get_xdata()) == 2
    with pytest.raises(NotFittedError):
        TrainingDisplay.from_estimator(AutoencoderDetector())
    with pytest.raises(TypeError, match="has no history_: pass a FineTuner"):
        TrainingDisplay.from_estimator(MahalanobisDetector().fit(np.random.default_rng(0).normal(size=(20, 3))))
    with pytest.raises(ValueError, match="history must be the history_ of a FineTuner; it has no criterion, kept"):
        TrainingDisplay.from_history(HISTORY[["epoch", "loss"]])
