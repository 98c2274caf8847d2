"""The figures of docs/distributed.md: speed by workers, what faults change, memory, unit costs, and their sum.

Run with ``python examples/measure_distributed.py``, or a section, ``--section speed`` (or faults, memory, costs, plan);
needs the extras ``dask`` and ``demo``. On two CPU cores with nothing beside it. The photographs are drawn, of
64 × 64 pixels, so that there can be ten thousand; those of ``speed`` and ``costs`` are the solar cells.
"""

import argparse
import heapq
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # as Dask's workers have it: one thread each

import numpy as np
from dask.distributed import Client, LocalCluster
from PIL import Image
from sklearn.pipeline import make_pipeline

from skgad import NPCA, DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_elpv
from skgad.distributed import fit

LITE0 = "tf_efficientnet_lite0"
LINES = {
    "level 7": lambda: [[7], MahalanobisDetector()],
    "level 7 behind NPCA": lambda: [[7], make_pipeline(NPCA(0.01), MahalanobisDetector())],
    "nine levels": lambda: ["all", MahalanobisDetector()],
    "levels 5 to 8, joint": lambda: [[5, 6, 7, 8], MahalanobisDetector(levels="joint")],
}


def make(title, image_size=64):
    """Return a line."""
    levels, detector = LINES[title]()
    extractor = DeepFeatureTransformer(LITE0, levels=levels, image_size=image_size)
    return make_pipeline(extractor, FPRThresholdCV(detector, fpr=0.05))


def draw(folder, count):
    """Return the paths of so many drawn photographs."""
    rng, paths = np.random.default_rng(0), []
    ramp = np.add.outer(np.arange(64), np.arange(64))[..., np.newaxis]
    for number in range(count):
        path = Path(folder) / f"{number:05d}.png"
        if not path.exists():
            picture = ramp * rng.uniform(0.5, 1.5, size=3) + rng.normal(0, 15, size=(64, 64, 3))
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path)
        paths.append(str(path))
    return paths


@contextmanager
def start(n_workers):
    """A cluster of processes of one thread each, which have loaded the network."""
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.run(warm_up)
        yield client


def warm_up():
    """Load the network, so that no measurement has it."""
    images = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    DeepFeatureTransformer(LITE0, image_size=64).fit_transform(images)


def clock(run):
    """Return what a function returns, and the seconds that it takes."""
    start_time = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start_time


def measure_speed():
    """One process without Dask, one worker, and two, in turn, twice over."""
    images, y = load_elpv(kind="mono")
    images = 2 * images[y == 1].tolist()
    warm_up()
    print("solar cells, 224 px, seconds (mean of two runs, in turn)")
    for title in ("level 7", "nine levels", "level 7 behind NPCA"):
        seconds: dict = {"one process": [], "one worker": [], "two workers": []}
        with start(1) as one, start(2) as two:
            for _ in range(2):
                for name, client in (("one process", None), ("one worker", one), ("two workers", two)):
                    line, began = make(title, 224), time.perf_counter()
                    if client is None:
                        line.fit(images)
                    else:
                        fit(line, images, client=client)
                    seconds[name].append(time.perf_counter() - began)
        plain, single, double = (float(np.mean(each)) for each in seconds.values())
        print(
            f"{title:24} {len(images)} images: one process {plain:.1f}, one worker {single:.1f} "
            f"({100 * (single / plain - 1):+.1f} %), two workers {double:.1f}: {single / double:.2f} times one",
            flush=True,
        )


def measure_faults(folder):
    """Four processes, one of which is killed twice, and 10,000 photographs."""
    paths = draw(folder, 10_000)
    line, seconds = clock(lambda: make("level 7").fit(paths))
    print(f"one process: {seconds:.0f} s")
    deaths = []

    def kill_twice(client):
        for wait in (2, 4):
            time.sleep(wait)
            processes = client.run(os.getpid)
            os.kill(sorted(processes.items())[0][1], signal.SIGKILL)
            deaths.append(time.perf_counter())

    with start(4) as client:
        calm, seconds = clock(lambda: fit(make("level 7"), paths, client=client))
        print(f"four processes: {seconds:.0f} s")
        killer = threading.Thread(target=kill_twice, args=(client,))
        killer.start()
        stormy, seconds = clock(lambda: fit(make("level 7"), paths, client=client))
        end = time.perf_counter()
        killer.join()
    print(f"four processes, {sum(death < end for death in deaths)} of them killed meanwhile: {seconds:.0f} s")
    expected, scores = line[-1].out_of_fold_scores_, stormy[-1].out_of_fold_scores_
    print(f"scores as without a death: {np.array_equal(scores, calm[-1].out_of_fold_scores_)}")
    print(f"scores as by one process, largest relative difference: {np.abs(scores / expected - 1).max():.1e}")
    inner, plain = stormy[-1].estimator_, line[-1].estimator_
    gap = np.abs(inner.covariance_[0] - plain.covariance_[0]).max() / np.abs(plain.covariance_[0]).max()
    print(f"covariance, largest difference beside the largest entry: {gap:.1e}; images: {inner.n_samples_seen_}")


