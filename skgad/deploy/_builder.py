"""Operators after operators: a model grows by names of tensors. Plain ONNX, one domain, no functions of our own."""

import numpy as np


class Builder:
    """A model that is added to.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.
    prefix : str
        Of the names of what is added, which no other has.
    """

    def __init__(self, model, prefix="skgad"):
        import onnx

        self._onnx, self.model, self._prefix, self._count = onnx, model, prefix, 0

    def add(self, operator, *inputs, n_outputs=1, **attributes):
        """Add an operator, and return the name of its output, or names; arrays among the inputs become constants."""
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        outputs = [self._name(operator) for _ in range(n_outputs)]
        self.model.graph.node.append(
            self._onnx.helper.make_node(operator, names, outputs, name=outputs[0], **attributes)
        )
        return outputs[0] if n_outputs == 1 else outputs

    def constant(self, value):
        """Add an array, float64 as float32, and return its name."""
        array = np.asarray(value)
        array = np.ascontiguousarray(array, dtype=np.float32 if array.dtype == np.float64 else None)
        name = self._name("constant")
        self.model.graph.initializer.append(self._onnx.numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def columns(self, tensor, columns):
        """Add the choice of columns, a slice or an array of positions, of a tensor (n, n_features)."""
        if isinstance(columns, slice):
            bounds = [np.array([bound], dtype=np.int64) for bound in (columns.start or 0, columns.stop)]
            return self.add("Slice", tensor, *bounds, np.array([1], dtype=np.int64))
        return self.add("Gather", tensor, np.asarray(columns, dtype=np.int64), axis=1)

    def total(self, tensor, axis, keepdims=0):
        """Add the sum over an axis."""
        return self.add("ReduceSum", tensor, np.array([axis], dtype=np.int64), keepdims=keepdims)

    def reset_outputs(self, **outputs):
        """Make these the outputs, each ``name=(tensor, element type of onnx, shape)``, and no others."""
        del self.model.graph.output[:]
        for name, (tensor, kind, shape) in outputs.items():
            self.model.graph.node.append(
                self._onnx.helper.make_node("Identity", [tensor], [name], name=f"{self._prefix}/{name}")
            )
            self.model.graph.output.append(
                self._onnx.helper.make_tensor_value_info(name, getattr(self._onnx.TensorProto, kind), shape)
            )

    def _name(self, what):
        self._count += 1
        return f"{self._prefix}/{what}_{self._count}"
