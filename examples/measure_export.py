"""The same line in Python, in other engines, and as a graph: distances, labels, images a second, file sizes.

    python examples/measure_export.py [--sets FOLDER ...] [--backbone tf_efficientnet_lite0] [--rounds 5]
    python examples/measure_export.py --many 10000       # skgad predict over many small files: memory
    python examples/measure_export.py --ten-minutes      # a folder of drawn pictures to a report, by two commands

Speeds are medians over rounds in which each form judges the same decoded images, side by side; ratios are to torch.
FOLDER is in the layout of MVTec AD; without one, the solar cells: the first half of the normal ones learnt, the others
judged. AUROC and rate are those of the test images.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from skgad import load_line, make_line, save_line
from skgad._images._decoding import decode
from skgad.datasets import load_elpv, load_image_folder
from skgad.deploy import export_onnx, load


def read_sets(folders):
    """Yield names, images to learn from and to judge, and labels."""
    for folder in folders:
        data = load_image_folder(folder)
        yield Path(folder).name, data.X_train, data.X_test, data.y_test
    if not folders:
        images, y = load_elpv("mono")
        normal = images[y == 1]
        test = np.concatenate([normal[len(normal) // 2 :], images[y == -1]])
        yield (
            "ELPV mono",
            normal[: len(normal) // 2],
            test,
            np.repeat([1, -1], [len(test) - (y == -1).sum(), (y == -1).sum()]),
        )


def compare(backbone, sets, rounds, out):
    for name, train, test, y in read_sets(sets):
        for maps in (False, True):
            print(f"\n{name}, {backbone}, {'with maps' if maps else 'pooled'}: {len(train)} learnt, {len(test)} judged")
            forms, sizes = make_forms(backbone, train, maps, out)
            arrays = [np.rint(decode(path, 0)).astype(np.uint8) for path in test]
            report(forms, sizes, arrays, y, rounds)


def make_forms(backbone, train, maps, out):
    """Return functions from images to scores and labels, by name, and the sizes of their files."""
    forms, sizes = {}, {}
    for engine in ("torch", "onnxruntime", "openvino"):
        line = make_line(backbone, fpr=0.05, maps=maps)
        (line.estimator.features if maps else line[0]).set_params(engine=engine)
        line.fit(train)
        save_line(line, out / f"{engine}.skgad")
        line = load_line(out / f"{engine}.skgad")
        forms[f"Python, {engine}"] = in_python(line)
        sizes[f"Python, {engine}"] = (out / f"{engine}.skgad").stat().st_size
        if engine == "torch":
            fitted = line
    for precision in ("float32",) if maps else ("float32", "float16", "int8"):
        path = out / f"{precision}.onnx"
        print(precision, export_onnx(fitted, path, images=train, precision=precision))
        for provider in ("cpu", "openvino"):
            runner = load(path, provider=provider)
            forms[f"graph, {precision}, {provider}"] = lambda images, runner=runner: take(runner.run(images))
            sizes[f"graph, {precision}, {provider}"] = path.stat().st_size
    return forms, sizes


def in_python(line):
    last = line[-1] if hasattr(line, "steps") else line

    def judge(images):
        scores = line.score_samples(images)
        return scores, last.judge_scores(scores)[0]

    return judge


def take(found):
    return found["score"], found["label"]


def report(forms, sizes, arrays, y, rounds):
    found = {name: judge(arrays) for name, judge in forms.items()}
    times = {name: [] for name in forms}
    for _ in range(rounds):
        for name, judge in forms.items():
            start = time.perf_counter()
            judge(arrays)
            times[name].append(time.perf_counter() - start)
    first = next(iter(forms))
    base, (scores, labels) = statistics.median(times[first]), found[first]
    print("| form | distances differ by | labels differ | AUROC | alarms, target 5 % | images a second | ratio | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (own, own_labels) in found.items():
        median = statistics.median(times[name])
        print(
            f"| {name} | {np.abs(own / scores - 1).max():.1e} | {(own_labels != labels).sum()} "
            f"| {100 * roc_auc_score(y, own):.1f} | {100 * (own_labels[y == 1] == -1).mean():.1f} % "
            f"| {len(arrays) / median:.0f} | {base / median:.2f} | {sizes[name] / 1e6:.1f} |"
        )


def draw(folder, n_images, size, damaged=False, seed=0):
    """Write drawn cloth, with a hole where it is damaged."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    weave = np.sin(np.arange(size) / 2)[:, None] * np.sin(np.arange(size) / 3)
    for number in range(n_images):
        pixels = 128 + 40 * weave[..., None] + rng.normal(0, 10, (size, size, 3)) + rng.normal(0, 6)
        if damaged:
            row, column = rng.integers(size // 4, size // 2, 2)
            pixels[row : row + size // 10, column : column + size // 10] = 20
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:05d}.png")


def run(*arguments):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "skgad.cli", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode == 2:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start, done.stdout


def measure_many(n_images, backbone, out):
    draw(out / "normal", 100, 64)
    draw(out / "many", n_images, 64, seed=1)
    run("fit", out / "normal", "-o", out / "line.skgad", "--backbone", backbone, "--image-size", "64", "--fpr", "0.05")
    for count in (n_images // 10, n_images):
        part = out / f"part{count}"
        part.mkdir()
        for path in sorted((out / "many").iterdir())[:count]:
            os.link(path, part / path.name)
        code = "import resource, sys; from skgad.cli import main; main(sys.argv[1:]); "
        code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        start = time.perf_counter()
        arguments = ["predict", str(out / "line.skgad"), str(part), "--csv", str(out / f"{count}.csv"), "--quiet"]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        print(f"{count} files: {time.perf_counter() - start:.0f} s, at most {int(done.stdout) / 1024:.0f} MiB")


def measure_ten_minutes(backbone, out):
    draw(out / "normal", 120, 256)
    draw(out / "new" / "fine", 40, 256, seed=1)
    draw(out / "new" / "holes", 20, 256, damaged=True, seed=2)
    options = ["--backbone", backbone, "--fpr", "0.05", "--maps"]
    seconds, said = run("fit", out / "normal", "-o", out / "line.skgad", *options)
    print(f"skgad fit, 120 photographs: {seconds:.0f} s\n{said}")
    seconds, said = run("report", out / "line.skgad", out / "new")
    print(f"skgad report, 60 photographs: {seconds:.0f} s\n{said}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--ten-minutes", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.many:
            measure_many(arguments.many, arguments.backbone, Path(folder))
        elif arguments.ten_minutes:
            measure_ten_minutes(arguments.backbone, Path(folder))
        else:
            compare(arguments.backbone, arguments.sets, arguments.rounds, Path(folder))
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
