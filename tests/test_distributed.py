"""Lines that are learnt in parts: the same as on one machine, on a real cluster on loopback, whatever befalls it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, ShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline

from skgad import (
    NPCA,
    CellwiseDetector,
    CombinedDetector,
    DeepFeatureTransformer,
    FPRThreshold,
    FPRThresholdCV,
    LevelwiseTransformer,
    MahalanobisDetector,
    MahalanobisMixture,
    load_line,
    make_line,
    save_line,
)
from skgad.deep import cache_info
from skgad.deep.training import FineTuner
from skgad.distributed import fit, score_samples
from skgad.distributed._columns import Scores
from skgad.distributed._engines import Cluster, Here, choose_engine
from skgad.distributed._kept import Kept
from skgad.distributed._parts import Part
from skgad.distributed._pixels import PixelSketch
from skgad.distributed._reading import Source
from skgad.distributed._summaries import Summary
from skgad.distributed._tasks import score_unseen, summarise
from skgad.exceptions import CacheError, ImageError, ImageWarning, WeightsWarning
from skgad.model_selection import LevelSelector
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector, SpatialSubspaceDetector
from skgad.spatial._maps import LargestPixels

from .conftest import LITE0
from .distributed_steps import Means

distributed = pytest.importorskip("distributed")

# asyncio and Dask's connections on loopback, and what they warn of on a busy machine
pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:The chi-square threshold"),
]


@contextmanager
def start_cluster(n_workers, **options):
    """A real cluster of processes, of one thread each."""
    config = {"distributed.worker.memory.terminate": False, "distributed.comm.timeouts.connect": "20s"}
    import dask

    with (
        patch.dict(
            os.environ
        ),  # Dask sets one thread for its workers in the environment of this process, and leaves it
        dask.config.set(config),
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0", **options
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with start_cluster(2) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """120 small pictures, as files."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(120):
        ramp = np.add.outer(np.arange(40), np.arange(40)) * rng.uniform(1, 3)
        picture = np.clip(ramp[..., np.newaxis] + rng.normal(0, 15, size=(40, 40, 3)), 0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return [str(path) for path in sorted(folder.glob("*.png"))]


def extractor(**params):
    return DeepFeatureTransformer(**{"backbone": LITE0, "image_size": 32, "levels": [3, 4], **params})


def make_rows(n_samples, *, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.gamma(2, size=(n_samples, 12)) @ rng.normal(size=(12, 12)) * np.logspace(-1, 1, 12)
    names = [f"level1__{number:04d}" for number in range(5)] + [f"level2__{number:04d}" for number in range(7)]
    return pd.DataFrame(rows, columns=names)


def assert_same(one, other, X, rtol=1e-6):
    np.testing.assert_allclose(other.score_samples(X), one.score_samples(X), rtol=rtol)
    thresholds = [getattr(each, "steps", [("", each)])[-1][1] for each in (one, other)]
    for name in ("offset_", "inflation_", "out_of_fold_scores_", "n_samples_seen_", "fpr_interval_"):
        if hasattr(thresholds[0], name):
            np.testing.assert_allclose(getattr(thresholds[1], name), getattr(thresholds[0], name), rtol=rtol)


COLUMNS = {
    "each level": MahalanobisDetector(),
    "joint": MahalanobisDetector(levels="joint"),
    "oas": MahalanobisDetector("oas"),
    "diagonal": MahalanobisDetector("diagonal"),
    "identity": MahalanobisDetector("identity", levels="joint"),
    "npca": make_pipeline(NPCA(0.05), MahalanobisDetector()),
    "chi": make_pipeline(NPCA(0.05), MahalanobisDetector(), FPRThreshold(0.05)),
    "loo each": FPRThresholdCV(MahalanobisDetector(), fpr=0.05),
    "loo joint": FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.05),
    "loo empirical": FPRThresholdCV(MahalanobisDetector("empirical"), fpr=0.05),
    "loo diagonal": FPRThresholdCV(MahalanobisDetector("diagonal"), fpr=0.05),
    "loo identity": FPRThresholdCV(MahalanobisDetector("identity", levels="joint"), fpr=0.05),
    "loo npca": FPRThresholdCV(make_pipeline(NPCA(0.05), MahalanobisDetector()), fpr=0.05),
    "loo npca oas": FPRThresholdCV(make_pipeline(NPCA(4), MahalanobisDetector("oas")), fpr=0.05),
    "folds": FPRThresholdCV(MahalanobisDetector(), fpr=0.05, cv=6),
    "shuffled folds": FPRThresholdCV(MahalanobisDetector(), fpr=0.05, cv=KFold(6, shuffle=True, random_state=0)),
}


@pytest.mark.parametrize("n_samples", [140, 1200])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_line_of_columns_is_that_of_one_machine_whatever_the_parts(name, n_samples):
    X = make_rows(n_samples)
    whole = clone(COLUMNS[name]).fit(X)
    for size in (n_samples // 3, 37):
        assert_same(whole, fit(clone(COLUMNS[name]), X, partition_size=size), X)


@pytest.mark.parametrize("name", ["each level", "loo joint", "loo npca", "folds"])
def test_a_line_of_columns_is_that_of_one_machine_on_a_cluster(name, client):
    X = make_rows(1100)
    parts = fit(clone(COLUMNS[name]), X, client=client)
    assert_same(clone(COLUMNS[name]).fit(X), parts, X)
    np.testing.assert_allclose(score_samples(parts, X, client=client), parts.score_samples(X))


def test_the_client_that_was_made_last_is_the_default(client, monkeypatch):
    monkeypatch.setattr("distributed.client.default_client", lambda: client)
    assert isinstance(choose_engine(None, once=False), Cluster)
    assert isinstance(choose_engine(None, once=True), Here)
    monkeypatch.undo()
    assert isinstance(choose_engine(None, once=False), Here)


def test_moments_are_those_of_one_machine_in_nine_digits(client):
    X = make_rows(900)
    one, other = MahalanobisDetector().fit(X), fit(MahalanobisDetector(), X, client=client, partition_size=64)
    for name in ("location_", "covariance_"):
        for level, expected in zip(getattr(other, name), getattr(one, name), strict=True):
            np.testing.assert_allclose(level, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_few_rows_of_many_features_are_kept_and_take_updates():
    rng = np.random.default_rng(0)
    X, more = rng.normal(size=(30, 90)), rng.normal(size=(5, 90))
    one, other = (FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=0.1) for _ in range(2))
    assert_same(one.fit(X), fit(other, X, partition_size=7), more)
    assert_same(one.update(more), other.update(more), X)


def test_all_others_are_summed_anew_for_a_row_beside_which_nothing_is_left_of_them():
    X = make_rows(1200)
    X.iloc[3] *= 3000
    X.iloc[60, 0] += 1e5
    for name in ("loo each", "loo joint", "loo diagonal", "loo npca"):
        # behind NPCA the kurtosis of more than a thousand rows is that of all, which such rows dominate
        rtol = 2e-3 if name == "loo npca" else 1e-6
        assert_same(clone(COLUMNS[name]).fit(X), fit(clone(COLUMNS[name]), X, partition_size=300), X, rtol)


@pytest.mark.parametrize("levels", ["each", "joint"])
def test_a_line_of_images_is_that_of_one_machine(levels, paths, client):
    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(levels=levels), fpr=0.05))
    one, other = clone(line).fit(paths), fit(clone(line), paths, client=client, partition_size=17)
    assert_same(one, other, paths)
    np.testing.assert_allclose(score_samples(other, paths, client=client), one.score_samples(paths), rtol=1e-6)


