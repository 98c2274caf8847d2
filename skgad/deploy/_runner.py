"""An exported line at work: NumPy, Pillow and onnxruntime, or OpenVINO, and nothing else."""

import json
from pathlib import Path

import numpy as np

from .._images._interest import decode_bytes
from .._images._sequence import check_images, fetch
from .._runtime import BATCH, ENGINES, open_graph
from ..exceptions import ExportError

FORMAT = 1


def load(path, *, provider="cpu", n_threads=None):
    """Return a `Runner` of a file that `export_onnx` wrote. It takes NumPy, Pillow and onnxruntime, no torch.

    Parameters
    ----------
    path : path
    provider : {"cpu", "cuda", "openvino"}, default="cpu"
        What runs it: onnxruntime on the CPU or on CUDA (onnxruntime-gpu), or OpenVINO's own runtime on the CPU.
    n_threads : int, default=None
        Of the CPU; None for the runtime's own choice, all cores.

    Returns
    -------
    Runner

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ExportError
        If it is damaged, of a later format, or was not written by skgad.
    DependencyError
        If the runtime is missing, or does not know the provider.

    Examples
    --------
    >>> from skgad.deploy import load
    >>> load("nowhere.onnx")
    Traceback (most recent call last):
    FileNotFoundError: nowhere.onnx: there is no such file.
    """
    if provider not in ENGINES:
        raise ValueError(f"provider must be one of {', '.join(map(repr, ENGINES))}; got {provider!r}.")
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file.") from None
    return Runner(content, provider=provider, n_threads=n_threads, name=str(path))


class Runner:
    """An exported line: scores, labels, p-values and maps of photographs.

    Parameters
    ----------
    content : bytes
        Of the file.
    description : dict, default=None
        What is known of it; None reads that from the file.
    provider, n_threads
        As in `load`.
    name : str, default="the graph"
        What errors call it.

    Attributes
    ----------
    description : dict
        What the line is, where its network comes from, how it agreed with the line when it was exported.
    outputs : list of str
        Of "distances", "score", "label", "p_value" and "map", those that there are.

    See Also
    --------
    load : Makes it from a file.

    Examples
    --------
    >>> from skgad.deploy import Runner
    >>> Runner(b"no graph")
    Traceback (most recent call last):
    skgad.exceptions.ExportError: the graph cannot be run: it is damaged, or no ONNX graph.
    """

    def __init__(self, content, description=None, *, provider="cpu", n_threads=None, name="the graph"):
        self._run = open_graph(content, provider, n_threads, name)
        self.outputs = self._run.outputs
        self.description = _read_description(self._run.metadata, name) if description is None else description

    def run(self, images, outputs=None):
        """Return what the graph gives, by name.

        Parameters
        ----------
        images : sequence of images
            Paths, arrays or PIL images, as `DeepFeatureTransformer` takes them.
        outputs : list of str, default=None
            Of ``outputs``; None for all.

        Returns
        -------
        dict of str to ndarray
            Each of shape (n_samples, ...).

        Raises
        ------
        ImageError
            If an image cannot be used.
        ValueError
            If the line has no such output.
        """
        names = self.outputs if outputs is None else outputs
        missing = [name for name in names if name not in self.outputs]
        if missing:
            raise ValueError(f"This line gives {', '.join(self.outputs)}; {missing[0]!r} was asked for.")
        images = check_images(images)
        parts = [self._run(batch, names) for batch in _iter_batches(images)]
        return {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}

    def score_samples(self, images):
        """Return minus the distance of each image: higher is more normal.

        Parameters
        ----------
        images : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples,)
        """
        return self.run(images, ["score"])["score"]

    def predict(self, images):
        """Return +1 for normal and -1 for anomalous images.

        Parameters
        ----------
        images : sequence of images

        Returns
        -------
        ndarray of int of shape (n_samples,)
        """
        return self.run(images, ["label"])["label"]

    def p_values(self, images):
        """Return the p-value of each image, as `FPRThresholdCV.p_values`.

        Parameters
        ----------
        images : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples,)

        Raises
        ------
        ValueError
            If the line has none.
        """
        return self.run(images, ["p_value"])["p_value"]

    def score_maps(self, images):
        """Return the anomaly map of each image: how far each pixel is from normal.

        Parameters
        ----------
        images : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, height, width)

        Raises
        ------
        ValueError
            If the line makes no maps.
        """
        return self.run(images, ["map"])["map"]


def _iter_batches(images):
    """Yield uint8 arrays (n, height, width, 3): some images that follow each other and have one size."""
    batch: list = []
    for position in range(len(images)):
        pixels = decode_bytes(fetch(images, position), position)
        if batch and (pixels.shape != batch[0].shape or len(batch) == BATCH):
            yield np.stack(batch)
            batch = []
        batch.append(pixels)
    yield np.stack(batch)


def _read_description(metadata, name):
    try:
        description = json.loads(metadata["skgad"])
        number = int(description["format"])
    except (KeyError, ValueError, TypeError):
        raise ExportError(f"{name} was not written by skgad: `skgad export`, or export_onnx, writes one.") from None
    if number > FORMAT:
        raise ExportError(f"{name} has format {number}, and this skgad reads up to {FORMAT}: install a later one.")
    return description
