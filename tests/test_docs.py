"""Every public name is on its page of the reference, and its docstring says what the signature says."""

import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest
from numpydoc.validate import validate

from skgad import NPCA
from skgad._conventions._base import StampedEstimator

ROOT = Path(__file__).parents[1]

# Not asked for: extended summaries, See Also, descriptions where a type says all, and types where a parameter is as it
# is elsewhere (ES01, SA01, SA04, PR07, RT03, PR04).
CHECKS = {
    "GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10",
    "SS01", "SS02", "SS03", "SS04", "SS05", "SS06",
    "PR01", "PR02", "PR03", "PR05", "PR06", "PR08", "PR09", "PR10",
    "RT01", "RT04", "RT05", "YD01", "SA02", "SA03",
}  # fmt: skip


def load_api():
    """Return the module that writes the pages of the reference."""
    spec = importlib.util.spec_from_file_location("_api", ROOT / "docs" / "_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_public(name):
    """Return the class or function of a dotted name."""
    module, _, public = name.rpartition(".")
    return getattr(importlib.import_module(module), public)


def find_methods(name):
    """Return the dotted names of the public methods that a class has from skgad."""
    value = find_public(name)
    methods = inspect.getmembers(value, callable) if inspect.isclass(value) else []
    return [
        f"{name}.{method}"
        for method, function in methods
        if not method.startswith("_") and getattr(function, "__module__", "").startswith("skgad")
    ]


API = load_api()
NAMES = sorted(set(API.find_pages().values()))
RECORDS = [name for name in NAMES if hasattr(find_public(name), "_fields")]
ERRORS = [name for name in NAMES if name.startswith("skgad.exceptions.")]


def test_the_reference_has_every_public_name(tmp_path):
    API.write_pages(tmp_path)
    index = (tmp_path / "index.rst").read_text()
    for name, module in API.find_modules().items():
        page = (tmp_path / f"{name}.rst").read_text()
        assert f"   {name}\n" in index
        for public in set(module.__all__) - {"__version__"}:
            assert f"   {name}.{public}\n" in page or f"``{name}.{public}`` is :obj:" in page


def test_every_module_without_an_underscore_is_in_the_reference():
    files = [*(ROOT / "skgad").glob("[!_]*.py"), *(ROOT / "skgad").glob("[!_]*/__init__.py")]
    modules = {path.stem if path.stem != "__init__" else path.parent.name for path in files}
    assert {f"skgad.{module}" for module in modules} | {"skgad"} == API.find_modules().keys()


@pytest.mark.parametrize("name", [one for name in NAMES for one in (name, *find_methods(name))])
def test_docstring_agrees_with_the_signature(name):
    checks = CHECKS - {"PR01"} if name in ERRORS else CHECKS  # errors take what built-in ones take
    assert [error for error in validate(name)["errors"] if error[0] in checks] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ERRORS + RECORDS])
def test_public_names_have_an_example(name):
    assert "EX01" not in [code for code, _ in validate(name)["errors"]]


def test_a_diagram_links_to_the_page_that_a_site_names(monkeypatch):
    assert NPCA()._get_doc_link() == ""
    monkeypatch.setattr(StampedEstimator, "_doc_link_template", "https://here/{estimator_module}.{estimator_name}.html")
    assert "https://here/skgad.NPCA.html" in NPCA()._repr_html_()


def test_pixels_of_the_solar_cells_are_not_in_the_gallery():
    for path in (ROOT / "examples").glob("plot_*.py"):
        code = path.read_text()
        if "load_elpv" in code and "imshow(Image.open" in code:  # the picture goes to a file, and is closed
            assert code.count("plt.close(figure)") == code.count("savefig") == 1


def test_every_room_is_on_the_page_for_contributors():
    page = (ROOT / "docs" / "contributing.md").read_text()
    files = [path.name for path in (ROOT / "skgad").glob("*.py") if path.stem != "__init__"]
    folders = [f"{path.parent.name}/" for path in (ROOT / "skgad").glob("*/__init__.py")]
    assert [room for room in [*files, *folders] if f"{room}`" not in page] == []