def test_what_stands_inside_the_threshold_is_learnt_too(paths, client):
    line = FPRThresholdCV(make_pipeline(extractor(), NPCA(0.1), MahalanobisDetector()), fpr=0.05)
    one, other = clone(line).fit(paths), fit(clone(line), paths, client=client)
    assert_same(one, other, paths)
    np.testing.assert_allclose(score_samples(other, paths, client=client), one.score_samples(paths), rtol=1e-6)
    assert other.get_params()["fpr"] == 0.05


MAPS = {
    "local": SpatialMahalanobisDetector(extractor()),
    "tied": FPRThresholdCV(SpatialMahalanobisDetector(extractor(), gaussian="tied"), fpr=0.05, cv=5),
    "local standardized": FPRThresholdCV(SpatialMahalanobisDetector(extractor()), fpr=0.05),
    "global as it is": FPRThresholdCV(
        SpatialMahalanobisDetector(extractor(), gaussian="global", standardize=False), fpr=0.05, cv=4
    ),
    "subspace": FPRThresholdCV(SpatialSubspaceDetector(extractor(), rotations=1), fpr=0.05, cv=4),
    "tiles": FPRThresholdCV(
        SpatialMahalanobisDetector(extractor(image_size=None, tiles=64), shared=True), fpr=0.05, cv=4
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_line_with_maps_is_that_of_one_machine(name, paths):
    images = paths[:48]
    if name == "tiles":
        images = [np.asarray(Image.open(path).resize((96, 96))) for path in paths[:24]]
    one, other = clone(MAPS[name]).fit(images), fit(clone(MAPS[name]), images, partition_size=11)
    assert_same(one, other, images)
    if hasattr(one, "estimator_"):
        inner = one.estimator_, other.estimator_
        np.testing.assert_allclose(inner[1].pixel_threshold_, inner[0].pixel_threshold_, rtol=1e-6)
        np.testing.assert_allclose(inner[1].map_peaks_, inner[0].map_peaks_, rtol=1e-6)


@pytest.mark.parametrize("name", ["local", "local standardized"])
def test_a_line_with_maps_is_that_of_one_machine_on_a_cluster(name, paths, client):
    one, other = clone(MAPS[name]).fit(paths), fit(clone(MAPS[name]), paths, client=client, partition_size=25)
    assert_same(one, other, paths)
    np.testing.assert_allclose(score_samples(other, paths, client=client), one.score_samples(paths), rtol=1e-6)


def test_bags_series_and_frames_of_dask_are_gone_through_by_their_partitions(paths, client):
    import dask.bag
    import dask.dataframe

    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    one = clone(line).fit(paths)
    bag = dask.bag.from_sequence(paths, npartitions=4)
    assert_same(one, fit(clone(line), bag, client=client), paths)
    table = dask.dataframe.from_pandas(pd.DataFrame({"path": paths}), npartitions=3)
    assert_same(one, fit(clone(line), table["path"], client=client), paths)
    np.testing.assert_allclose(score_samples(one, bag, client=client), one.score_samples(paths), rtol=1e-6)
    with pytest.raises(ImageError, match="pass the column that holds the paths"):
        fit(clone(line), table, client=client)
    X = make_rows(300)
    features = dask.dataframe.from_pandas(X, npartitions=4)
    assert_same(clone(COLUMNS["loo joint"]).fit(X), fit(clone(COLUMNS["loo joint"]), features, client=client), X)


def test_steps_in_front_may_take_rows_of_a_table(client):
    X = make_rows(300)
    line = make_pipeline(LevelSelector([2]), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    for given in (client, None):
        assert_same(clone(line).fit(X), fit(clone(line), X, client=given, partition_size=70), X)
    X.iloc[130, 8] = np.nan
    for each in (line, MahalanobisDetector()):
        with pytest.raises(ValueError, match="contains NaN in row 60") as caught:
            fit(clone(each), X, partition_size=70)
        assert caught.value.__notes__ == ["With images 70 to 139 of X."]


def test_a_dask_array_is_gone_through_by_its_rows(client):
    import dask.array

    X = make_rows(300).to_numpy()
    rows = dask.array.from_array(X, chunks=(80, 12))
    line = FPRThresholdCV(MahalanobisDetector(), fpr=0.05)
    assert_same(clone(line).fit(X), fit(clone(line), rows, client=client), X)
    with pytest.raises(ValueError, match=r"rows are cut: X.rechunk\(\{1: -1\}\)"):
        fit(clone(line), rows.rechunk((80, 5)), client=client)
    with pytest.raises(ValueError, match="Repartition a Dask collection"):
        fit(clone(line), rows, client=client, partition_size=20)
    with pytest.raises(ValueError, match="y goes with a sequence"):
        fit(clone(line), rows, np.ones(300), client=client)


def test_images_may_be_arrays(paths, client):
    images = np.stack([np.asarray(Image.open(path)) for path in paths[:60]])
    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    assert_same(clone(line).fit(images), fit(clone(line), images, client=client), images)
    np.testing.assert_allclose(
        score_samples(clone(line).fit(images), list(images), client=client),
        line.fit(images).score_samples(images),
        1e-6,
    )


def test_labels_leave_anomalous_images_out(paths):
    y = np.where(np.arange(len(paths)) % 5 == 2, -1, 1)
    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    assert_same(clone(line).fit(paths, y), fit(clone(line), paths, y, partition_size=20), paths)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (make_pipeline(extractor(), MahalanobisMixture()), "MahalanobisMixture learns from all images at once"),
        (make_pipeline(extractor(), CellwiseDetector()), "CellwiseDetector learns from all images at once"),
        (PatchNeighborsDetector(extractor()), "PatchNeighborsDetector learns from all"),
        (
            make_pipeline(extractor(), LevelwiseTransformer(PCA(2)), MahalanobisDetector()),
            "LevelwiseTransformer learns",
        ),
        (make_pipeline(FineTuner(LITE0), MahalanobisDetector()), "FineTuner learns .* it trains a network"),
        (CombinedDetector([("one", MahalanobisDetector())]), "CombinedDetector learns"),
        (FPRThresholdCV(FrozenEstimator(MahalanobisDetector().fit(np.eye(4)))), "is frozen"),
        (FPRThresholdCV(make_pipeline(NPCA(), MahalanobisDetector()), cv=5), "behind NPCA takes a fit a fold"),
        (FPRThresholdCV(SpatialMahalanobisDetector(extractor()), cv="loo"), "takes refits of all images but one"),
        (make_pipeline(NPCA(), MahalanobisDetector(levels="joint")), "costs detections"),
        (make_pipeline(NPCA(rule="published"), MahalanobisDetector()), "keeps directions without variance"),
        (make_pipeline(extractor(), SpatialMahalanobisDetector()), "takes images, and no step"),
    ],
)
def test_what_parts_do_not_add_up_to_is_refused_by_name(line, message):
    with pytest.raises(ValueError, match=message):
        fit(line, ["nothing.png"])


@pytest.mark.parametrize("cv", [ShuffleSplit(3), LeaveOneOut()])
def test_folds_must_cover_each_image_once(cv):
    line, X = FPRThresholdCV(MahalanobisDetector(), fpr=0.1, cv=cv), make_rows(30)
    if isinstance(cv, LeaveOneOut):
        assert_same(clone(line).fit(X), fit(clone(line), X), X)
    else:
        with pytest.raises(ValueError, match="must test each normal image once"):
            fit(line, X)


def test_a_fit_that_fails_leaves_the_line_as_it_was(paths):
    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05)).fit(paths)
    before = line.score_samples(paths[:3])
    with pytest.raises(ImageError, match=r"^image 41, 'gone.png'"):
        fit(line, [*paths[:41], "gone.png", *paths[41:]], partition_size=20)
    with pytest.raises(ValueError, match="cannot be reached with n_samples = 5"):
        fit(line, paths[:5])
    np.testing.assert_array_equal(line.score_samples(paths[:3]), before)


