"""The second paper's tables: cells are kept, figures stand beside the published ones."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from skgad import DeepFeatureTransformer
from skgad.benchmark import run_tuning
from skgad.benchmark._command import main
from skgad.benchmark._data import Category, load_mvtec
from skgad.benchmark._tuning_tables import TUNING_TABLES
from skgad.deep import FineTuner
from skgad.deep.training._supervised import score_supervised
from skgad.metrics import pixel_scores

from .conftest import LITE0

SIDE = 64
OPTIONS = {"backbone": LITE0, "image_size": SIDE, "n_folds": 2, "max_epochs": 1, "learning_rate": 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Cloth, some of it with a hole, in MVTec AD's layout."""
    root, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    for name, count in [("train/good", 10), ("test/good", 4), ("test/hole", 4)]:
        (root / "cloth" / name).mkdir(parents=True)
        for number in range(count):
            image = np.clip(rng.normal(130, 12, size=(SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            if name == "test/hole":
                image[20:34, 20:34] = 20
                mask = np.zeros((SIDE, SIDE), np.uint8)
                mask[20:34, 20:34] = 255
                (root / "cloth/ground_truth/hole").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / f"cloth/ground_truth/hole/{number}_mask.png")
            Image.fromarray(image).save(root / "cloth" / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, run_tuning(["1", "5", "6"], categories=load_mvtec(folder), out=out, **OPTIONS)


def test_figures_are_those_of_the_trainings_by_hand(folder, finished):
    _, tables = finished
    (category,) = load_mvtec(folder)
    images, pixels = [], []
    for fold in range(2):
        extractor = DeepFeatureTransformer(LITE0, image_size=SIDE)
        tuner = FineTuner(extractor, max_epochs=1, learning_rate=1e-5, random_state=fold).fit(category.X_train)
        images.append(100 * roc_auc_score(category.y_test, tuner.score_samples(category.X_test)))
        masks = [None if path is None else np.asarray(Image.open(path)) > 0 for path in category.mask_test]
        pixels.append(pixel_scores(masks, tuner.score_maps(category.X_test), max_fpr=0.3))
    assert tables["1"].loc["Gaussian, tuned", "mean"] == pytest.approx(np.mean(images), abs=0.01)
    assert tables["5"].loc["Gaussian, tuned", "mean"] == pytest.approx(
        100 * np.mean([p.roc_auc for p in pixels]), abs=0.1
    )
    assert tables["6"].loc["Gaussian, tuned", "mean"] == pytest.approx(
        100 * np.mean([p.pro_auc for p in pixels]), abs=0.1
    )
    assert tables["1"]["published"].tolist() == [97.1, 96.3, 90.5, 86.7, 87.0]
    assert tables["1"]["difference"].isna().all()  # this is not MVTec AD


def test_finished_trainings_are_read_and_damaged_ones_computed_anew(folder, finished, monkeypatch):
    out, tables = finished
    before = (out / "tuning1.md").read_bytes()
    text = before.decode()
    assert "| GeoTrans (Golan and El-Yaniv, 2018), as in Fei et al., 2020, scratch | – | 67.2 ± 4.7 | quoted |" in text
    fit, trained = FineTuner.fit, []
    monkeypatch.setattr(FineTuner, "fit", lambda self, *args: trained.append(1) or fit(self, *args))
    run_tuning(["1", "5", "6"], categories=load_mvtec(folder), out=out, **OPTIONS)
    assert not trained
    assert not list((out / "cells").glob("*.pt"))
    one = sorted((out / "cells").glob("*.json"))[0]
    known = json.loads(one.read_text())
    one.write_text("{")
    with pytest.warns(UserWarning, match="is damaged"):
        again = run_tuning("1", categories=load_mvtec(folder), out=out, **OPTIONS)
    assert len(trained) == 1
    pd.testing.assert_frame_equal(again["1"], tables["1"])
    assert json.loads(one.read_text())["image_auroc"] == known["image_auroc"]
    assert (out / "tuning1.md").read_bytes() == before


def test_other_images_are_other_cells(folder, finished):
    out, _ = finished
    (category,) = load_mvtec(folder)
    n_cells = len(list((out / "cells").glob("*.json")))
    shorter = category._replace(X_train=category.X_train[1:], mask_test=None)
    tables = run_tuning("5", categories=[shorter], out=out, **{**OPTIONS, "max_epochs": 0, "n_folds": 2})
    assert len(list((out / "cells").glob("*.json"))) > n_cells
    assert tables["5"]["mean"].isna().all()  # nobody has said where the anomalies are


def test_every_row_of_every_table_is_a_training(tmp_path):
    images = np.random.default_rng(0).integers(100, 140, size=(16, SIDE, SIDE, 3), dtype=np.uint8)
    noise = Category("noise", images[:6], images[6:], np.repeat([1, -1], 5))
    options = {**OPTIONS, "n_folds": 1, "max_epochs": 0}
    tables = run_tuning("all", categories=[noise], out=tmp_path, **options)
    assert {name: list(table.index) for name, table in tables.items()} == {
        name: list(layout.rows) for name, layout in TUNING_TABLES.items()
    }
    with pytest.raises(ValueError, match="tables are 1, 2, 3, 4, 5, 6, V and all; got '9'"):
        run_tuning("9", categories=[noise], out=tmp_path)


def test_labels_are_a_bound(folder):
    (category,) = load_mvtec(folder)
    images = [*category.X_train, *category.X_test]
    y = np.concatenate([np.ones(10, dtype=int), category.y_test])
    anomalous = np.flatnonzero(y == -1)
    train, validation, test = [0, 1, 2, 3, *anomalous[:2]], [4, 5, 6, anomalous[2]], [7, 8, 9, anomalous[3]]
    extractor = DeepFeatureTransformer(LITE0, image_size=SIDE).fit(images)
    options = {"max_epochs": 8, "patience": 8, "random_state": 0}
    scores = score_supervised(extractor, images, y, *map(np.array, (train, validation, test)), **options)
    assert scores.argmax() == 3
    again = score_supervised(extractor, images, y, *map(np.array, (train, validation, test)), **options)
    np.testing.assert_array_equal(scores, again)


def test_the_command_writes_tables(folder, tmp_path, capsys):
    arguments = [
        "tuning",
        "2",
        "--data",
        "mvtec",
        "--root",
        str(folder),
        "--backbone",
        LITE0,
        "--image-size",
        str(SIDE),
    ]
    assert main([*arguments, "--folds", "2", "--epochs", "0", "--out", str(tmp_path)]) == 0
    assert "by criterion of early stopping" in capsys.readouterr().out
    assert (tmp_path / "tuning2.csv").exists()