def measure_memory(folder):
    """The largest memory of the scheduler and of a worker, each a process of its own."""
    print("peak memory in MB (level 7, threshold by leave-one-out)")
    for count in (1_000, 10_000):
        paths = draw(folder, count)
        with tempfile.TemporaryDirectory() as scratch, start_processes(scratch, 2) as (client, scheduler):
            fit(make("level 7"), paths, client=client)
            workers = client.run(read_peak)
            print(f"{count:6} images: scheduler {read_peak(scheduler):.0f}, workers", end=" ")
            print(", ".join(f"{peak:.0f}" for peak in workers.values()), end="; ")
        code = _GENERATOR.format(here=str(Path(__file__).parent), folder=folder, count=count)
        peak = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout
        print(f"one process, from a generator of batches, {float(peak):.0f}", flush=True)


_GENERATOR = """
import sys
sys.path.insert(0, {here!r})
import measure_distributed as script
paths = script.draw({folder!r}, {count})
script.fit(script.make("level 7"), (paths[at : at + 100] for at in range(0, {count}, 100)))
print(script.read_peak())
"""


@contextmanager
def start_processes(scratch, n_workers):
    """A scheduler and workers in processes of their own, and the number of the scheduler's."""
    address = Path(scratch) / "scheduler.json"
    options = [f"--scheduler-file={address}", "--dashboard-address=:0"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port=0", *options]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads=1", f"--local-directory={scratch}"]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL)]
    processes += [subprocess.Popen([*worker, *options], stderr=subprocess.DEVNULL) for _ in range(n_workers)]
    try:
        while not address.exists():
            time.sleep(0.1)
        with Client(scheduler_file=str(address)) as client:
            client.wait_for_workers(n_workers)
            yield client, processes[0].pid
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def read_peak(process="self"):
    """Return the largest memory that a process has had, in MB."""
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def measure_costs():
    """What one image, one part and one merge cost: the numbers of the plan."""
    images, y = load_elpv(kind="mono")
    images = images[y == 1].tolist()
    extractor = DeepFeatureTransformer(LITE0, image_size=224).fit(images)
    extractor.transform(images[:16])
    features, seconds = clock(lambda: extractor.transform(images))
    size = np.mean([os.path.getsize(path) for path in images])
    print(
        f"a core, EfficientNet-Lite0, 224 px: {len(images) / seconds:.1f} images/s, {size / 1000:.0f} kB read an image"
    )
    _, seconds = clock(lambda: [np.asarray(Image.open(path).convert("RGB")) for path in images])
    print(f"decoding alone: {len(images) / seconds:.0f} images/s a core")
    rng = np.random.default_rng(0)
    print("line: features, bytes of features an image, bytes of moments of a part, ms a merge, ms a part of 1,024")
    for title in LINES:
        levels, detector = LINES[title]()
        detector = getattr(detector, "steps", [("", detector)])[-1][1]
        wanted = (
            features.columns
            if levels == "all"
            else [name for name in features.columns if any(name.startswith(f"level{level}__") for level in levels)]
        )
        rows = features[wanted].iloc[rng.integers(len(features), size=1024)]
        rows = rows + rng.normal(0, 1e-3, size=rows.shape).astype(np.float32)
        one, learning = clock(lambda: type(detector)(levels=detector.levels).partial_fit(rows))  # noqa: B023
        other = type(detector)(levels=detector.levels).partial_fit(rows)
        merging = min(clock(lambda: one.merge(other))[1] for _ in range(3))  # noqa: B023
        print(
            f"{title:24} {len(wanted):5} {4 * len(wanted):7,} {len(pickle.dumps(one)):12,} {1000 * merging:8.1f} "
            f"{1000 * learning:8.1f}",
            flush=True,
        )


