"""The pages of the reference, made of ``__all__`` of every public module: a new module, or name, needs no line here."""

import importlib
import inspect
import pkgutil

from docutils import nodes
from sphinx.addnodes import pending_xref

import skgad

_ABOUT = [
    "Every public name, by module. Estimators also have what each scikit-learn estimator has: ``get_params``,",
    "``set_params``, ``get_metadata_routing``, and transformers ``fit_transform`` and ``set_output``.",
]


def find_modules():
    """Return the public modules: skgad itself first, then those of its children that have an ``__all__``."""
    names = sorted(info.name for info in pkgutil.iter_modules(skgad.__path__) if not info.name.startswith("_"))
    modules = [skgad, *(importlib.import_module(f"skgad.{name}") for name in names)]
    return {module.__name__: module for module in modules if hasattr(module, "__all__")}


def find_names():
    """Return for each public module its names, in their order, without the version."""
    return {
        name: [public for public in module.__all__ if not public.startswith("__")]
        for name, module in find_modules().items()
    }


def find_pages():
    """Return for each public name the name of its page. What two modules export has one page, in the shorter one."""
    pages, seen = {}, {}
    for module, names in find_names().items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            pages[f"{module}.{name}"] = seen.setdefault(id(value), f"{module}.{name}")
    return pages


def find_page(cls):
    """Return the name of a class's page."""
    names = {name: page for name, page in find_pages().items() if name.rsplit(".", 1)[1] == cls.__name__}
    return next(iter(names.values()))


def write_pages(folder):
    """Write ``index.rst`` and one file a module; return the latter, of which autosummary makes the other pages."""
    folder.mkdir(exist_ok=True)
    pages = find_pages()
    index = ["Reference", "=========", "", *_ABOUT, "", ".. toctree::", "   :maxdepth: 2", ""]
    for name, module in find_modules().items():
        index.append(f"   {name}")
        lines = [name, "=" * len(name), "", inspect.getdoc(module), ""]
        own = [page for page in (f"{name}.{public}" for public in find_names()[name]) if pages[page] == page]
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", "", *(f"   {one}" for one in own)]
        for public in find_names()[name]:
            if pages[f"{name}.{public}"] != f"{name}.{public}":
                lines += ["", f"``{name}.{public}`` is :obj:`{pages[f'{name}.{public}']}`."]
        _write(folder / f"{name}.rst", lines)
    _write(folder / "index.rst", index)
    return [f"{folder.name}/{name}.rst" for name in find_modules()]


def resolve_name(app, env, node, contnode):
    """Return a link for a public name that a docstring of another module mentions, or None."""
    target = node.get("reftarget", "")
    for name, page in find_pages().items():
        if node.get("refdomain") == "py" and target in (name, name.rsplit(".", 1)[1]):
            domain = env.domains["py"]
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", page, node, contnode)
    return None


def link_code(app, doctree):
    """Make links of public names that a page writes as code, such as ``NPCA``."""
    pages = find_pages()
    pages |= {name.rsplit(".", 1)[1]: page for name, page in reversed(pages.items())}
    for node in list(doctree.findall(nodes.literal)):
        page = pages.get(node.astext())
        if page and isinstance(node.parent, (nodes.paragraph, nodes.entry)):
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=page, refexplicit=True)
            link["refdoc"] = app.env.docname
            node.replace_self(link)
            link += node


def skip_foreign(app, what, name, value, skip, options):
    """Return True for methods that a class has from scikit-learn or Python: their pages are elsewhere."""
    function = getattr(value, "fget", value)
    foreign = not (getattr(function, "__module__", None) or "skgad").startswith("skgad")
    return True if what == "class" and foreign else None


def _write(path, lines):
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != text:  # what is unchanged is not built anew
        path.write_text(text)
