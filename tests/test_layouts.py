"""Data sets in the layouts in which they are distributed, drawn here as tiny trees: one Bunch for all."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skgad.benchmark import load_mvtec
from skgad.benchmark._data import _find_categories
from skgad.datasets import load_cifar10, load_image_folder, load_image_table, load_mask
from skgad.exceptions import ImageWarning
from skgad.metrics import pixel_scores


def draw(path, value=128, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def lit(path, value=255):
    """Draw a mask of two pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[2, 3:5] = value
    Image.fromarray(mask).save(path)


def names(paths):
    return [path if path is None else path.rsplit("/", 1)[-1] for path in paths]


def mvtec_ad_2(root):
    for name in ["train/good/000_regular.png", "validation/good/000_regular.png", "test_public/good/000_regular.png"]:
        draw(root / name)
    draw(root / "test_public/bad/000_regular.png")
    lit(root / "test_public/ground_truth/bad/000_regular_mask.png")
    draw(root / "test_private/000.png")
    draw(root / "test_private_mixed/000.png")
    draw(root / "test_private_mixed/001.png")


def mvtec_loco(root):
    for name in ["train/good/000.png", "validation/good/000.png", "test/good/000.png"]:
        draw(root / name)
    for kind, values in {"logical_anomalies": (251, 255), "structural_anomalies": (250,)}.items():
        draw(root / f"test/{kind}/000.png")
        for number, value in enumerate(values):
            lit(root / f"ground_truth/{kind}/000/{number:03d}.png", value)
    table = [
        {"defect_name": "one", "pixel_value": 255, "saturation_threshold": 1, "relative_saturation": False},
        {"defect_name": "two", "pixel_value": 251, "saturation_threshold": 0.5, "relative_saturation": True},
        {"defect_name": "three", "pixel_value": 250, "saturation_threshold": 1.0, "relative_saturation": True},
    ]
    (root / "defects_config.json").write_text(json.dumps(table))


def btad(root):
    for name in ["train/ok/0000.bmp", "test/ok/0000.bmp", "test/ko/0000.bmp"]:
        draw(root / name)
    lit(root / "ground_truth/ko/0000.png")


def mpdd(root):
    for name in ["train/good/000.png", "test/good/000.png", "test/scratches/000.png"]:
        draw(root / name)
    lit(root / "ground_truth/scratches/000_mask.png")


def kolektor_sdd(root):
    for item in ("kos01", "kos02", "kos03"):
        for part in (0, 1):
            draw(root / item / f"Part{part}.jpg")
            (lit if item == "kos02" and part else lambda path: draw(path, 0))(root / item / f"Part{part}_label.bmp")


def kolektor_sdd2(root):
    for split, numbers in {"train": (10, 11), "test": (20, 21)}.items():
        for number in numbers:
            draw(root / split / f"{number}.png")
            (lit if number in (11, 21) else lambda path: draw(path, 0))(root / split / f"{number}_GT.png")


def dagm(root):
    for split, numbers in {"Train": ("0576", "0577"), "Test": ("0001", "0002")}.items():
        for number in numbers:
            draw(root / split / f"{number}.PNG")
        lit(root / split / "Label" / f"{numbers[1]}_label.PNG")
        (root / split / "Label" / "Labels.txt").write_text("1\n")


