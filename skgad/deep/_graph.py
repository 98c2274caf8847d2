"""A frozen network as an ONNX graph: from pixels to pooled levels, or to their maps. torch's exporter writes it."""

import logging
import warnings
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..exceptions import DependencyError, ExportError
from ._forward import lay_out_map, pool_locations, run_levels


def export_network(network, extraction, *, maps=False, whole=True):
    """Return the network of an extraction as an ONNX model.

    Parameters
    ----------
    network : Network
        On the CPU.
    extraction : Extraction
    maps : bool, default=False
        Whether its outputs are the maps of the levels, ``map7``, (n, height, width, channels), instead of the pooled
        features of all of them, ``features``, (n, n_features).
    whole : bool, default=True
        Whether it takes photographs, uint8 (n, height, width, 3) of any size, and resizes them; or what was resized
        before, float32 (n, 3, height, width) on the scale 0 to 255.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        If the extraction has what a graph has not: tiles, a region of interest, timm's resizing; or torch cannot export
        the network.
    DependencyError
        If onnx or onnxscript is missing.
    """
    import_onnx()
    _check_exportable(extraction)
    module = _Exported(network, extraction, maps, whole).eval()
    height, width = extraction.size
    example = torch.zeros((2, height + 8, width + 8, 3), dtype=torch.uint8)
    sizes = {0: torch.export.Dim("n"), 1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
    if not whole:
        example, sizes = torch.zeros((2, 3, height, width)), {0: sizes[0]}
    levels = extraction.settings["levels"]
    names = [f"map{level}" for level in levels] if maps else ["features"]
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
            name = extraction.settings["backbone"]
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ExportError(f"{name} cannot be exported by torch: {first}") from error
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

    def __init__(self, network, extraction, maps, whole):
        super().__init__()
        settings = extraction.settings
        self.model = network.module
        self._levels = [network.levels[number - 1] for number in settings["levels"]]
        self._size, self._antialias = extraction.size, settings["resize"] == "antialias"
        self._pool, self._sides = settings["pool"], tuple(settings["grid"])
        self._maps, self._whole = maps, whole
        for name, values in (("mean", settings["mean"]), ("std", settings["std"])):
            self.register_buffer(name, torch.tensor(values).mul(255).reshape(1, 3, 1, 1))

    def forward(self, images):
        x = images
        if self._whole:
            x = x.permute(0, 3, 1, 2).to(torch.float32)
            x = functional.interpolate(x, self._size, mode="bilinear", align_corners=False, antialias=self._antialias)
        x = (x - self.mean) / self.std
        found = run_levels(self.model, x, self._levels, self._take, stops=False)
        return tuple(found) if self._maps else torch.cat(found, dim=1)

    def _take(self, level, output):
        if self._maps:
            return lay_out_map(output, level, self._size)
        if self._sides == (1,):
            return pool_locations(output, level, self._pool)
        laid_out = lay_out_map(output, level, self._size)
        height, width = laid_out.shape[1:3]
        weights = weigh_cells(height, width, self._sides)
        return (weights @ laid_out.flatten(1, 2)).flatten(1)


def weigh_cells(height, width, sides):
    """Return how much each location counts in the mean of each cell of grids: (n_cells, height * width)."""
    places = torch.eye(height * width).reshape(-1, 1, height, width)
    return torch.cat([functional.adaptive_avg_pool2d(places, side).flatten(1) for side in sides], dim=1).T.contiguous()


def _check_exportable(extraction):
    settings = extraction.settings
    reasons = {
        "tiles": extraction.tiles is not None,
        "a region of interest (roi)": settings["roi"] is not None,
        "resize='timm'": settings["resize"] not in ("bilinear", "antialias"),
        "pool='max' over a grid": settings["pool"] == "max" and settings["grid"] != [1],
    }
    found = [reason for reason, is_there in reasons.items() if is_there]
    if found:
        raise ExportError(f"A graph has no {found[0]}: fit a line without, or run it from Python.")


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
