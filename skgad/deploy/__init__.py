"""One ONNX file of a line, and a runner that needs neither torch nor scikit-learn."""