@pytest.mark.parametrize("empty", [[], iter([])])
def test_nothing_is_refused(empty):
    with pytest.raises((ValueError, ImageError), match="empty"):
        fit(make_pipeline(extractor(), MahalanobisDetector()), empty)


def test_images_that_cannot_be_used_make_one_list_of_all_workers(paths, tmp_path, client):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images = [*paths[:30], str(broken), *paths[30:90], "gone.png", *paths[90:]]
    line = make_pipeline(extractor(on_bad_image="nan"), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    with pytest.warns(ImageWarning) as caught:
        found = fit(clone(line), images, client=client, partition_size=20)
    [message] = [str(one.message) for one in caught]
    assert message.startswith("2 of 122 images cannot be used; they were left out of the fit:")
    assert "image 30, " in message
    assert "broken.png" in message
    assert "image 91, 'gone.png'" in message
    assert_same(clone(line).fit(paths), found, paths)
    for one in (found, fit(clone(MAPS["local"]).set_params(features__on_bad_image="nan"), paths)):
        with pytest.warns(ImageWarning, match="2 of 122 images cannot be used; their scores are NaN") as caught:
            scores = score_samples(one, images, client=client, partition_size=20)
        assert len(caught) == 1
        assert "image 91, 'gone.png'" in str(caught[0].message)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), [30, 91])