def visa(root):
    rows = [
        ("candle", "train", "normal", "candle/Data/Images/Normal/0000.JPG", ""),
        ("candle", "test", "normal", "candle/Data/Images/Normal/0001.JPG", ""),
        ("candle", "test", "anomaly", "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"),
        ("capsules", "train", "normal", "capsules/Data/Images/Normal/0000.JPG", ""),
    ]
    for *_, image, mask in rows:
        draw(root / image)
        if mask:
            lit(root / mask, 3)
    (root / "split_csv").mkdir(parents=True)
    with open(root / "split_csv" / "1cls.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("object", "split", "label", "image", "mask"), *rows])


def real_iad(root):
    table = {
        "meta": {"prefix": "audiojack/", "normal_class": "OK"},
        "train": [{"category": "audiojack", "anomaly_class": "OK", "image_path": "OK/S1/a.jpg", "mask_path": None}],
        "test": [
            {"category": "audiojack", "anomaly_class": "OK", "image_path": "OK/S2/b.jpg", "mask_path": None},
            {"category": "audiojack", "anomaly_class": "BX", "image_path": "NG/BX/c.jpg", "mask_path": "NG/BX/c.png"},
        ],
    }
    (root / "realiad_jsons").mkdir(parents=True)
    (root / "realiad_jsons" / "audiojack.json").write_text(json.dumps(table))
    for name in ["OK/S1/a.jpg", "OK/S2/b.jpg", "NG/BX/c.jpg"]:
        draw(root / "realiad_256" / "audiojack" / name)
    lit(root / "realiad_256" / "audiojack" / "NG/BX/c.png")


LAYOUTS = {
    "mvtec_ad_2": (mvtec_ad_2, None, ["000_regular.png"], ["bad", "good"]),
    "mvtec_loco": (mvtec_loco, None, ["000.png"], ["good", "logical_anomalies", "structural_anomalies"]),
    "btad": (btad, None, ["0000.bmp"], ["ko", "good"]),
    "mpdd": (mpdd, None, ["000.png"], ["good", "scratches"]),
    "kolektor_sdd": (kolektor_sdd, None, ["Part0.jpg", "Part1.jpg"] * 2, ["good", "defect"]),
    "kolektor_sdd2": (kolektor_sdd2, None, ["10.png"], ["good", "defect"]),
    "dagm": (dagm, None, ["0576.PNG"], ["good", "defect"]),
    "visa": (visa, "candle", ["0000.JPG"], ["good", "anomaly"]),
    "real_iad": (real_iad, "audiojack", ["a.jpg"], ["good", "BX"]),
}
SPOILT = ("kolektor_sdd2", "dagm")  # anomalous images among those to learn from


@pytest.mark.parametrize("stated", [False, True], ids=["found", "stated"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_bunch(tmp_path, layout, stated, recwarn):
    make, category, train, kinds = LAYOUTS[layout]
    make(tmp_path)
    options = {"layout": layout} if stated else {}
    data = load_image_folder(tmp_path, category=category, **options)
    assert names(data.X_train) == train
    assert data.kind_test.tolist() == kinds
    assert data.y_test.tolist() == [1 if kind == "good" else -1 for kind in kinds]
    assert [mask is None for mask in data.mask_test] == [kind == "good" for kind in kinds]
    masks = [load_mask(mask) for mask in data.mask_test]
    assert all(mask is None or (mask.sum() == 2 and mask.shape == (6, 8)) for mask in masks)
    found = pixel_scores(masks, [np.zeros((6, 8)) if mask is None else 1.0 * mask for mask in masks], y=data.y_test)
    assert found.roc_auc == 1
    left_out = [str(warning.message) for warning in recwarn if "left out" in str(warning.message)]
    assert any("anomalous images of the training part" in text for text in left_out) == (layout in SPOILT)


def test_the_other_parts_of_mvtec_ad_2_and_loco_are_there(tmp_path):
    mvtec_ad_2(tmp_path / "can")
    mvtec_loco(tmp_path / "box")
    data = load_image_folder(tmp_path, category="can")
    assert names(data.X_validation) == ["000_regular.png"]
    assert names(data.X_private) == ["000.png"]
    assert names(data.X_private_mixed) == ["000.png", "001.png"]
    data = load_image_folder(tmp_path / "box")
    assert names(data.X_validation) == ["000.png"]
    assert [names(masks) if masks else None for masks in data.mask_test] == [None, ["000.png", "001.png"], ["000.png"]]
    assert data.saturation_test.tolist() == [None, [1, 1], [2]]


def test_categories_are_named_where_one_is_missing(tmp_path):
    visa(tmp_path)
    with pytest.raises(ValueError, match=r"candle, capsules; got category=None"):
        load_image_folder(tmp_path)
    with pytest.raises(ValueError, match=r"layout must be one of .*'dagm'.* got 'mvtec'"):
        load_image_folder(tmp_path, layout="mvtec")
    with pytest.raises(ValueError, match=r"holds the folders candle, capsules, split_csv; got category='nuts'"):
        load_image_folder(tmp_path, layout="mpdd", category="nuts")


def test_files_that_a_table_names_and_are_not_there_are_named(tmp_path):
    visa(tmp_path)
    (tmp_path / "candle/Data/Masks/Anomaly/000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1cls.csv names 1 files that are not there: .*000.png"):
        load_image_folder(tmp_path, category="candle")
    kolektor_sdd(tmp_path / "kolektor")
    (tmp_path / "kolektor/kos01/Part1_label.bmp").unlink()
    with pytest.raises(FileNotFoundError, match=r"Part1_label.bmp, is missing"):
        load_image_folder(tmp_path / "kolektor")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"meta": {}}', '{"meta": {"prefix": "", "normal_class": "OK"}, "train": 3}']
)
def test_a_table_that_is_none_is_named(tmp_path, text):
    real_iad(tmp_path)
    (tmp_path / "realiad_jsons" / "audiojack.json").write_text(text)
    with pytest.raises(ValueError, match=r"audiojack.json is no table of Real-IAD"):
        load_image_folder(tmp_path, category="audiojack")


@pytest.mark.parametrize("kind", ["file", "frame"])
def test_a_table_of_paths_and_labels(tmp_path, kind):
    for name in "abcde":
        draw(tmp_path / f"{name}.png")
    lit(tmp_path / "masks" / "d.png")
    table = pd.DataFrame(
        {
            "path": [f"{name}.png" for name in "abcde"],
            "label": ["normal", "1", "Good", "crack", "-1"],
            "split": ["train", "Train", "test", "test", "train"],
            "mask": [None, None, None, "masks/d.png", None],
        }
    )
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.warns(ImageWarning, match=r"1 anomalous images of the training part are left out.*e.png"):
        data = load_image_table(*((tmp_path / "table.csv",) if kind == "file" else (table, tmp_path)))
    assert names(data.X_train) == ["a.png", "b.png"]
    assert data.kind_test.tolist() == ["good", "crack"]
    assert names(data.mask_test) == [None, "d.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ["normal", "0"]}, r"row 1 has the label '0'"),
        ({"label": ["normal", np.nan]}, r"row 1 has the label nan"),
        ({"split": ["train", "val"]}, r"row 1 has the split 'val'"),
        ({"path": None}, "the columns path and label"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, changes, message):
    draw(tmp_path / "a.png")
    columns = {"path": ["a.png", "a.png"], "label": ["normal", "crack"], **changes}
    table = pd.DataFrame({name: values for name, values in columns.items() if values is not None})
    with pytest.raises(ValueError, match=message):
        load_image_table(table, tmp_path)


def test_a_missing_mask_of_a_table_is_warned_of(tmp_path):
    draw(tmp_path / "a.png")
    lit(tmp_path / "m.png")
    table = pd.DataFrame({"path": ["a.png"] * 3, "label": ["normal", "x", "y"], "mask": ["", "m.png", ""]})
    with pytest.warns(ImageWarning, match="no mask of 1 anomalous images"):
        load_image_table(table, tmp_path)


def test_cifar_is_one_class_against_the_rest(tmp_path):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, size=(6, 10, 3073), dtype=np.uint8)
    records[..., 0] = np.arange(10)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, batch in zip([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], records, strict=True):
        (folder / f"{name}.bin").write_bytes(batch.tobytes())
    data = load_cifar10(tmp_path, normal=3)
    assert data.X_train.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(data.X_train[2, 4, 5], records[2, 3, 1:].reshape(3, 32, 32)[:, 4, 5])
    assert data.y_test.tolist() == [-1] * 3 + [1] + [-1] * 6
    assert data.kind_test[3:5].tolist() == ["good", "deer"]
    with pytest.raises(ValueError, match="0 to 9, or one of airplane"):
        load_cifar10(tmp_path, normal="whale")
    (folder / "test_batch.bin").write_bytes(b"0" * 10)
    with pytest.raises(ValueError, match="records of 3073 bytes"):
        load_cifar10(tmp_path, normal=3)
    (folder / "data_batch_2.bin").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_2"):
        load_cifar10(tmp_path, normal=3)


def test_the_benchmark_takes_them_all(tmp_path):
    for layout, (make, *_) in LAYOUTS.items():
        make(tmp_path / layout)
    draw(tmp_path / "mpdd" / "train/good/001.png")
    names_of_all = {"mvtec_ad_2", "mvtec_loco", "btad", "mpdd", "kolektor_sdd", "kolektor_sdd2", "dagm"}
    found = _find_categories([tmp_path])
    assert set(found) == {*names_of_all, "candle", "capsules", "audiojack"}
    assert set(_find_categories([tmp_path / "visa"])) == {"candle", "capsules"}
    assert found["candle"][0] == tmp_path / "visa"
    with pytest.raises(FileNotFoundError, match=r"candle: train/good holds 1 images, 5 folds need 5"):
        load_mvtec(tmp_path / "visa", ["candle"])


def test_the_benchmark_takes_tables_and_cifar(tmp_path):
    for number in range(9):
        draw(tmp_path / f"{number}.png")
    labels, splits = ["normal"] * 7 + ["crack", "good"], ["train"] * 6 + ["test"] * 3
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(9)], "label": labels, "split": splits})
    table.to_csv(tmp_path / "parts.csv", index=False)
    records = np.zeros((6, 60, 3073), dtype=np.uint8)
    records[..., 0] = np.arange(60) % 10
    (tmp_path / "cifar").mkdir()
    for name, batch in zip([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], records, strict=True):
        (tmp_path / "cifar" / f"{name}.bin").write_bytes(batch.tobytes())
    categories = load_mvtec([tmp_path / "parts.csv", tmp_path / "cifar"], ["parts", "cifar10_ship"])
    assert [(one.name, len(one.X_train), len(one.X_test)) for one in categories] == [
        ("parts", 6, 3),
        ("cifar10_ship", 30, 60),
    ]
    with pytest.raises(FileNotFoundError, match=r"nothing.csv: there is no such folder"):
        load_mvtec(tmp_path / "nothing.csv")
