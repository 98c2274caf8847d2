"""Images turned about their middle, for detectors that learn from a few of them."""

import math

import torch
from torch.nn import functional
from torch.utils.data import Dataset

from .._images._decoding import decode
from .._images._interest import split
from .._images._sequence import fetch
from ..exceptions import ImageError


class RotatedImages(Dataset):
    """Images, each turned by the same angle when it is asked for; what comes in at the border is mirrored.

    Parameters
    ----------
    images : sequence of images
        What `check_images` returned.
    angle : float
        Degrees, counterclockwise.
    """

    def __init__(self, images, angle):
        self.images = images
        self.angle = angle

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        item, roi = split(fetch(self.images, position))
        if roi is not None:
            raise ImageError(f"image {position} has a region of interest, which is not turned. Set rotations=0.")
        return rotate(decode(item, position), self.angle)


def rotate(image, angle):
    """Return an image (height, width, 3) on the scale 0..255 as floats in [0, 1], turned by an angle in degrees."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # affine_grid works on [-1, 1] along each side: a turn in pixels is sheared there, unless the image is square
    turn = torch.tensor([[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]])
    pixels = torch.from_numpy(image.astype("float32")).permute(2, 0, 1)[None] / 255
    grid = functional.affine_grid(turn[None], list(pixels.shape), align_corners=False)
    turned = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return turned[0].permute(1, 2, 0).clamp(0, 1).numpy()
