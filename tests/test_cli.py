"""The command ``skgad``, as somebody types it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skgad import FPRThresholdCV, MahalanobisDetector, load_line, save_line
from skgad._judge import Judge
from skgad.cli import main
from skgad.cli._alarm import Alarm
from skgad.cli._watch import Ledger
from skgad.monitoring import LineMonitor

LITE0 = "tf_efficientnet_lite0"
SMALL = ["--backbone", LITE0, "--image-size", "64", "--fpr", "0.1"]


def draw(folder, n_images, seed=0, damaged=False):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_images):
        pixels = np.clip(120 + rng.normal(size=(72, 72, 3)) * 12, 0, 255).astype(np.uint8)
        if damaged:
            pixels[20:44, 20:44] = 250
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def normals(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("photographs") / "normal", 30)


@pytest.fixture(scope="module")
def line(normals):
    path = normals.parent / "line.skgad"
    assert main(["fit", str(normals), "-o", str(path), *SMALL]) == 0
    return path


@pytest.fixture(scope="module")
def map_line(normals):
    path = normals.parent / "maps.skgad"
    assert main(["fit", str(normals), "-o", str(path), "--maps", *SMALL]) == 0
    return path


@pytest.fixture
def damaged(tmp_path):
    return draw(tmp_path / "damaged", 3, seed=1, damaged=True)


def read_table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def run(arguments, killed_at=None, **options):
    """Run the command in a process of its own, which kills itself where `killed_at` is called for the first time."""
    kill = f"import os; os.{killed_at} = lambda *_: os.kill(os.getpid(), 9); " if killed_at else ""
    code = f"{kill}import sys; from skgad.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


def test_it_answers_at_once_and_loads_nothing_for_it():
    code = """
