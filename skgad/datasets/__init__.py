"""Images to learn from: folders in the MVTec layout, and real data that a package ships."""

from ._elpv import load_elpv
from ._folder import load_image_folder

__all__ = ["load_elpv", "load_image_folder"]