def test_an_image_that_cannot_be_used_is_named_with_its_worker(paths, client):
    with pytest.raises(ImageError, match=r"^image 91, 'gone.png'.*\(worker tcp://127"):
        fit(make_pipeline(extractor(), MahalanobisDetector()), [*paths[:91], "gone.png"], client=client)


def test_weights_that_a_worker_lacks_are_an_error(paths, client, tmp_path):
    import torch
    from timm import create_model

    weights = create_model(LITE0).state_dict()
    line = make_pipeline(extractor(weights=weights), MahalanobisDetector())
    with pytest.raises(Exception, match="state dict") as caught:
        fit(line, paths, client=client)
    assert type(caught.value).__name__ == "WeightsError"
    torch.save(weights, tmp_path / "weights.pth")
    line = make_pipeline(extractor(weights=tmp_path / "weights.pth"), MahalanobisDetector())
    assert_same(clone(line).fit(paths), fit(clone(line), paths, client=client), paths)


def test_without_room_on_a_disk_the_result_is_the_same_and_the_worker_named(paths, client):
    def fill(folder_of=None):
        from skgad.distributed._kept import Kept

        def refuse(self, number, key, arrays):
            return "No space left on device (/full)"

        Kept.saved, Kept.save = Kept.save, refuse

    def mend():
        from skgad.distributed._kept import Kept

        Kept.save = Kept.saved

    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    full = next(iter(client.nthreads()))
    client.run(fill, workers=[full])
    try:
        with pytest.warns(UserWarning, match=f"could not be kept on worker {full}: No space left"):
            found = fit(clone(line), paths, client=client, partition_size=15)
    finally:
        client.run(mend, workers=[full])
    assert_same(clone(line).fit(paths), found, paths)


