"""A frozen network as an ONNX graph: from pixels to pooled levels, or to their maps. torch's exporter writes it."""

import logging
import warnings
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ..exceptions import DependencyError, ExportError
from ._forward import lay_out_map, pool_locations, run_levels


class Passage(NamedTuple):
    """From pixels to levels: all that a graph depends on besides the network.

    Attributes
    ----------
    numbers : tuple of int
        Of the levels.
    size : (height, width)
        Of what the network sees, in pixels.
    pool : {"mean", "max"}
    sides : tuple of int
        Of the grids.
    maps : bool
        Whether the outputs are the maps of the levels, ``map7``, (n, height, width, channels), instead of the pooled
        features of all of them, ``features``, (n, n_features).
    resize : {"bilinear", "antialias"} or None
        How photographs, uint8 (n, height, width, 3) of any size, are resized in the graph; None where it takes what was
        resized before, float32 (n, 3, height, width) on the scale 0 to 255.
    """

    numbers: tuple
    size: tuple
    pool: str = "mean"
    sides: tuple = (1,)
    maps: bool = False
    resize: str | None = None

    @classmethod
    def of(cls, settings, maps=False):
        """Return that of the settings of an extraction, from photographs on.

        Raises
        ------
        ExportError
            If there is what a graph has not: tiles, a region of interest, timm's resizing.
        """
        reasons = {
            "tiles": settings["tiles"] is not None,
            "a region of interest (roi)": settings["roi"] is not None,
            "resize='timm'": settings["resize"] not in ("bilinear", "antialias"),
        }
        found = [reason for reason, is_there in reasons.items() if is_there]
        if found:
            raise ExportError(f"A graph has no {found[0]}: fit a line without, or run it from Python.")
        parts = (tuple(settings[name]) for name in ("levels", "image_size", "grid"))
        numbers, size, sides = parts
        return cls(numbers, size, settings["pool"], sides, maps, settings["resize"])


def export_network(network, passage):
    """Return a network as an ONNX model.

    Parameters
    ----------
    network : Network
        On the CPU.
    passage : Passage

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        If the maximum over the cells of a grid is asked for, or torch cannot export the network.
    DependencyError
        If onnx or onnxscript is missing.
    """
    import_onnx()
    if passage.pool == "max" and passage.sides != (1,):
        raise ExportError("A graph has no pool='max' over a grid: take the mean, or grid=1.")
    module = _Exported(network, passage).eval()
    height, width = passage.size
    example = torch.zeros((2, height + 8, width + 8, 3), dtype=torch.uint8)
    sizes = {0: torch.export.Dim("n"), 1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
    if passage.resize is None:
        example, sizes = torch.zeros((2, 3, height, width)), {0: sizes[0]}
    names = [f"map{number}" for number in passage.numbers] if passage.maps else ["features"]
    with _quiet(), torch.no_grad():
        try:
            program: Any = torch.onnx.export(
                module,
                (example,),
                input_names=["images"],
                output_names=names,
                dynamic_shapes=(sizes,),
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # whatever a network makes of it
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ExportError(f"torch cannot export this network: {first}") from error
    return program.model_proto


def import_onnx():
    """Return the module onnx; raise DependencyError if what an export takes is missing."""
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter takes it
    except ImportError as error:
        raise DependencyError(
            f"An export takes onnx, onnxscript and onnxruntime, and one cannot be imported ({error}): pip install "
            "skgad[deploy]"
        ) from error
    return onnx


class _Exported(nn.Module):
    """What the graph does, step by step."""

    def __init__(self, network, passage):
        super().__init__()
        self.model = network.module
        self._levels = [network.levels[number - 1] for number in passage.numbers]
        self._passage = passage
        for name, values in zip(("mean", "std"), network.scale, strict=True):
            self.register_buffer(name, values.clone())
        if passage.sides != (1,) and not passage.maps:
            empty = torch.zeros(1, 3, *passage.size)
            with torch.no_grad():
                shapes = run_levels(self.model, empty, self._levels, self._measure)
            for level, shape in zip(self._levels, shapes, strict=True):  # constants of the graph, not computed in it
                self.register_buffer(f"cells{level.number}", weigh_cells(shape[0], shape[1], passage.sides))

    def forward(self, images):
        x, resize = images, self._passage.resize
        if resize is not None:
            x = x.permute(0, 3, 1, 2).to(torch.float32)
            x = functional.interpolate(
                x, self._passage.size, mode="bilinear", align_corners=False, antialias=resize == "antialias"
            )
        x = (x - self.mean) / self.std
        found = run_levels(self.model, x, self._levels, self._take, stops=False)
        return tuple(found) if self._passage.maps else torch.cat(found, dim=1)

    def _take(self, level, output):
        if self._passage.maps:
            return lay_out_map(output, level, self._passage.size)
        if self._passage.sides == (1,):
            return pool_locations(output, level, self._passage.pool)
        places = lay_out_map(output, level, self._passage.size).flatten(1, 2)
        return (getattr(self, f"cells{level.number}") @ places).flatten(1)

    def _measure(self, level, output):
        return lay_out_map(output, level, self._passage.size).shape[1:3]


def weigh_cells(height, width, sides):
    """Return how much each location counts in the mean of each cell of grids: (n_cells, height * width)."""

    def weigh(length, side):
        return functional.adaptive_avg_pool1d(torch.eye(length)[None], side)[0].T

    return torch.cat([torch.kron(weigh(height, side), weigh(width, side)) for side in sides]).contiguous()


@contextmanager
def _quiet():
    """Keep torch's exporter from reporting its progress and its own deprecations to the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
