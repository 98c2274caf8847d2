"""The README's code runs, and its set-up commands name what is there."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from skgad import datasets
from skgad.exceptions import WorkingPointWarning

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.filterwarnings(f"ignore::{WorkingPointWarning.__module__}.{WorkingPointWarning.__name__}")
def test_code_runs(monkeypatch, capsys):
    images, y = datasets.load_elpv("mono")
    few = np.r_[np.flatnonzero(y == 1)[:60], np.flatnonzero(y == -1)[:10]]
    monkeypatch.setattr(datasets, "load_elpv", lambda kind: (images[few], y[few]))
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102
    assert "defects found" in capsys.readouterr().out
    assert namespace["pipe"].predict(images[:2]).shape == (2,)


def test_there_are_two_set_up_commands_and_they_name_what_is_there():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert len(commands) == 2
    for command in commands:
        assert re.search(r"\[(\w+)\]", command)[1] in extras
        for path in re.findall(r"examples/\S+", command):
            assert (ROOT / path).is_file()