def test_a_part_counts_once():
    one = Summary(0, 0, 10, {})
    assert one.merge(Summary(1, 3, 10, {})).last == 3
    for other in (Summary(0, 0, 10, {}), Summary(2, 2, 10, {})):
        with pytest.raises(RuntimeError, match="counted twice, or lost"):
            one.merge(other)


def make_means(**params):
    """A line without a network, so that a process that starts again has soon caught up."""
    return make_pipeline(Means(**params), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))


def test_workers_that_are_killed_change_nothing(paths):
    done = threading.Event()

    def kill_twice(client):
        for _ in range(2):
            done.wait(0.7)
            workers = client.run(os.getpid)
            os.kill(next(iter(workers.values())), signal.SIGKILL)

    with start_cluster(2) as client:
        killer = threading.Thread(target=kill_twice, args=(client,))
        killer.start()
        found = fit(make_means(seconds=0.15), paths, client=client, partition_size=6)
        done.set()
        killer.join()
    here = fit(make_means(), paths, partition_size=6)
    np.testing.assert_array_equal(found[-1].out_of_fold_scores_, here[-1].out_of_fold_scores_)
    assert_same(make_means().fit(paths), here, paths)


def test_a_worker_that_leaves_and_one_that_is_slow_change_nothing(paths):
    expected = make_means().fit(paths)
    with start_cluster(2) as client:
        slow, fast = client.nthreads()
        client.run(lambda: os.environ.update(SKGAD_TEST_SLOWER="5"), workers=[slow])
        assert_same(expected, fit(make_means(seconds=0.05), paths, client=client, partition_size=6), paths)
        leaves = threading.Timer(0.4, client.retire_workers, [[fast]])
        leaves.start()
        found = fit(make_means(seconds=0.05), paths, client=client, partition_size=6)
        leaves.join()
        assert list(client.nthreads()) == [slow]
    assert_same(expected, found, paths)


def test_images_at_which_workers_die_are_named(paths):
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        start_cluster(1) as client,
        pytest.raises(RuntimeError, match=r"Images .* were not .*: 2 workers died while they had .*60 to 79.* tcp://"),
    ):
        fit(make_means(deadly="/066.png"), paths, client=client, partition_size=20)


