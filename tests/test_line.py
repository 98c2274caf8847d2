"""The pipeline that we recommend, as a newcomer uses it."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skgad import FPRThresholdCV, MahalanobisDetector, make_line
from skgad.deep import _network
from skgad.model_selection import NormalTrainSplit

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture
def line():
    return make_line(LITE0, fpr=0.1).set_params(extractor__image_size=64, extractor__levels=[5, 6])


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    stripes = np.sin(np.arange(64) / 3)[:, np.newaxis] * np.ones(64)
    shifts = rng.normal(size=(40, 1, 1)) * 10
    noise = rng.normal(size=(40, 64, 64)) * 6
    return np.clip(120 + 60 * stripes + shifts + noise, 0, 255).astype(np.uint8)


def test_it_finds_damage_and_says_how_rarely_it_errs(line, images):
    damaged = images[:5].copy()
    damaged[:, 10:30, 10:30] = 250
    line.fit(images)
    assert (line.predict(damaged) == -1).all()
    assert (line.predict(images) == -1).mean() <= 0.1
    assert "Asked for: 0.1 of the normal images" in line[-1].summary()
    again = pickle.loads(pickle.dumps(line))
    np.testing.assert_array_equal(again.predict(damaged), line.predict(damaged))


def test_it_is_its_parts(images):
    line = make_line(LITE0, fpr=0.1).set_params(extractor__image_size=64).fit(images)
    features = line[0].transform(images)
    assert {name.split("__")[1] for name in features} == {"g1r0c0", "g2r0c0", "g2r0c1", "g2r1c0", "g2r1c1"}
    expected = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.1).fit(features)
    np.testing.assert_allclose(line.decision_function(images), expected.decision_function(features), rtol=1e-9)


def test_a_search_over_what_is_inside_sends_each_image_through_the_network_once_a_grid(
    line, images, tmp_path, monkeypatch
):
    y = np.where(np.arange(40) < 34, 1, -1)
    images[34:, 10:30, 10:30] = 250
    passed = []
    forward = _network.Network._forward
    monkeypatch.setattr(
        _network.Network,
        "_forward",
        lambda self, batch, *args: passed.append(len(batch)) or forward(self, batch, *args),
    )
    search = GridSearchCV(
        clone(line).set_params(extractor__cache=tmp_path, detector__fpr=0.2),
        {
            "extractor__grid": [1, (1, 2)],
            "extractor__levels": [[5], [5, 6]],
            "detector__estimator__covariance": ["ledoit_wolf", "oas"],
        },
        scoring="roc_auc",
        cv=NormalTrainSplit(3),
        refit=False,
    ).fit(images, y)
    assert search.cv_results_["mean_test_score"].min() > 0.9
    assert sum(passed) == 2 * len(images)