def simulate(n_parts, n_workers, *, part, merge, task=0.0, transfer=0.0, fan=8, most_trees=64):
    """Return the seconds of one pass, and how many of them workers merge: the first task that is ready goes first.

    Parameters
    ----------
    n_parts, n_workers : int
    part, merge, task, transfer : float
        Seconds: of a part at work, of merging two summaries, of the scheduler for a task, one at a time, and of a
        summary's way to another worker.
    """
    size = 1
    while n_parts > size * most_trees:
        size *= fan
    costs, parents, lacking, ready = [], [], [], []
    for first in range(0, n_parts, size):
        row = []
        for _ in range(min(size, n_parts - first)):
            row.append(len(costs))
            ready.append(len(costs))
            costs.append(part)
            parents.append(-1)
            lacking.append(0)
        while len(row) > 1:
            groups = [row[at : at + fan] for at in range(0, len(row), fan)]
            row = []
            for group in groups:
                for child in group:
                    parents[child] = len(costs)
                row.append(len(costs))
                costs.append((len(group) - 1) * (merge + transfer))
                parents.append(-1)
                lacking.append(len(group))
    now = scheduler = client = 0.0
    idle, running = n_workers, []
    while ready or running:
        while ready and idle:
            number = heapq.heappop(ready)
            scheduler = max(scheduler, now) + task
            heapq.heappush(running, (scheduler + costs[number], number))
            idle -= 1
        now, number = heapq.heappop(running)
        idle += 1
        parent = parents[number]
        if parent < 0:
            client = max(client, now) + merge + transfer
            continue
        lacking[parent] -= 1
        if not lacking[parent]:
            heapq.heappush(ready, parent)
    return max(client, now), sum(costs) - n_parts * part


def measure_plan(folder):
    """The simulation beside runs of one, two and four workers, and what it says of more."""
    paths, size, rng = draw(folder, 4_000), 50, np.random.default_rng(0)
    print("one pass over 4,000 drawn photographs at 64 px in parts of 50: simulated and measured seconds")
    cores = len(os.sched_getaffinity(0))
    unit = apart = task = None
    for n_workers in (1, 2, 4):
        line = make_pipeline(DeepFeatureTransformer(LITE0, levels=[7], image_size=64), MahalanobisDetector())
        with start(n_workers) as client:
            if task is None:
                rows = rng.normal(size=(2_000, 4))
                fit(MahalanobisDetector(), rows, client=client, partition_size=10)
                _, seconds = clock(lambda: fit(MahalanobisDetector(), rows, client=client, partition_size=4))  # noqa: B023
                task = seconds / 500
                print(f"a part of next to no work: {1000 * task:.1f} ms, of client, scheduler and worker together")
            fit(line, paths[: 4 * size], client=client, partition_size=size)
            _, some = clock(lambda: fit(line, paths[: 16 * size], client=client, partition_size=size))  # noqa: B023
            _, seconds = clock(lambda: fit(line, paths, client=client, partition_size=size))  # noqa: B023
        n_parts = len(paths) // size
        if unit is None:  # of one worker: what a part takes, and what no part does
            unit = (seconds - some) / (n_parts - 16)
            apart = seconds - n_parts * unit
            print(f"a part: {unit:.3f} s; apart from parts: {apart:.2f} s")
        part = unit * max(1.0, n_workers / cores)
        simulated = apart + simulate(n_parts, n_workers, part=part, merge=0.001)[0]
        print(f"{n_workers} workers on {cores} cores: simulated {simulated:.1f}, measured {seconds:.1f}", flush=True)
    print("simulated, parts of 4,096: images, workers, line, the pass over images, merges as a share of all work")
    for images in (10**6, 10**8, 10**9):
        for n_workers, rate in ((16, 37), (1000, 37), (8, 8000), (128, 8000)):
            for title, merge, n_bytes in (("level 7", 0.001, 158e3), ("nine levels", 0.018, 7.3e6)):
                n_parts = -(-images // 4096)
                seconds, merging = simulate(
                    n_parts, n_workers, part=4096 / rate, merge=merge, task=task, transfer=n_bytes / 1e9
                )
                ideal, merging = images / rate / n_workers, 100 * merging / (n_workers * seconds)
                print(
                    f"{images:13,} {n_workers:5} at {rate:5}/s {title:12} {seconds / 3600:9.2f} h, ideal "
                    f"{ideal / 3600:9.2f} h, merges {merging:5.2f} %, {34e-6 * images / seconds:8.2f} GB/s read, "
                    f"{images / seconds:11,.0f} images/s",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--section", choices=["speed", "faults", "memory", "costs", "plan"])
    section = parser.parse_args().section
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as pictures:
        for name, measure, arguments in (
            ("speed", measure_speed, ()),
            ("faults", measure_faults, (pictures,)),
            ("memory", measure_memory, (pictures,)),
            ("costs", measure_costs, ()),
            ("plan", measure_plan, (pictures,)),
        ):
            if section in (None, name):
                measure(*arguments)
    print(f"{time.perf_counter() - began:.0f} s")
