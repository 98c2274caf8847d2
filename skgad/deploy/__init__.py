"""One ONNX file of a line, and a runner that needs neither torch nor scikit-learn."""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = ["Runner", "export_onnx", "load"]
