"""A tuned network: what changes, what does not, and what survives an interruption."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.deep import Backbone, FineTuner
from skgad.deep.training import _loop
from skgad.deep.training._objectives import GaussianObjective
from skgad.deep.training._tuned_network import TunedNetwork
from skgad.exceptions import DeviceMemoryError, ImageError, TrainingWarning
from skgad.spatial import SpatialMahalanobisDetector

from .conftest import LITE0

SIDE = 32


def make_network():
    """Return a small network with batch norm."""
    torch.manual_seed(0)
    layers = []
    for n_in, n_out in [(3, 6), (6, 8), (8, 10)]:
        layers += [
            torch.nn.Conv2d(n_in, n_out, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(n_out),
            torch.nn.SiLU(inplace=True),
        ]
    network = torch.nn.Sequential(*layers).eval()
    with torch.no_grad():
        for layer in network[1::3]:
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return network


def make_features(network=None):
    return DeepFeatureTransformer(Backbone(network or make_network(), levels=["2", "5", "8"], image_size=SIDE))


def draw_images(n_images=30, seed=0):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, SIDE)[:, np.newaxis, np.newaxis]
    shifts = rng.normal(0, 10, size=(n_images, 1, 1, 1))
    return np.clip(ramp + shifts + rng.normal(0, 12, size=(n_images, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def weights_of(tuner):
    return {name: tensor.clone() for name, tensor in tuner.backbone_.module.state_dict().items()}


def assert_same_weights(one, two):
    one, two = weights_of(one), weights_of(two)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("objective", ["gaussian", "svdd", "fcdd"])
def test_a_learning_rate_of_zero_changes_no_feature_by_a_bit(objective):
    images, features = draw_images(), make_features()
    tuner = FineTuner(features, objective=objective, learning_rate=0.0, max_epochs=2).fit(images)
    np.testing.assert_array_equal(tuner.transform(images).to_numpy(), features.fit_transform(images).to_numpy())
    assert tuner.history_["criterion"].nunique() == 1
    assert tuner.history_["kept"].tolist() == [True, False, False]


def test_tuning_brings_normal_images_closer_and_leaves_statistics_alone():
    images = draw_images()
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tuner = FineTuner(make_features(network), learning_rate=1e-3, max_epochs=8, validation=None).fit(images)
    losses = tuner.history_["loss"]
    assert losses.iloc[-1] < losses.iloc[1]
    assert tuner.score_samples(images).mean() > -losses.iloc[1]
    after = weights_of(tuner)
    assert tuner.history_["criterion"].isna().all()
    for name, tensor in before.items():
        is_statistic = "running" in name or "num_batches" in name
        assert torch.equal(tensor, after[name]) == is_statistic, name
        assert torch.equal(tensor, network.state_dict()[name])  # the user's own is as it was


def test_the_score_is_the_papers_with_the_frozen_networks_gaussians():
    images, new = draw_images(), draw_images(5, seed=1)
    frozen = FineTuner(make_features(), learning_rate=0.0, max_epochs=1, validation=None).fit(images)
    detector = SpatialMahalanobisDetector(make_features(), gaussian="tied", neighborhood=1, standardize=False)
    np.testing.assert_allclose(frozen.score_samples(new), detector.fit(images).score_samples(new), rtol=1e-4)
    np.testing.assert_allclose(frozen.score_maps(new), detector.score_maps(new), rtol=1e-3)


@pytest.mark.parametrize("objective", ["svdd", "fcdd"])
def test_every_objective_has_maps(objective):
    images, odd = draw_images(), draw_images(4, seed=1)
    odd[:, 4:14, 18:28] = 255
    tuner = FineTuner(make_features(), objective=objective, max_epochs=0).fit(images)
    maps = tuner.score_maps(odd)
    assert maps.shape == (4, SIDE, SIDE)
    assert maps[:, 4:14, 18:28].mean() > 1.5 * maps[:, 20:, :16].mean()


def test_the_same_seed_gives_the_same_network_and_another_another():
    images = draw_images()
    options = {"learning_rate": 1e-3, "max_epochs": 2, "objective": "fcdd", "validation": None}
    one, again, other = (FineTuner(make_features(), random_state=s, **options).fit(images) for s in (0, 0, 1))
    assert_same_weights(one, again)
    assert not torch.equal(*(next(iter(weights_of(each).values())) for each in (one, other)))


def test_anomalous_images_are_left_out_and_none_is_trained_and_examined_on():
    images = draw_images()
    y = np.where(np.arange(30) % 5 == 0, -1, 1)
    tuner = FineTuner(make_features(), learning_rate=1e-3, max_epochs=1).fit(images, y)
    assert sorted([*tuner.train_rows_, *tuner.validation_rows_]) == np.flatnonzero(y == 1).tolist()
    assert len(tuner.validation_rows_) == round(0.2 * 24)
    spoilt = np.where((y == -1)[:, None, None, None], 0, images).astype(np.uint8)
    assert_same_weights(tuner, clone(tuner).fit(spoilt, y))


def test_forgetting_is_noticed_and_the_state_before_it_is_kept():
    images = draw_images()
    tuner = FineTuner(make_features(), learning_rate=0.3, max_epochs=40, patience=3).fit(images)
    history = tuner.history_
    kept = history[history["kept"]].iloc[0]
    assert len(history) < 40
    assert kept["criterion"] == history["criterion"].max() >= history["criterion"].iloc[0]
    assert history["criterion"].iloc[-1] < kept["criterion"]
    assert len(history) - 1 == kept["epoch"] + 3


@pytest.mark.parametrize("validation", ["vicinity", "loss"])
def test_the_kept_state_is_the_one_with_the_best_criterion(validation):
    images = draw_images()
    tuner = FineTuner(make_features(), learning_rate=3e-3, max_epochs=6, validation=validation, patience=9).fit(images)
    kept = int(tuner.history_.loc[tuner.history_["kept"], "epoch"].iloc[0])
    assert kept == tuner.history_["criterion"].idxmax()
    if kept:
        shorter = clone(tuner).set_params(max_epochs=kept).fit(images)
        assert_same_weights(tuner, shorter)
    if validation == "loss":
        expected = -(-tuner.score_samples(images[tuner.validation_rows_])).mean()
        assert tuner.history_["criterion"].max() == pytest.approx(expected, rel=1e-5)


def test_an_interrupt_gives_the_best_state_so_far(monkeypatch):
    images = draw_images()
    train = _loop.Loop._train_epoch

    def interrupt(self, number):
        if number == 3:
            raise KeyboardInterrupt
        return train(self, number)

    monkeypatch.setattr(_loop.Loop, "_train_epoch", interrupt)
    with pytest.warns(
        TrainingWarning, match=r"The training was interrupted\. The state of epoch \d is kept, of 2 epochs"
    ):
        tuner = FineTuner(make_features(), learning_rate=1e-3).fit(images)
    monkeypatch.undo()
    assert_same_weights(tuner, FineTuner(make_features(), learning_rate=1e-3, max_epochs=2).fit(images))


def test_an_interrupt_within_an_epoch_gives_the_last_whole_one(monkeypatch):
    images = draw_images()
    accumulate, steps = _loop.Loop._accumulate, []

    def interrupt(self, *args):
        steps.append(1)
        if len(steps) == 7:  # the third step of the second epoch
            raise KeyboardInterrupt
        return accumulate(self, *args)

    monkeypatch.setattr(_loop.Loop, "_accumulate", interrupt)
    with pytest.warns(TrainingWarning, match=r"The state of epoch 1 is kept, of 1 epochs"):
        tuner = FineTuner(make_features(), learning_rate=1e-3, validation=None).fit(images)
    monkeypatch.undo()
    whole = FineTuner(make_features(), learning_rate=1e-3, validation=None, max_epochs=1).fit(images)
    assert_same_weights(tuner, whole)


def test_a_loss_that_is_no_number_ends_the_training_and_names_the_batch(monkeypatch):
    images = draw_images()
    losses, calls = GaussianObjective.losses, []

    def spoil(self, outputs, altered=None):
        calls.append(len(outputs[0]))
        return losses(self, outputs, altered) * (torch.nan if len(calls) == 5 else 1.0)

    monkeypatch.setattr(GaussianObjective, "losses", spoil)
    with pytest.warns(
        TrainingWarning, match=r"The loss is nan in epoch 2, in the batch of images \[\d+.*learning_rate below"
    ):
        tuner = FineTuner(make_features(), learning_rate=1e-3).fit(images)
    assert len(tuner.history_) == 2
    calls.clear()
    unfitted = FineTuner(make_features(), learning_rate=1e-3, validation=None)
    with pytest.raises(ValueError, match=r"The loss is nan in epoch 2"):
        unfitted.fit(images)
    assert not hasattr(unfitted, "extractor_")


def test_out_of_memory_halves_what_is_computed_at_once_and_not_the_batch(monkeypatch, caplog):
    images = draw_images()
    options = {"learning_rate": 1e-3, "max_epochs": 2, "validation": None}
    whole = FineTuner(make_features(), **options).fit(images)
    call = TunedNetwork.__call__

    def fill(self, squares, take):
        if torch.is_grad_enabled() and len(squares) > limit:
            raise torch.OutOfMemoryError("no room")
        return call(self, squares, take)

    monkeypatch.setattr(TunedNetwork, "__call__", fill)
    limit = 2
    parts = FineTuner(make_features(), **options).fit(images)
    assert "going on with 2 images at a time, in batches of 8 as before" in caplog.text
    for one, two in zip(weights_of(whole).values(), weights_of(parts).values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    limit = 0
    with pytest.raises(DeviceMemoryError, match="does not suffice to train on a single image"):
        FineTuner(make_features(), **options).fit(images)


def test_out_of_memory_halves_what_is_examined_at_once(monkeypatch):
    images = draw_images()
    options = {"learning_rate": 1e-3, "max_epochs": 1}
    whole = FineTuner(make_features(), **options).fit(images)
    call = TunedNetwork.__call__

    def fill(self, squares, take):
        if not torch.is_grad_enabled() and len(squares) > limit:
            raise torch.OutOfMemoryError("no room")
        return call(self, squares, take)

    monkeypatch.setattr(TunedNetwork, "__call__", fill)
    limit = 3
    parts = FineTuner(make_features(), **options).fit(images)
    np.testing.assert_allclose(parts.history_["criterion"], whole.history_["criterion"], atol=0.02)
    limit = 0
    with pytest.raises(DeviceMemoryError, match="does not suffice for a single image"):
        FineTuner(make_features(), **options).fit(images)


_KILLED = """
import sys
from tests.test_fine_tuner import FineTuner, draw_images, make_features
from skgad.deep.training import _loop
train = _loop.Loop._train_epoch
def slow(self, number):
    print("epoch", number, flush=True)
    if number == 3:
        import time; time.sleep(60)
    return train(self, number)
