"""Images in other light, and what becomes of a line when photographs change."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad._images._relighting import relight
from skgad.benchmark import _shift, run_shift
from skgad.benchmark._command import main
from skgad.deep import MaskedImage, VariedImages
from skgad.exceptions import ImageError

from .conftest import LITE0


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(60, 180, size=(26, 40, 48, 3), dtype=np.uint8)


def test_light_changes_the_mean_and_the_spread(images):
    image = images[0]
    np.testing.assert_allclose(relight(image, 1.2).mean(), 1.2 * image.mean(), rtol=1e-2)
    np.testing.assert_allclose(relight(image, 1.0, 0.5).std(), 0.5 * image.std(), rtol=1e-2)
    np.testing.assert_array_equal(relight(image), image)
    assert relight(image, 9.0).max() == 255


def test_copies_follow_their_image_and_lie_in_the_range(images):
    varied = VariedImages(images[:3], 2, brightness=0.2, contrast=0.0)
    assert len(varied) == 9
    assert varied.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    factors = [varied[position].mean() / images[position // 3].mean() for position in range(9)]
    np.testing.assert_allclose(factors[::3], 1)
    assert all(0.79 < factor < 1.21 for factor in factors)
    assert len(set(np.round(factors, 4))) == 7
    np.testing.assert_array_equal(varied[4], VariedImages(images[:2], 2, contrast=0.0)[4])
    assert not np.array_equal(varied[4], VariedImages(images[:2], 2, contrast=0.0, random_state=1)[4])


def test_copies_keep_their_region_of_interest(images):
    varied = VariedImages([MaskedImage(images[0], np.eye(40, 48))], 1)
    assert isinstance(varied[1], MaskedImage)
    np.testing.assert_array_equal(varied[1].roi, np.eye(40, 48))
    features = DeepFeatureTransformer(LITE0, levels=[4], image_size=32)
    assert features.fit_transform(varied).shape == (2, 40)


def test_a_photograph_counts_once_whatever_its_copies(images):
    varied = VariedImages(images, 1)
    X = DeepFeatureTransformer(LITE0, levels=[4], image_size=32).fit_transform(varied)
    inspector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.1).fit(X, groups=varied.groups)
    assert inspector.n_groups_ == 26


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_copies": -1}, "n_copies"), ({"brightness": 1}, "brightness"), ({"contrast": -0.1}, "contrast")],
)
def test_ranges_are_checked(images, options, message):
    with pytest.raises(ValueError, match=message):
        VariedImages(images, **options)
    with pytest.raises(ImageError):
        VariedImages([])


def test_alterations_do_what_their_names_say(images):
    image = images[0]
    changed = {name: alter(image, *strengths) for name, (alter, strengths) in _shift.ALTERATIONS.items()}
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in changed.values())
    same = [name for name, one in changed.items() if np.array_equal(one, image)]
    assert same == ["as they are", "shifted by 1 %"]  # of 40 pixels
    assert changed["20 % darker"].mean() == pytest.approx(0.8 * image.mean(), rel=0.01)
    assert changed["30 % less contrast"].std() == pytest.approx(0.7 * image.std(), rel=0.01)
    assert changed["blurred, 2 px"].std() < changed["blurred, 1 px"].std() < image.std()
    assert np.std(changed["noise, 15 of 255"].astype(float) - image) == pytest.approx(15, rel=0.03)
    np.testing.assert_array_equal(changed["shifted by 3 %"][1:, 1:], image[:-1, :-1])


def test_a_line_is_measured_under_each_and_goes_on_where_it_was(images, tmp_path, monkeypatch, capsys):
    for position, image in enumerate(images):
        kind = "train/good" if position < 22 else "test/good" if position < 24 else "test/spot"
        folder = tmp_path / "sets" / "cloth" / kind
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "test/spot":
            image = image.copy()
            image[10:30, 10:30] = 255
        Image.fromarray(image).save(folder / f"{position}.png")
    few = {name: _shift.ALTERATIONS[name] for name in ("as they are", "20 % brighter")}
    monkeypatch.setattr(_shift, "ALTERATIONS", few)
    arguments = ["shift", "--data", "mvtec", "--root", str(tmp_path / "sets"), "--backbone", LITE0]
    arguments += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--copies", "0", "1"]
    assert main(arguments) == 0
    assert "| 20 % brighter |" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "shift.csv")
    assert table[["copies", "alteration"]].to_numpy().tolist() == [[n, name] for n in (0, 1) for name in few]
    assert table["AUROC"].iloc[0] == 100
    monkeypatch.setattr(_shift, "_measure", None)  # nothing is measured again
    assert main([*arguments, "--quiet"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "shift.csv"), table)


def test_nothing_to_measure_is_refused(tmp_path):
    with pytest.raises(ValueError, match="categories is empty"):
        run_shift(categories=[], out=tmp_path)
