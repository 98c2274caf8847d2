import importlib.util
from pathlib import Path

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
            "ground_truth/hole/0_mask.png", "ground_truth/hole/1_mask.png",
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
    masks = [str(tmp_path / f"ground_truth/hole/{number}_mask.png") for number in (0, 1)]
    assert data.mask_test.tolist() == [None, *masks]


MASKS = ["0.bmp", "0_MASK.PNG", "0_label.png", "0_mask.png", "0.png", "0_GT.tif", "0_Mask.Bmp", "0.JPG"]


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_found_whatever_its_ending_and_case(tmp_path, name):
    make_folder(tmp_path, ["train/good/0.png", "test/ko/0.bmp", "test/good/0.png", f"ground_truth/ko/{name}"])
    assert load_image_folder(tmp_path).mask_test.tolist() == [None, str(tmp_path / "ground_truth/ko" / name)]


def test_masks_go_by_the_whole_name_and_the_first_of_several_counts(tmp_path):
    images = ["1.png", "11.png", "part_mask.png", "A.png", "a.png"]
    masks = ["1_mask.png", "1.png", "11.png", "part_mask_label.png", "A_mask.png", "a_mask.png"]
    make_folder(tmp_path, ["train/good/0.png", *[f"test/ko/{name}" for name in images]])
    make_folder(tmp_path / "ground_truth/ko", masks)
    with pytest.warns(ImageWarning, match=r"ko: 1 files are no image's mask, and are left out: 1\.png$") as caught:
        data = load_image_folder(tmp_path)
    assert len(caught) == 1
    found = {Path(image).name: Path(mask).name for image, mask in zip(data.X_test, data.mask_test, strict=True)}
    assert found == {
        "1.png": "1_mask.png", "11.png": "11.png", "part_mask.png": "part_mask_label.png", "A.png": "A_mask.png",
        "a.png": "a_mask.png",
    }  # fmt: skip


def test_an_anomalous_image_without_a_mask_is_named_where_others_have_one(tmp_path):
    names = ["test/ko/0.png", "test/ko/1.png", "test/hole/0.png", "test/good/0.png", "ground_truth/ko/0.png"]
    make_folder(tmp_path, ["train/good/0.png", *names])
    with pytest.warns(ImageWarning, match=r"no mask of 2 anomalous images.*: hole/0\.png, ko/1\.png\. Leave") as caught:
        data = load_image_folder(tmp_path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [mask is None for mask in data.mask_test] == [True, True, False, True]


def test_case_does_not_matter(tmp_path):
    names = ["Train/GOOD/0.png", "TEST/Good/0.png", "TEST/Ko/0.PNG", "Ground_Truth/ko/0_MASK.png"]
    make_folder(tmp_path, names)
    data = load_image_folder(tmp_path)
    assert [data.X_train.tolist(), data.X_test.tolist()] == [
        [str(tmp_path / names[0])], [str(tmp_path / name) for name in names[1:3]]
    ]  # fmt: skip
    assert data.kind_test.tolist() == ["Good", "Ko"]
    assert data.y_test.tolist() == [1, -1]
    assert data.mask_test.tolist() == [None, str(tmp_path / names[3])]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test/0.png", r"test: 1 pictures lie in no folder of a kind, and are left out: 0\.png$"),
        ("train/0.png", "train: 1 pictures"),
        ("ground_truth/0.png", "ground_truth: 1 pictures"),
        ("0.png", r"1 pictures or folders lie outside of train/, test/, ground_truth/, and are left out: 0\.png$"),
        ("validation/good/0.png", "1 pictures or folders .* left out: validation$"),
        ("test/good/more/0.png", "good: 1 files or folders are no images that are read, and are left out: more$"),
        ("ground_truth/scratch/0.png", "ground_truth: 1 folders are no kind of test, and are left out: scratch$"),
        ("ground_truth/good/7.png", r"good: 1 files are no image's mask, and are left out: 7\.png$"),
    ],
)
def test_what_is_left_out_is_named(tmp_path, name, message):
    make_folder(tmp_path, ["train/good/0.png", "test/good/0.png", name])
    (tmp_path / "license.txt").write_text("of the data")
    (tmp_path / "results").mkdir()
    with pytest.warns(ImageWarning, match=message) as caught:
        data = load_image_folder(tmp_path)
    assert (len(caught), len(data.X_train), len(data.X_test)) == (1, 1, 1)


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
