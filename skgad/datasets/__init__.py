"""Images to learn from: data sets on disk in the layouts that are common, and real data that a package ships."""

from ._cifar10 import load_cifar10
from ._elpv import load_elpv
from ._load import load_image_folder, load_image_table
from ._other_layouts import load_mask

__all__ = ["load_cifar10", "load_elpv", "load_image_folder", "load_image_table", "load_mask"]
