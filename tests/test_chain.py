"""The pipelines of the README, on real solar cells."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from PIL import Image
from scipy.linalg import solve_triangular
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThreshold, FPRThresholdCV, MahalanobisDetector
from skgad.deep._weights import load_model
from skgad.exceptions import WorkingPointWarning

from .conftest import LITE0


@pytest.fixture(params=["calibrated", "papers"])
def chain(request):
    if request.param == "calibrated":
        detector = FPRThresholdCV(make_pipeline(NPCA(0.01), MahalanobisDetector()), fpr=0.05)
        return make_pipeline(DeepFeatureTransformer(LITE0, image_size=96), detector)
    extractor = DeepFeatureTransformer(LITE0, levels=[7], image_size=96)
    return make_pipeline(extractor, NPCA(0.01), MahalanobisDetector(), FPRThreshold(fpr=0.05))


def fit(pipe, images, y=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WorkingPointWarning)
        return pipe.fit(images, y)


def split(features, y, seed=0):
    train, held_out = train_test_split(np.flatnonzero(y == 1), train_size=0.6, random_state=seed)
    return train, np.concatenate([held_out, np.flatnonzero(y == -1)])


@pytest.mark.parametrize(("name", "target"), [("mono", 0.92), ("poly", 0.88)])
def test_level_7_finds_the_defects(request, name, target):
    features, y = request.getfixturevalue(name)
    level7 = features.filter(like="level7__")
    areas = []
    for seed in range(3):
        train, test = split(features, y, seed)
        scores = MahalanobisDetector().fit(level7.iloc[train]).score_samples(level7.iloc[test])
        areas.append(roc_auc_score(y[test], scores))
    assert np.mean(areas) >= target


@pytest.mark.parametrize("name", ["mono", "poly"])
def test_mahalanobis_beats_sed_beats_l2(request, name):
    features, y = request.getfixturevalue(name)
    train, test = split(features, y)
    full, sed, l2 = (
        roc_auc_score(
            y[test], MahalanobisDetector(covariance).fit(features.iloc[train]).score_samples(features.iloc[test])
        )
        for covariance in ("ledoit_wolf", "diagonal", "identity")
    )
    assert full > sed > l2


def test_scores_equal_ten_lines_of_numpy(cells):
    paths, y = cells
    model = load_model(f"{LITE0}.in1k", "auto")

    def features(path):
        pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"), dtype=np.float32)).permute(2, 0, 1)[None]
        x = torch.nn.functional.interpolate(pixels, (224, 224), mode="bilinear")
        x = (x - 127) / 128
        with torch.inference_mode():
            x = model.blocks[:6](model.bn1(model.conv_stem(x)))
        return x.mean((2, 3)).numpy()[0].astype(float)

    X = np.array([features(path) for path in paths])
    normals = X[y == 1]
    covariance, _ = ledoit_wolf(normals)
    whitened = solve_triangular(np.linalg.cholesky(covariance), (X - normals.mean(axis=0)).T, lower=True)
    expected = -np.linalg.norm(whitened, axis=0)
    pipe = make_pipeline(DeepFeatureTransformer(LITE0, levels=[7]), MahalanobisDetector()).fit(paths, y)
    np.testing.assert_allclose(pipe.score_samples(paths), expected, rtol=1e-3)


def test_chain_fits_predicts_and_leaves_anomalies_out(chain, cells):
    images, y = cells
    pipe = fit(chain, images, y)
    expected = fit(clone(chain), images[y == 1]).score_samples(images)
    np.testing.assert_allclose(pipe.score_samples(images), expected, rtol=1e-3)  # other batches round differently
    labels = pipe.predict(images)
    assert set(labels) <= {-1, 1}
    np.testing.assert_array_equal(labels == -1, pipe.score_samples(images) < pipe[-1].offset_)
    assert roc_auc_score(y, pipe.score_samples(images)) > 0.6


def test_chain_gives_a_frame_of_distances(chain, cells):
    images, y = cells
    pipe = fit(chain, images, y)
    head = pipe[:-1] if isinstance(pipe[-1], FPRThreshold) else make_pipeline(pipe[0], *pipe[-1].estimator_)
    distances = head.transform(images)
    assert all(column.rsplit("__", 1)[1].startswith("npca_chi") for column in distances)
    np.testing.assert_allclose(-distances.sum(axis=1), pipe.score_samples(images), rtol=1e-6)


@pytest.mark.parametrize("how", ["joblib", "skops"])
def test_a_saved_chain_is_small_and_gives_the_same_scores(chain, cells, tmp_path, how):
    images, y = cells
    pipe = fit(chain, images, y)
    path = tmp_path / "line.file"
    if how == "joblib":
        joblib.dump(pipe, path)
        loaded = joblib.load(path)
    else:
        skops.io.dump(pipe, path)
        unknown = skops.io.get_untrusted_types(file=path)
        assert all(name.startswith("skgad.") for name in unknown)
        loaded = skops.io.load(path, trusted=unknown)
    assert path.stat().st_size < 8e6
    np.testing.assert_array_equal(loaded.score_samples(images), pipe.score_samples(images))
    np.testing.assert_array_equal(loaded.predict(images), pipe.predict(images))


def test_grid_search_over_levels_and_ratios_fits_on_normals_only(cells):
    images, y = cells
    pipe = make_pipeline(DeepFeatureTransformer(LITE0, image_size=64), NPCA(), MahalanobisDetector())
    grid = {"deepfeaturetransformer__levels": [[5], [5, 6], "all"], "npca__n_components": [0.1, 0.01]}
    search = GridSearchCV(pipe, grid, scoring="roc_auc", cv=StratifiedKFold(3, shuffle=True, random_state=0))
    search.fit(images, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    expected = clone(pipe).set_params(**search.best_params_).fit(images[y == 1])
    np.testing.assert_allclose(search.score_samples(images), expected.score_samples(images), rtol=1e-3)


def test_grid_search_over_features_runs_in_processes(mono):
    features, y = mono
    level5 = features.filter(like="level5__").iloc[:200]
    search = GridSearchCV(
        make_pipeline(NPCA(), MahalanobisDetector()),
        {"npca__n_components": [0.1, 0.01]},
        scoring="roc_auc",
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        n_jobs=2,
    ).fit(level5, y[:200])
    assert search.best_score_ > 0.7


@pytest.mark.filterwarnings("ignore::skgad.exceptions.WorkingPointWarning")  # about as many cells as features
def test_calibrated_detector_is_searchable_inside(mono):
    features, y = mono
    level5 = features.filter(like="level5__").iloc[:200]
    detector = FPRThresholdCV(make_pipeline(NPCA(), MahalanobisDetector()), fpr=0.1, cv=5)
    search = GridSearchCV(detector, {"estimator__npca__n_components": [0.1, 0.01]}, scoring="roc_auc", cv=3)
    assert search.fit(level5, y[:200]).best_score_ > 0.7


def test_predict_before_fit_is_refused(chain, cells):
    with pytest.raises(NotFittedError):
        chain.predict(cells[0][:2])


def test_other_columns_at_predict_are_refused(mono):
    features, _ = mono
    detector = make_pipeline(NPCA(), MahalanobisDetector()).fit(features.filter(like="level5__"))
    with pytest.raises(ValueError, match="feature names should match"):
        detector.predict(features.filter(like="level6__"))


def test_nan_features_are_refused(mono):
    features, _ = mono
    level5 = features.filter(like="level5__").copy()
    level5.iloc[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        MahalanobisDetector().fit(level5)


def test_columns_from_a_step_that_drops_names_are_one_group(mono):
    from sklearn.preprocessing import StandardScaler

    features, _ = mono
    two_levels = features.filter(regex="^level[56]__")
    assert make_pipeline(StandardScaler(), MahalanobisDetector()).fit(two_levels)[-1].levels_ == [""]
    kept = make_pipeline(StandardScaler(), MahalanobisDetector()).set_output(transform="pandas").fit(two_levels)
    assert kept[-1].levels_ == ["level5", "level6"]
    assert isinstance(kept[-1].transform(two_levels), pd.DataFrame)
