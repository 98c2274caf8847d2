# Where each name lives: see skgad/__init__.pyi.
from ._export import Agreement as Agreement
from ._export import export_onnx as export_onnx
from ._runner import Runner as Runner
from ._runner import load as load
