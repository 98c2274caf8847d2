import importlib.util

import pytest
from PIL import Image

from skgad.datasets import load_elpv, load_image_folder
from skgad.exceptions import ImageWarning


@pytest.mark.parametrize(
    ("kind", "n_normal", "n_defective"), [("mono", 588, 313), ("poly", 920, 402), ("all", 1508, 715)]
)
def test_elpv_counts(kind, n_normal, n_defective):
    paths, y = load_elpv(kind)
    assert (len(paths), (y == 1).sum(), (y == -1).sum()) == (n_normal + n_defective, n_normal, n_defective)
    with Image.open(paths[-1]) as image:
        assert image.size == (300, 300)


def test_elpv_states_its_licence():
    assert "non-commercial" in load_elpv.__doc__


def test_elpv_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="'mono', 'poly', 'all'"):
        load_elpv("multi")


def test_elpv_names_the_missing_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install elpv-dataset"):
        load_elpv()


def make_folder(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(root / name)


def test_image_folder(tmp_path):
    make_folder(
        tmp_path,
        [
            "train/good/b.png", "train/good/a.JPG", "test/good/0.png", "test/hole/0.png", "test/hole/1.bmp",
            "ground_truth/hole/0_mask.png",
        ],
    )  # fmt: skip
    (tmp_path / "train/good/notes.txt").write_text("no image")
    (tmp_path / "train/good/.hidden.png").write_text("no image")
    (tmp_path / "train/good/manual.pdf").write_text("no image")
    (tmp_path / "train/good/folder.png").mkdir()
    with pytest.warns(ImageWarning, match=r"good: 3 files or folders are no images.*folder.png, manual.pdf, notes.txt"):
        data = load_image_folder(tmp_path)
    assert [path.rsplit("/", 1)[1] for path in data.X_train] == ["a.JPG", "b.png"]
    assert data.kind_test.tolist() == ["good", "hole", "hole"]
    assert data.y_test.tolist() == [1, -1, -1]
    assert data.mask_test[1].endswith("ground_truth/hole/0_mask.png")
    assert data.mask_test[[0, 2]].tolist() == [None, None]


def test_image_folder_with_normal_images_only(tmp_path):
    make_folder(tmp_path, ["train/good/0.png"])
    data = load_image_folder(str(tmp_path))
    assert len(data.X_train) == 1
    assert [len(data[key]) for key in ("X_test", "y_test", "kind_test", "mask_test")] == [0, 0, 0, 0]


@pytest.mark.parametrize("names", [[], ["test/good/0.png"], ["good/0.png"]])
def test_image_folder_without_normal_images_says_where_they_belong(tmp_path, names):
    make_folder(tmp_path, names)
    with pytest.raises(FileNotFoundError, match=r"train/good holds no images"):
        load_image_folder(tmp_path)


def test_image_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        load_image_folder(tmp_path / "nowhere")


def test_image_folder_refuses_anomalies_in_train(tmp_path):
    make_folder(tmp_path, ["train/good/0.png", "train/hole/0.png"])
    with pytest.raises(ValueError, match=r"holds \['hole'\]"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "n_train", "n_good", "n_defects", "has_masks"),
    [
        ("mvtec_ad/bottle", 209, 20, 63, True),
        ("mvtec_ad/transistor", 213, 60, 40, False),
        ("magnetic_tile/tile", 300, 120, 392, True),
        ("kolektor_sdd/commutator", 235, 98, 50, True),
    ],
)
def test_real_folders(image_folders, name, n_train, n_good, n_defects, has_masks):
    data = load_image_folder(image_folders / name)
    assert (len(data.X_train), (data.y_test == 1).sum(), (data.y_test == -1).sum()) == (n_train, n_good, n_defects)
    assert all(mask is None for mask in data.mask_test[data.y_test == 1])
    assert all((mask is not None) == has_masks for mask in data.mask_test[data.y_test == -1])
