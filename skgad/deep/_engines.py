"""A network in another engine: exported by torch once a process, and run by onnxruntime or OpenVINO on the CPU.

It takes what `Network` takes and gives what it gives, within a thousandth of each level's root mean square; that is
tried when a graph is made, on one image of noise.
"""

import numpy as np
import torch

from .._runtime import open_graph
from ..exceptions import ExportError
from ._graph import Passage, export_network
from ._recent import Recent

ENGINES = ("torch", "onnxruntime", "openvino")
TOLERANCE = 1e-3  # of a level's root mean square

_engines = Recent(4)  # by network and engine


def load_engine(network, engine):
    """Return a network in an engine, the same object for the same network; itself for "torch"."""
    if engine == "torch":
        return network
    return _engines.get((id(network), engine), lambda: EngineNetwork(network, engine))


def forget_engines():
    """Drop what this process keeps."""
    _engines.clear()


class EngineNetwork:
    """A network whose passes another engine runs.

    Parameters
    ----------
    network : Network
        On the CPU.
    engine : {"onnxruntime", "openvino"}

    Attributes
    ----------
    levels : tuple of Level
    identity : Identity
        Of the network, which is the same.
    """

    def __init__(self, network, engine):
        self._network, self._engine = network, engine
        self.levels, self.identity = network.levels, network.identity
        self._graphs: dict = {}

    def pool_levels(self, batch, numbers, how="mean", precision="float32", sides=(1,)):
        """Return the levels of images, pooled, as `Network.pool_levels` does.

        Raises
        ------
        ExportError
            If the network cannot be exported, or the engine gives something else than torch.
        DependencyError
            If the engine, or what an export takes, is missing.
        """
        passage = Passage(tuple(numbers), tuple(batch.shape[2:]), how, tuple(sides))
        return self._find(passage)(_to_array(batch), ["features"])[0]

    def map_levels(self, batch, numbers, precision="float32"):
        """Return the feature maps of images, level by level, as `Network.map_levels` does; raise as `pool_levels`."""
        passage = Passage(tuple(numbers), tuple(batch.shape[2:]), maps=True)
        return self._find(passage)(_to_array(batch), [f"map{number}" for number in numbers])

    def pack(self):
        """Return the weights as safetensors bytes."""
        return self._network.pack()

    def _find(self, passage):
        if passage not in self._graphs:
            content = export_network(self._network, passage).SerializeToString()
            kind = "openvino" if self._engine == "openvino" else "cpu"
            graph = open_graph(content, kind, torch.get_num_threads())
            self._compare(graph, passage)
            self._graphs[passage] = graph
        return self._graphs[passage]

    def _compare(self, graph, passage):
        """Raise ExportError if the engine gives other levels than torch."""
        noise = np.random.default_rng(0).uniform(0, 255, size=(1, 3, *passage.size)).astype(np.float32)
        if passage.maps:
            found = graph(noise, [f"map{number}" for number in passage.numbers])
            expected = self._network.map_levels(torch.from_numpy(noise), passage.numbers)
        else:
            (pooled,) = graph(noise, ["features"])
            due = self._network.pool_levels(torch.from_numpy(noise), passage.numbers, passage.pool, sides=passage.sides)
            n_cells = sum(side**2 for side in passage.sides)
            ends = np.cumsum([n_cells * self.levels[number - 1].channels for number in passage.numbers])[:-1]
            found, expected = np.split(pooled, ends, axis=1), np.split(due, ends, axis=1)
        for number, ours, theirs in zip(passage.numbers, found, expected, strict=True):
            difference = np.abs(ours - theirs).max() / np.sqrt(np.mean(np.square(theirs)))
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"engine={self._engine!r} gives other features than torch: of an image of noise, level {number} "
                    f"differs by {difference:.2g} of its root mean square, and {TOLERANCE:.0e} is allowed. Take "
                    "engine='torch'."
                )


def _to_array(batch):
    if batch.shape[1] == 4:
        raise ValueError("A region of interest takes engine='torch': leave the masks out, or take that.")
    return np.ascontiguousarray(batch.numpy())