def test_a_scheduler_that_is_lost_is_said_and_a_checkpoint_goes_on(paths, tmp_path):
    import dask

    line, checkpoint = make_means(seconds=0.3), tmp_path / "checkpoint"
    config = {"distributed.comm.timeouts.connect": "3s", "distributed.comm.retry.count": 0}
    with patch.dict(os.environ), dask.config.set(config):
        cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
        client = distributed.Client(cluster, set_as_default=False)

        def close_when_some_are_kept():
            while len(list(checkpoint.glob("part*.npz"))) < 2:
                time.sleep(0.05)
            cluster.close()

        closer = threading.Thread(target=close_when_some_are_kept)
        closer.start()
        try:
            with pytest.raises(RuntimeError, match=r"the scheduler .*was lost"):
                fit(clone(line), paths, client=client, checkpoint=checkpoint, partition_size=10)
        finally:
            closer.join()
            client.close(timeout=2)
    kept = list(checkpoint.glob("part*.npz"))
    assert 0 < len(kept) < 12
    times = {path: path.stat().st_mtime_ns for path in kept}
    found = fit(clone(line), paths, checkpoint=checkpoint, partition_size=10)
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert_same(make_means().fit(paths), found, paths)


def test_an_iterator_that_was_killed_goes_on_from_its_checkpoint_with_the_same_result(paths, folder, tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, time
            from pathlib import Path
            import numpy as np
            from sklearn.pipeline import make_pipeline
            from skgad import FPRThresholdCV, MahalanobisDetector
            from skgad.distributed import fit
            from tests.distributed_steps import Means

            def batches():
                paths = sorted(map(str, Path({str(folder)!r}).glob("*.png")))
                for number, batch in enumerate(np.array_split(paths, 12)):
                    if number == 7 and "slow" in sys.argv:
                        time.sleep(60)
                    yield list(batch)

            line = make_pipeline(Means(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
            fit(line, batches(), checkpoint=sys.argv[1])
            np.save(sys.argv[2], line[-1].out_of_fold_scores_)
            """
        )
    )
    root, checkpoint = Path(__file__).parents[1], tmp_path / "checkpoint"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, script, checkpoint, tmp_path / "none.npy", "slow"], env=environment)
    deadline = time.monotonic() + 60
    while len(list(checkpoint.glob("part*.npz"))) < 7 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert len(list(checkpoint.glob("part*.npz"))) == 7
    subprocess.run(
        [sys.executable, script, checkpoint, tmp_path / "scores.npy"], env=environment, check=True, timeout=120
    )
    anew = fit(make_means(), (list(batch) for batch in np.array_split(paths, 12)))
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), anew[-1].out_of_fold_scores_)


def test_a_checkpoint_of_other_images_or_settings_is_not_taken(paths, tmp_path):
    line = make_pipeline(extractor(), MahalanobisDetector())
    fit(clone(line), paths[:60], checkpoint=tmp_path, partition_size=20)
    for other, images in ((line, paths[60:]), (clone(line).set_params(deepfeaturetransformer__levels=[3]), paths[:60])):
        assert_same(clone(other).fit(images), fit(clone(other), images, checkpoint=tmp_path, partition_size=20), paths)


def test_a_damaged_file_of_a_checkpoint_is_made_anew(paths, tmp_path):
    line = make_pipeline(extractor(), MahalanobisDetector())
    fit(clone(line), paths, checkpoint=tmp_path, partition_size=40)
    damaged = tmp_path / "part-0000001.npz"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert_same(clone(line).fit(paths), fit(clone(line), paths, checkpoint=tmp_path, partition_size=40), paths)


def test_an_iterator_is_gone_through_once_and_its_features_do_not_stay(paths, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    found = fit(clone(line), (list(batch) for batch in np.array_split(paths, 7)))
    assert_same(clone(line).fit(paths), found, paths)
    scores = score_samples(found, (list(batch) for batch in np.array_split(paths, 5)))
    np.testing.assert_allclose(scores, found.score_samples(paths), rtol=1e-6)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (MahalanobisDetector(), "An iterator is for lines with an extractor"),
        (SpatialMahalanobisDetector(extractor()), "An iterator is for lines with an extractor"),
        (make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), cv=5)), "an iterator does not tell"),
    ],
)
def test_what_an_iterator_cannot_give_is_refused(line, message):
    with pytest.raises(ValueError, match=message):
        fit(line, iter([[1], [2]]))


@pytest.mark.parametrize("batches", [["a.png", "b.png"], [Image.new("L", (9, 9))]])
def test_an_iterator_of_images_in_place_of_batches_is_refused(batches):
    with pytest.raises(ImageError, match=r"Batch 0 of X is .* an iterator gives batches"):
        fit(make_pipeline(extractor(), MahalanobisDetector()), iter(batches))


def test_a_checkpoint_that_is_a_file_is_refused(paths):
    with pytest.raises(ValueError, match=r"000.png' is no folder"):
        fit(make_pipeline(extractor(), MahalanobisDetector()), paths, checkpoint=paths[0])


@pytest.mark.parametrize("line", [extractor(), "line.skgad"])
def test_what_is_no_detector_is_refused(line):
    with pytest.raises(TypeError, match="line must have score_samples"):
        fit(line, ["a.png"])


def test_an_iterator_and_a_cluster_are_refused_together(client):
    with pytest.raises(ValueError, match="only this process can go through"):
        fit(make_pipeline(extractor(), MahalanobisDetector()), iter([["a.png"]]), client=client)


def test_a_joint_gaussian_that_no_worker_can_merge_is_refused_with_the_remedy(paths, client, monkeypatch):
    line = make_pipeline(extractor(), MahalanobisDetector(levels="joint"))
    assert 1e8 < Cluster(client).find_memory() < 1e13
    monkeypatch.setattr(Cluster, "find_memory", lambda self: 200_000)
    with pytest.raises(ValueError, match=r"over 64 features takes .* Take fewer levels, grid=1"):
        fit(line, paths, client=client)
    assert_same(clone(line).fit(paths[:30]), fit(clone(line), paths[:30], client=client), paths)  # rows are kept


def test_features_do_not_travel(paths, client):
    """What comes back of a part does not grow with its images, but by a position of those that cannot be used."""
    front = Pipeline([("extractor", extractor(levels=[3]).fit(paths))])
    sizes = []
    for count in (60, 120):
        source = Source(front, None, "", Kept(f"test{count}"))
        summary = summarise(Part(0, 0, np.arange(count), paths[:count]), source, MahalanobisDetector())
        sizes.append(len(__import__("pickle").dumps(summary)))
        source.kept.clear()
    assert sizes[1] < sizes[0] + 200


def test_images_that_are_changed_between_passes_are_refused_by_their_count():
    X = make_rows(60)
    part, source = Part(3, 40, np.arange(40, 60), X[40:]), Source(None, None, "", Kept("none"))
    detector = MahalanobisDetector().fit(X)
    unseen = {0: detector.measure_left_out()}
    assert len(score_unseen(part, source, unseen, detector, n_used=20).scores) == 20
    with pytest.raises(RuntimeError, match="images 40 to 59, 21 could be used in the first pass and 20 in a later one"):
        score_unseen(part, source, unseen, detector, n_used=21)


def test_scores_beyond_a_size_are_those_that_stand_for_all():
    rng = np.random.default_rng(0)
    scores = -rng.gamma(20, size=30_000)
    few, one, other = Scores(), Scores(size=1000), Scores(size=1000)
    for part in np.array_split(scores, 7):
        few.add(part)
        one.add(part)
    for part in np.array_split(rng.permutation(scores), 23):
        other.add(part)
    np.testing.assert_array_equal(few.get(), scores)
    np.testing.assert_array_equal(one.get(), other.get())
    assert len(one.get()) == 1000
    at = np.sort(-rng.gamma(20, size=500))
    exact, rough = (np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (scores, one.get()))
    assert (rough >= exact).all()
    assert (rough - exact).max() <= 1 / 1000 + one._sketch.rank_error


def test_a_threshold_from_scores_that_stand_for_all_is_no_bolder(monkeypatch):
    monkeypatch.setattr("skgad.distributed._columns.Scores", lambda: Scores(size=500))
    X = make_rows(4000)
    exact, rough = (clone(COLUMNS["loo each"]).fit(X), fit(clone(COLUMNS["loo each"]), X))
    assert len(rough.out_of_fold_scores_) == 500
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (rough.predict(X) == -1).mean() <= (exact.predict(X) == -1).mean()
    assert (rough.predict(X) == -1).mean() > 0.9 * (exact.predict(X) == -1).mean() - 1 / 500
    with pytest.raises(ValueError, match="on many machines"):
        rough.update(X)


def test_pixels_beyond_a_size_give_a_threshold_that_is_no_bolder():
    rng = np.random.default_rng(0)
    maps = rng.gamma(5, size=(40, 16, 16)).astype(np.float32)
    maps[3, :4] = np.nan
    from fractions import Fraction

    exact, rough = LargestPixels(maps.size, Fraction(1, 100)), PixelSketch(Fraction(1, 100))
    exact.add(maps)
    for part in np.array_split(maps, 6):
        more = PixelSketch(Fraction(1, 100))
        more.add(part)
        rough.merge(more)
    np.testing.assert_allclose(rough.threshold(), exact.threshold(), rtol=1e-6)
    assert np.nanmean(maps > rough.threshold()) <= 0.01
    np.testing.assert_array_equal(rough.peaks(), exact.peaks())


def test_a_grid_search_runs_on_the_cluster_with_the_cache_of_features(paths, client, tmp_path):
    from joblib import parallel_config

    y = np.where(np.arange(len(paths)) % 6 == 5, -1, 1)
    line = Pipeline(
        [
            ("extractor", extractor(cache=tmp_path)),
            ("npca", NPCA(0.1)),
            ("detector", MahalanobisDetector()),
        ]
    )
    grid = {"extractor__levels": [[3], [4]], "npca__n_components": [0.1, 0.3]}
    searches = []
    for backend in (None, "dask"):
        search = GridSearchCV(line, grid, scoring="roc_auc", cv=3)
        with client.as_current(), parallel_config(backend) if backend else nullcontext():
            searches.append(search.fit(paths, y))
    assert cache_info(tmp_path).n_images == len(paths)
    np.testing.assert_array_equal(
        searches[0].cv_results_["mean_test_score"], searches[1].cv_results_["mean_test_score"]
    )


def test_a_cache_on_a_network_file_system_is_refused_with_the_remedy(photographs, tmp_path, monkeypatch):
    from types import SimpleNamespace

    for kind in ("nfs4", "cifs", "lustre", "fuse.sshfs"):
        mounts = [
            SimpleNamespace(mountpoint="/", fstype="ext4"),
            SimpleNamespace(mountpoint=str(tmp_path), fstype=kind),
        ]
        monkeypatch.setattr("skgad.deep._cache_file.psutil.disk_partitions", lambda all: mounts)  # noqa: B023
        with pytest.raises(CacheError, match=f"network file system \\({kind}\\).* a disk of this machine"):
            extractor(cache=tmp_path / "cache").fit(photographs)
        assert not (tmp_path / "cache").exists()


def test_what_is_no_client_is_refused(monkeypatch):
    monkeypatch.setattr("skgad.distributed._engines._PATIENCE", 0.5)
    with start_cluster(0) as client, pytest.raises(RuntimeError, match=r"has had no worker for 0\.5 seconds"):
        fit(MahalanobisDetector(), make_rows(9), client=client)
    with pytest.raises(TypeError, match=r"client must be a distributed.Client; got 'tcp://"):
        fit(MahalanobisDetector(), make_rows(9), client="tcp://127.0.0.1:8786")


def test_a_line_of_many_machines_is_a_file_as_any_other(paths, client, tmp_path):
    line = make_pipeline(extractor(), FPRThresholdCV(MahalanobisDetector(), fpr=0.05))
    save_line(fit(line, paths, client=client), tmp_path / "line.skgad")
    again = load_line(tmp_path / "line.skgad")
    np.testing.assert_array_equal(again.predict(paths), line.predict(paths))
    assert "120 normal images" in line[-1].summary()


def test_a_checkpoint_does_not_depend_on_how_many_workers_there_are(paths, client, tmp_path):
    line = make_pipeline(extractor(), MahalanobisDetector())
    fit(clone(line), paths * 3, client=client, checkpoint=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(times) == 2
    fit(clone(line), paths * 3, checkpoint=tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_what_workers_warn_of_is_said_once(paths, client):
    for line in (
        make_pipeline(extractor(weights=None), MahalanobisDetector()),
        SpatialMahalanobisDetector(extractor(weights=None), standardize=False),
    ):
        with pytest.warns(WeightsWarning, match="random") as caught:
            fit(line, paths, client=client)
        assert len(caught) == 1


def test_the_recommended_lines_are_learnt_in_parts(paths, client):
    for maps in (False, True):
        line = make_line(LITE0, fpr=0.05, maps=maps, image_size=64)
        assert_same(clone(line).fit(paths[:40]), fit(clone(line), paths[:40], client=client, partition_size=9), paths)