_loop.Loop._train_epoch = slow
FineTuner(make_features(), learning_rate=1e-3, max_epochs=5, patience=9, checkpoint=sys.argv[1]).fit(draw_images())
"""


def test_a_killed_training_goes_on_to_the_same_result(tmp_path):
    path = tmp_path / "training.pt"
    child = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.startswith("epoch 3"):
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert path.exists()
    begun = time.perf_counter()
    images = draw_images()
    tuner = FineTuner(make_features(), learning_rate=1e-3, max_epochs=5, patience=9, checkpoint=path)
    resumed = tuner.fit(images)
    whole = clone(tuner).set_params(checkpoint=None).fit(images)
    assert_same_weights(resumed, whole)
    assert resumed.history_.equals(whole.history_)
    assert [one.name for one in tmp_path.iterdir()] == ["training.pt"]  # no part of a file is left
    assert time.perf_counter() > begun
    for change in ({"learning_rate": 1e-4}, {"random_state": 1}):
        with pytest.raises(ValueError, match="belongs to another training"):
            clone(tuner).set_params(**change).fit(images)
    with pytest.raises(ValueError, match="belongs to another training"):
        clone(tuner).fit(images[::-1])
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no checkpoint of a FineTuner"):
        clone(tuner).fit(images)


def test_its_columns_say_that_they_were_learnt_and_no_rate_is_set_on_them():
    images, held_out = draw_images(), draw_images(25, seed=5)
    tuner = FineTuner(make_features(), learning_rate=1e-3, max_epochs=1)
    assert tuner.fit(images).get_feature_names_out()[0] == "level1__tuned0000"
    assert tuner.transform(images).columns.tolist() == tuner.get_feature_names_out().tolist()
    line = make_pipeline(tuner, FPRThresholdCV(MahalanobisDetector(), fpr=0.1))
    with pytest.raises(ValueError, match=r"FineTuner learnt it in front of the folds"):
        line.fit(images)
    frozen = FrozenEstimator(make_pipeline(tuner, NPCA(0.5), MahalanobisDetector()).fit(images))
    calibrated = FPRThresholdCV(frozen, fpr=0.1).fit(held_out)
    assert (calibrated.predict(held_out) == -1).mean() <= 0.1


def test_the_tuned_network_is_handed_on():
    images = draw_images()
    tuner = FineTuner(make_features(), learning_rate=1e-2, max_epochs=1, validation=None).fit(images)
    values = tuner.transform(images).to_numpy()
    assert not np.array_equal(values, make_features().fit_transform(images).to_numpy())
    again = DeepFeatureTransformer(tuner.backbone_).fit_transform(images)
    np.testing.assert_array_equal(again.to_numpy(), values)
    detector = SpatialMahalanobisDetector(tuner.extractor_, gaussian="tied").fit(images)
    assert np.isfinite(detector.score_samples(images)).all()
    assert pickle.loads(pickle.dumps(detector)).score_samples(images) == pytest.approx(detector.score_samples(images))


def test_files_hold_the_tuned_network(photographs):
    features = DeepFeatureTransformer(LITE0, levels=[3, 5], image_size=64, resize="antialias")
    tuner = FineTuner(features, learning_rate=1e-3, max_epochs=1, validation=None).fit(photographs)
    content = pickle.dumps(tuner)
    code = (
        "import pickle, sys, numpy as np\n"
        "tuner, images = pickle.load(sys.stdin.buffer)\n"
        "np.save(sys.stdout.buffer, np.column_stack([tuner.transform(images), tuner.score_samples(images)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((tuner, list(photographs))), capture_output=True, check=True
    )
    import io

    found = np.load(io.BytesIO(done.stdout))
    expected = np.column_stack([tuner.transform(photographs), tuner.score_samples(photographs)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected[:, :-1], features.fit_transform(photographs))
    assert len(content) < 25e6
    again = DeepFeatureTransformer(tuner.backbone_, levels=[3, 5], image_size=64, resize="antialias")
    np.testing.assert_array_equal(again.fit_transform(photographs).to_numpy(), tuner.transform(photographs).to_numpy())


def test_a_search_goes_over_objectives_and_learning_rates():
    images = np.concatenate([draw_images(24), 255 - draw_images(6, seed=3)])
    y = np.repeat([1, -1], [24, 6])
    line = make_pipeline(FineTuner(make_features(), max_epochs=1, validation=None), MahalanobisDetector())
    grid = {"finetuner__objective": ["gaussian", "svdd"], "finetuner__learning_rate": [0.0, 1e-3]}
    search = GridSearchCV(line, grid, scoring="roc_auc", cv=StratifiedKFold(2), error_score="raise").fit(images, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"objective": "vae"}, "objective must be one of 'gaussian', 'svdd', 'fcdd'"),
        ({"gaussian": "full"}, "gaussian must be one of"),
        ({"aggregate": "top"}, "aggregate must be one of 'max', 'mean'"),
        ({"validation": True}, "validation must be one of 'vicinity', 'loss', None"),
        ({"vicinity": "mixup"}, "vicinity must be one of"),
        ({"learning_rate": -1}, "learning_rate must be a non-negative number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a non-negative number"),
        ({"batch_size": 0}, "batch_size must be a positive int"),
        ({"max_epochs": -1}, "max_epochs must be a non-negative int"),
        ({"patience": 0}, "patience must be a positive int"),
        ({"severity": 11}, r"severity must lie in 1\.\.10"),
        ({"validation_fraction": 1.0}, r"validation_fraction must be a share in \(0, 1\)"),
        ({"random_state": None}, "random_state must be a non-negative int"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        FineTuner(make_features(), **params).fit(draw_images(6))


def test_bad_input_is_refused_and_leaves_the_fit_as_it_was(tmp_path):
    images = draw_images()
    with pytest.raises(TypeError, match="features must be a DeepFeatureTransformer"):
        FineTuner(NPCA()).fit(images)
    with pytest.raises(ValueError, match="n_samples = 2 normal images are too few to train on 1 of them"):
        FineTuner(make_features()).fit(images[:2])
    tuner = FineTuner(make_features(), max_epochs=0).fit(images)
    (tmp_path / "bad.png").write_text("no image")
    paths = [tmp_path / "bad.png"] * 5
    with pytest.raises(ImageError, match=r"bad\.png"):
        tuner.fit(paths)
    assert tuner.history_["kept"].tolist() == [True]
    assert np.isfinite(tuner.score_samples(images)).all()
