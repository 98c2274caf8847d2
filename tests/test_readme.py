"""The code of the README and the pages runs, and the set-up commands name what is there."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from skgad import datasets
from skgad.exceptions import ImageWarning, WorkingPointWarning

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def few_cells(monkeypatch, tmp_path):
    """Let load_elpv return few cells, and work in an empty folder."""
    images, y = datasets.load_elpv("mono")
    few = np.r_[np.flatnonzero(y == 1)[:120], np.flatnonzero(y == -1)[:15]]
    monkeypatch.setattr(datasets, "load_elpv", lambda kind: (images[few], y[few]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def run(text, at_least=2):
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= at_least
    namespace = {}
    for block in blocks:
        exec(compile(block, "documentation", "exec"), namespace)  # noqa: S102
    return namespace


@pytest.mark.filterwarnings(f"ignore::{WorkingPointWarning.__module__}.{WorkingPointWarning.__name__}")
def test_readme_runs(few_cells, capsys):
    namespace = run(README)
    assert "defects found" in capsys.readouterr().out
    assert namespace["pipe"].predict(namespace["held_out"][:2]).shape == (2,)


@pytest.mark.filterwarnings(f"ignore::{WorkingPointWarning.__module__}.{WorkingPointWarning.__name__}")
def test_guide_runs(few_cells):
    # the guide has 588 normal cells to cut into parts; here there are 120
    guide = (ROOT / "docs" / "guide.md").read_text()
    guide = guide.replace("300", "60").replace("400", "80").replace(":100]", ":20]")
    namespace = run(guide)
    assert len(namespace["suspects"]) == 10
    assert namespace["detector"].n_samples_seen_ == namespace["cleaner"].kept_.sum()


def test_there_are_two_set_up_commands_and_they_name_what_is_there():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert len(commands) == 2
    for command in commands:
        assert re.search(r"\[(\w+)\]", command)[1] in extras
        for path in re.findall(r"examples/\S+", command):
            assert (ROOT / path).is_file()


@pytest.mark.filterwarnings(f"ignore::{ImageWarning.__module__}.{ImageWarning.__name__}")
def test_extractor_page_runs(few_cells, capsys):
    namespace = run((ROOT / "docs" / "extractor.md").read_text())
    assert len(namespace["features"]) == 20
    assert "CacheInfo" in capsys.readouterr().out


def test_page_on_the_line_runs(few_cells, export_once, capsys):
    namespace = run((ROOT / "docs" / "line.md").read_text())
    assert namespace["agreement"].n_other_labels == 0
    assert "tf_efficientnet_lite0.in1k learnt 120 images" in capsys.readouterr().out


def test_page_on_monitoring_runs(few_cells, capsys):
    namespace = run((ROOT / "docs" / "monitoring.md").read_text(), at_least=1)
    assert namespace["monitor"].n_seen_ == 30
    assert "30 images, no alarm" in capsys.readouterr().out


def test_page_on_extensions_runs(few_cells, capsys):
    run((ROOT / "docs" / "extending.md").read_text())
    assert "[ 1 -1]" in capsys.readouterr().out


def test_page_on_tuning_runs(few_cells, capsys):
    namespace = run((ROOT / "docs" / "tuning.md").read_text())
    assert namespace["inspector"].n_groups_ == 26
    assert "criterion" in capsys.readouterr().out


def test_the_picture_of_the_readme_is_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).is_file()
