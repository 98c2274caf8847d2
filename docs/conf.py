"""How the documentation is built. The command is in contributing.md; nothing is fetched from anywhere."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import _api

import skgad
from skgad._conventions._base import StampedEstimator

ROOT = Path(__file__).parents[1]

project = "skgad"
author = "The skgad developers"
copyright = author
version = release = skgad.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "_math",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
toc_object_entries_show_parents = "hide"
default_role = "obj"  # `NPCA` in a docstring is a link, `X` is not

# Markdown: dollars around formulas, fences of colons, and a link target for each heading.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# The reference: one page a public name, made of the modules' own __all__.
autosummary_generate = _api.write_pages(Path(__file__).parent / "api")
autodoc_default_options = {"members": True, "inherited-members": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# The examples. `-D plot_gallery=0` shows their code without running it.
sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_\d\d_",
    "ignore_pattern": r"(^|[/\\])(?!plot_\d\d_)[^/\\]*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "api/examples",
    "doc_module": ("skgad",),
    "inspect_global_variables": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 0,
    "write_computation_times": False,
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"skgad {release}"
html_static_path = ["_static"]
html_css_files = ["skgad.css"]
html_sidebars = {"**": ["contents.html"]}
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "show_prev_next": False,
    "show_toc_level": 2,
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}

# The diagrams of estimators in the examples link to the reference. There is no published site, so that elsewhere
# they have no link (skgad/_conventions/_base.py).
StampedEstimator._doc_link_template = "../api/generated/{page}.html"
StampedEstimator._doc_link_url_param_generator = lambda self: {"page": _api.find_page(type(self))}


def setup(app):
    """Make names links, in docstrings and pages, and leave out what classes inherit from elsewhere."""
    app.connect("missing-reference", _api.resolve_name)
    app.connect("doctree-read", _api.link_code)
    app.connect("autodoc-skip-member", _api.skip_foreign)
