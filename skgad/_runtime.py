"""An ONNX graph at work, by onnxruntime or OpenVINO. Arrays in, arrays out; neither torch nor scikit-learn."""

import numpy as np

from .exceptions import DependencyError, ExportError

ENGINES = ("cpu", "cuda", "openvino")
BATCH = 8  # images that go through a graph together: larger batches leave a processor's cache

_MOST_SHAPES = 4  # that OpenVINO keeps a compiled model of


def open_graph(content, engine, n_threads=None, name="the graph"):
    """Return a graph that is ready to run.

    Parameters
    ----------
    content : bytes
        Of the model, whose only input is ``images``, the first axis being that of images.
    engine : {"cpu", "cuda", "openvino"}
        onnxruntime on the CPU or on CUDA, or OpenVINO on the CPU. All work in float32.
    n_threads : int, default=None
        Of the CPU; None for the engine's own choice, all cores.
    name : str
        What errors call it.

    Returns
    -------
    OnnxruntimeGraph or OpenvinoGraph

    Raises
    ------
    DependencyError
        If the engine is missing.
    ExportError
        If the content is no model.
    """
    return (OpenvinoGraph if engine == "openvino" else OnnxruntimeGraph)(content, engine, n_threads, name)


class OnnxruntimeGraph:
    """A graph in onnxruntime.

    Attributes
    ----------
    outputs : list of str
    metadata : dict of str to str
    """

    def __init__(self, content, engine, n_threads, name):
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyError(
                f"An ONNX graph takes onnxruntime, which cannot be imported ({error}): pip install onnxruntime"
            ) from error
        wanted = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[engine]
        if wanted not in onnxruntime.get_available_providers():
            raise DependencyError(f"This onnxruntime has no {wanted}: pip install onnxruntime-gpu, or take the CPU.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if n_threads is not None:
            options.intra_op_num_threads = n_threads
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=[wanted])
        except Exception as error:  # onnxruntime's own, of several kinds
            raise ExportError(f"{name} cannot be run: it is damaged, or no ONNX graph.") from error
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.metadata = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, images, names):
        """Return the outputs of these names, a list, of a batch of images."""
        return self._session.run(names, {"images": images})


class OpenvinoGraph:
    """A graph in OpenVINO, compiled for batches of one size: that is 1.6 times as fast as for any.

    Attributes
    ----------
    outputs : list of str
    metadata : dict of str to str
    """

    def __init__(self, content, engine, n_threads, name):
        try:
            import openvino
        except ImportError as error:
            raise DependencyError(f"openvino cannot be imported ({error}): pip install openvino") from error
        self._core, self._content, self._compiled = openvino.Core(), content, {}
        self._options = {"INFERENCE_PRECISION_HINT": "f32"}
        if n_threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = n_threads
        try:
            model = self._core.read_model(content)
        except Exception as error:  # OpenVINO's own
            raise ExportError(f"{name} cannot be run: it is damaged, or no ONNX graph.") from error
        self.outputs = [output.get_any_name() for output in model.outputs]
        kept = dict(model.get_rt_info().items()).get("framework", {})
        self.metadata = {key: str(getattr(value, "value", value)) for key, value in kept.items()}

    def __call__(self, images, names):
        """Return the outputs of these names, a list, of a batch of images."""
        n_images = len(images)
        if 1 < n_images < BATCH:  # filled up, so that it is a batch like others
            images = np.concatenate([images, np.repeat(images[-1:], BATCH - n_images, axis=0)])
        found = self._compile(images.shape)(images)
        return [found[name][:n_images] for name in names]

    def _compile(self, shape):
        if shape not in self._compiled and len(self._compiled) == _MOST_SHAPES:
            shape = None  # sizes that go on changing: one model for any
        if shape not in self._compiled:
            model = self._core.read_model(self._content)
            if shape is not None:
                model.reshape(list(shape))
            self._compiled[shape] = self._core.compile_model(model, "CPU", self._options)
        return self._compiled[shape]
