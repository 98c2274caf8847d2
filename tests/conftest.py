"""Real features, computed once a session; a hub that is never asked."""

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"  # a download fails at once instead of after five tries
os.environ["HF_HUB_CACHE"] = tempfile.mkdtemp(prefix="skgad-empty-hub-")  # whatever this machine has kept

from pathlib import Path

import numpy as np
import pytest

from skgad import DeepFeatureTransformer
from skgad.datasets import load_elpv
from skgad.deep import _backbone, _network, _weights

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="session")
def mono():
    """Features of all nine levels of EfficientNet-Lite0, and the labels, of the monocrystalline cells."""
    return _features("mono")


@pytest.fixture(scope="session")
def poly():
    """The same of the polycrystalline cells."""
    return _features("poly")


@pytest.fixture(scope="session")
def cells():
    """Paths of 60 normal and 30 defective monocrystalline cells, and their labels."""
    paths, y = load_elpv("mono")
    rows = np.r_[np.flatnonzero(y == 1)[:60], np.flatnonzero(y == -1)[:30]]
    return paths[rows], y[rows]


@pytest.fixture
def photographs():
    """Eight random colour photographs, uint8."""
    return np.random.default_rng(0).integers(0, 256, size=(8, 40, 48, 3), dtype=np.uint8)


@pytest.fixture
def fresh_process():
    """Call it to forget every network, as a new process would."""

    def forget():
        _network.forget_networks()
        _weights._states.clear()
        _backbone._handles.clear()

    forget()
    yield forget
    forget()


@pytest.fixture(scope="session")
def image_folders():
    """A folder of real data sets in the MVTec layout, which is not part of the project."""
    root = Path(os.environ.get("SKGAD_IMAGE_FOLDERS", "missing"))
    if not root.is_dir():
        pytest.skip("no folder of real data sets: set SKGAD_IMAGE_FOLDERS to one in the MVTec layout")
    return root


def _features(kind):
    paths, y = load_elpv(kind)
    return DeepFeatureTransformer(LITE0).fit_transform(paths), y


@pytest.fixture(scope="session")
def export_once():
    """Let each network be exported once a session for each passage: torch takes seconds. Each caller gets a copy."""
    import onnx

    from skgad.deep import _engines, _graph
    from skgad.deploy import _export

    made, export_network = {}, _graph.export_network

    def export(network, passage):
        key = network.identity.sha256, passage
        if key not in made:
            made[key] = export_network(network, passage).SerializeToString()
        return onnx.load_from_string(made[key])

    with pytest.MonkeyPatch.context() as patch:
        for module in (_engines, _export):
            patch.setattr(module, "export_network", export)
        yield
