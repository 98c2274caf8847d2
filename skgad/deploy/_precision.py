"""The network of a graph in fewer bits: half precision, or bytes. onnxruntime's own tools do it."""

import tempfile
from pathlib import Path

import numpy as np

from .._images._interest import decode_bytes
from .._images._sequence import fetch

PRECISIONS = ("float32", "float16", "int8")

_KEPT = ["Resize", "Cast", "Transpose", "Shape"]  # pixels are resized in float32
_CALIBRATED = 100  # images, at most, that ranges are read from


def lower_precision(model, precision, images):
    """Return a network's model in "float16" or "int8"; its input and output stay as they are.

    Parameters
    ----------
    model : onnx.ModelProto
    precision : {"float16", "int8"}
    images : sequence of images
        For "int8": normal ones, from which the ranges of all tensors are read.
    """
    if precision == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        halved = OnnxModel(convert_float_to_float16(model, keep_io_types=True, op_block_list=_KEPT))
        halved.topological_sort()  # casts were put at the end
        return halved.model
    return _quantize(model, images)


def _quantize(model, images):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            rows = np.linspace(0, len(images) - 1, min(len(images), _CALIBRATED)).astype(int)
            self._batches = ({"images": to_bytes(images, row)[np.newaxis]} for row in rows)

        def get_next(self):
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, done = (str(Path(folder) / name) for name in ("whole.onnx", "prepared.onnx", "done.onnx"))
        onnx.save(model, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            done,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(done)


def to_bytes(images, position):
    """Return one image of a sequence as uint8 (height, width, 3)."""
    return decode_bytes(fetch(images, position), position)