import sys
from skgad.cli import main
status = main(["--help"])
heavy = {"numpy", "pandas", "scipy", "sklearn", "torch", "timm", "PIL", "tqdm", "jinja2", "skops"} & sys.modules.keys()
sys.exit(status or ", ".join(heavy) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("fit", "predict", "watch", "update", "inspect", "doctor", "report", "export"):
        assert name in done.stdout


def test_fit_says_what_it_learnt_and_promises(normals, tmp_path, capsys):
    assert main(["fit", str(normals), "-o", str(tmp_path / "a.skgad"), *SMALL]) == 0
    said = capsys.readouterr().out
    assert "Learnt 30 photographs" in said
    assert "Asked for: 0.1 of the normal images" in said
    assert "its distance from what is normal exceeds" in said


def test_predict_tells_by_its_exit_status(line, normals, damaged, capsys):
    good = [str(path) for path in sorted(normals.iterdir())[:5]]
    assert main(["predict", str(line), *good]) == 0
    assert main(["predict", str(line), str(damaged)]) == 1
    said = capsys.readouterr()
    assert said.out.count("anomalous") == 3
    assert "3 images: 3 anomalous" in said.err
    assert main(["predict", str(line), str(damaged), "nowhere.png"]) == 2
    assert "nowhere.png: 'nowhere.png': there is no such file." in capsys.readouterr().out


@pytest.mark.parametrize("name", ["line", "map_line"])
def test_predict_writes_what_the_line_says(request, name, normals, damaged, tmp_path):
    path = request.getfixturevalue(name)
    (damaged / "broken.png").write_bytes((damaged / "000.png").read_bytes()[:300])
    table, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"
    assert main(["predict", str(path), str(damaged), str(normals), "--csv", str(table), "--jsonl", str(lines)]) == 2
    rows = read_table(table)
    records = [json.loads(one) for one in lines.read_text().splitlines()]
    usable = [row for row in rows if row["label"] != "unreadable"]
    assert [row["path"] for row in rows if row["label"] == "unreadable"] == [str(damaged / "broken.png")]
    fitted = load_line(path)
    scores = fitted.score_samples([row["path"] for row in usable])
    np.testing.assert_allclose([float(row["distance"]) for row in usable], -scores, rtol=1e-5)
    labels = fitted.predict([row["path"] for row in usable])
    assert [row["label"] for row in usable] == ["anomalous" if label == -1 else "normal" for label in labels]
    assert [record["path"] for record in records] == [row["path"] for row in rows]
    assert all(("regions" in record) == (name == "map_line") for record in records if record["label"] == "anomalous")


def test_regions_lie_where_the_damage_is(map_line, damaged, tmp_path, capsys):
    folder = tmp_path / "maps"
    assert main(["predict", str(map_line), str(damaged), "--jsonl", "-", "--maps", str(folder)]) == 1
    for text in capsys.readouterr().out.splitlines():
        region = json.loads(text)["regions"][0]
        assert 20 < region["x"] < 44
        assert 20 < region["y"] < 44
    assert sorted(path.name for path in folder.iterdir()) == [f"damaged_{number:03d}.png" for number in range(3)]
    with Image.open(folder / "damaged_000.png") as picture:
        assert picture.size == (72, 72)


def test_errors_are_a_line_with_a_remedy_and_debug_shows_the_trace(line, normals, tmp_path, capsys):
    for arguments, words in (
        (["fit", str(normals), "-o", str(tmp_path / "x.skgad"), "--fpr", "0.001"], "give at least 999 images"),
        (["fit", str(tmp_path / "none"), "-o", str(tmp_path / "x.skgad")], "no such folder or table"),
        (["fit", str(normals), "-o", str(tmp_path / "none" / "x.skgad")], "no such folder to write x.skgad to"),
        (["predict", str(tmp_path / "no.skgad"), "a.png"], "there is no such file"),
        (["predict", str(normals / "000.png"), "a.png"], "is no line, or a damaged one"),
        (["predict", str(line), str(tmp_path), "--maps", str(tmp_path)], "makes no maps"),
        (["predict", str(line), str(tmp_path / "empty")], "unreadable"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1, captured.err
        assert words in captured.err or "There is no image in" in captured.err
    assert not (tmp_path / "x.skgad").exists()
    with pytest.raises(FileNotFoundError):
        main(["predict", str(tmp_path / "no.skgad"), "a.png", "--debug"])


def test_names_that_are_no_utf8_and_lines_of_features_alone(line, damaged, tmp_path, capfdbinary):
    name = os.fsencode(damaged) + b"/caf\xe9.png"
    os.rename(damaged / "000.png", name)
    assert main(["predict", str(line), os.fsdecode(name), "--csv", "-"]) == 1
    assert name in capfdbinary.readouterr().out
    assert main(["predict", str(line), os.fsdecode(name)]) == 1
    assert main(["predict", str(line), str(damaged), "--csv", "-", "--jsonl", "-"]) == 2
    features = np.random.default_rng(0).normal(size=(30, 3))
    save_line(FPRThresholdCV(MahalanobisDetector(), fpr=0.1).fit(features), tmp_path / "features.skgad")
    capfdbinary.readouterr()
    assert main(["predict", str(tmp_path / "features.skgad"), str(damaged)]) == 2
    assert b"takes features, not photographs" in capfdbinary.readouterr().err


def test_fit_takes_layouts_and_tables(tmp_path, capsys):
    root = tmp_path / "parts"
    draw(root / "train" / "good", 12)
    draw(root / "test" / "scratch", 2, damaged=True)
    options = ["--backbone", LITE0, "--image-size", "64", "--fpr", "0.1"]
    assert main(["fit", str(root), "-o", str(tmp_path / "a.skgad"), *options]) == 0
    assert "2 photographs to judge by are there: skgad report" in capsys.readouterr().out
    names = [f"train/good/{number:03d}.png,normal" for number in range(12)] + ["test/scratch/000.png,scratch"]
    (root / "table.csv").write_text("\n".join(["path,label", *names]))
    assert main(["fit", str(root / "table.csv"), "-o", str(tmp_path / "b.skgad"), *options]) == 0
    images = [str(path) for path in sorted((root / "train" / "good").iterdir())]
    first, second = load_line(tmp_path / "a.skgad"), load_line(tmp_path / "b.skgad")
    np.testing.assert_array_equal(first.score_samples(images), second.score_samples(images))


def test_update_is_a_fit_on_all(line, normals, tmp_path, capsys):
    more = draw(tmp_path / "more", 10, seed=5)
    assert main(["update", str(line), str(more), "-o", str(tmp_path / "new.skgad")]) == 0
    assert "Learnt 10 more photographs" in capsys.readouterr().out
    for number, path in enumerate(sorted(more.iterdir())):
        path.rename(tmp_path / "more" / f"z{number}.png")
    everything = tmp_path / "all"
    everything.mkdir()
    for path in (*normals.iterdir(), *more.iterdir()):
        os.link(path, everything / path.name)
    assert main(["fit", str(everything), "-o", str(tmp_path / "anew.skgad"), *SMALL]) == 0
    images = [str(path) for path in sorted(everything.iterdir())]
    updated, anew = load_line(tmp_path / "new.skgad"), load_line(tmp_path / "anew.skgad")
    np.testing.assert_allclose(updated.score_samples(images), anew.score_samples(images), rtol=1e-6)
    assert updated[-1].offset_ == pytest.approx(anew[-1].offset_, rel=1e-6)


def test_update_names_photographs_that_the_line_calls_anomalous(line, damaged, tmp_path, capsys):
    assert main(["update", str(line), str(damaged), "-o", str(tmp_path / "new.skgad")]) == 0
    assert "calls 3 of 3 anomalous" in capsys.readouterr().err


def test_update_with_a_window_forgets_the_oldest(line, tmp_path, capsys):
    more = draw(tmp_path / "more", 4, seed=9)
    kept = tmp_path / "kept.skgad"
    assert main(["update", str(line), str(more), "-o", str(kept), "--window", "30"]) == 0
    assert "Forgotten: 4 older ones." in capsys.readouterr().out
    detector, before = load_line(kept)[-1], load_line(line)[-1]
    assert len(detector.out_of_fold_scores_) == 30
    np.testing.assert_allclose(detector.learnt_rows()[:26], before.learnt_rows()[4:], rtol=1e-6, atol=1e-12)


def test_inspect_says_what_a_file_holds(line, capsys):
    assert main(["inspect", str(line)]) == 0
    assert "tf_efficientnet_lite0.in1k at 64 x 64 pixels" in capsys.readouterr().out
    assert main(["inspect", str(line), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_images"] == 30


def test_doctor_tells_of_this_machine(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "tf_efficientnet_lite0" in said
    assert "onnxruntime" in said


def test_watch_judges_each_photograph_once_across_restarts(line, damaged, tmp_path, capsys):
    out = tmp_path / "judged.jsonl"
    watch = ["watch", str(line), str(damaged), "-o", str(out), "--once", "--every", "0.01", "--patience", "0"]
    assert main(watch) == 0
    assert len(out.read_text().splitlines()) == len(capsys.readouterr().out.splitlines()) == 3
    assert main(watch) == 0
    assert capsys.readouterr().out == ""
    with out.open("a") as file:
        file.write('{"path": "cut sho')  # as a crash leaves it
    draw(damaged, 4, seed=1, damaged=True)
    (damaged / "half.png").write_bytes((damaged / "000.png").read_bytes()[:200])
    assert main(watch) == 0
    records = [json.loads(text) for text in out.read_text().splitlines()]
    names = [os.path.basename(record["path"]) for record in records]
    assert sorted(names) == sorted(["000.png", "001.png", "002.png"] * 2 + ["003.png", "half.png"])  # rewritten: anew
    assert [record["label"] for record in records if record["path"].endswith("half.png")] == ["unreadable"]


def test_watch_waits_for_a_file_that_is_still_written(line, tmp_path):
    incoming, out = tmp_path / "incoming", tmp_path / "out.jsonl"
    incoming.mkdir()
    whole = (draw(tmp_path / "source", 1) / "000.png").read_bytes()
    process = run(["watch", line, incoming, "-o", out, "--every", "0.05", "--patience", "60"], stdout=subprocess.PIPE)
    try:
        (incoming / "slow.png").write_bytes(whole[: len(whole) // 2])
        wait_until(lambda: out.exists())
        time.sleep(3)
        assert out.read_text() == ""
        (incoming / "slow.png").write_bytes(whole)
        wait_until(lambda: out.read_text())
        assert json.loads(out.read_text())["label"] in ("normal", "anomalous")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("killed_at", ["fsync", "replace"])
def test_what_is_killed_leaves_nothing_that_could_be_taken_for_whole(killed_at, line, normals, damaged, tmp_path):
    kept = tmp_path / "kept.skgad"
    kept.write_bytes(line.read_bytes())
    (tmp_path / "old.csv").write_text("as it was")
    processes = [
        run(["fit", normals, "-o", tmp_path / "new.skgad", *SMALL], killed_at, stderr=subprocess.DEVNULL),
        run(["update", kept, damaged], killed_at, stderr=subprocess.DEVNULL),
        run(["predict", line, damaged, "--csv", tmp_path / "old.csv"], killed_at, stderr=subprocess.DEVNULL),
    ]
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3
    assert not (tmp_path / "new.skgad").exists()
    assert kept.read_bytes() == line.read_bytes()
    assert (tmp_path / "old.csv").read_text() == "as it was"
    assert main(["predict", str(line), str(tmp_path / "damaged"), "--csv", str(tmp_path / "old.csv")]) == 1
    assert len(read_table(tmp_path / "old.csv")) == 3


def test_watch_that_is_killed_goes_on_where_it_was(line, damaged, tmp_path):
    out = tmp_path / "out.jsonl"
    watch = ["watch", line, damaged, "-o", out, "--once", "--every", "0.01"]
    assert run(watch, "fsync", stdout=subprocess.DEVNULL).wait() == -signal.SIGKILL
    assert main(list(map(str, watch))) == 0
    records = [json.loads(text) for text in out.read_text().splitlines()]
    assert sorted(record["path"] for record in records) == sorted(str(path) for path in damaged.iterdir())


def test_watch_says_once_that_photographs_have_changed_and_how(line, tmp_path, capsys):
    incoming, out = tmp_path / "incoming", tmp_path / "out.jsonl"
    watch = ["watch", str(line), str(incoming), "-o", str(out), "--once", "--every", "0.01"]
    draw(incoming, 20, seed=5)
    assert main(watch) == 0
    assert "alarm" not in capsys.readouterr().out
    for number, path in enumerate(sorted(incoming.iterdir())[:20]):
        Image.open(path).point(lambda value: round(0.5 * value)).save(incoming / f"dark{number}.png")
    assert main(watch) == 0
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    (alarm,) = [record["alarm"] for record in records if "alarm" in record]
    assert re.match(r"Alarm at image (2|3)\d of 40: since about image (1|2)\d ", alarm)
    assert "darker" in alarm
    assert len(records) == 21
    draw(tmp_path / "more", 3, seed=6)
    for path in (tmp_path / "more").iterdir():
        path.rename(incoming / f"again{path.name}")
    assert main(watch) == 0
    assert "alarm" not in capsys.readouterr().out


def test_watch_says_that_a_line_with_groups_is_not_watched_for_changes(line, damaged, tmp_path, capsys):
    fitted = load_line(line)
    images = sorted(str(path) for path in (line.parent / "normal").iterdir())
    fitted.set_params(detector__cv=5)
    save_line(fitted.fit(images, detector__groups=np.arange(30) // 2), tmp_path / "grouped.skgad")
    watch = ["watch", str(tmp_path / "grouped.skgad"), str(damaged), "-o", str(tmp_path / "out"), "--once"]
    assert main([*watch, "--every", "0.01"]) == 0
    said = capsys.readouterr()
    assert "warning: This line is not watched for changes: This line was calibrated with groups" in said.err
    assert len(said.out.splitlines()) == 3


@pytest.mark.parametrize("lost", ["nothing", "the state", "half of the judgements"])
def test_the_monitor_goes_on_where_watch_was_stopped(lost, line, tmp_path):
    incoming, out = tmp_path / "incoming", tmp_path / "out.jsonl"
    draw(incoming, 20, seed=5)
    assert main(["watch", str(line), str(incoming), "-o", str(out), "--once", "--every", "0.01"]) == 0
    state = Path(f"{out}.state")
    judge = Judge(load_line(line))
    if lost == "the state":
        state.unlink()
    if lost == "half of the judgements":
        out.write_text("".join(out.read_text().splitlines(keepends=True)[:10]))
    with Ledger(out) as ledger:
        monitor = Alarm(judge, ledger, state)._monitor
    if lost == "half of the judgements":
        assert monitor.n_seen_ == 10
        return
    expected = LineMonitor(judge.line, random_state=0).observe([str(path) for path in sorted(incoming.iterdir())])
    ours, theirs = (one.martingale_.history()["log_value"] for one in (monitor, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert monitor.drift_.n_seen_ == 20
    assert (monitor.drift_.history().empty) == (lost == "the state")


def test_two_watches_do_not_write_to_one_file(line, damaged, tmp_path, capsys):
    import filelock

    out = tmp_path / "out.jsonl"
    with filelock.FileLock(f"{out}.lock"):
        assert main(["watch", str(line), str(damaged), "-o", str(out), "--once"]) == 2
    assert "is written to by another skgad watch" in capsys.readouterr().err
