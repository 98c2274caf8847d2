"""From a decoded image to what goes through the network: resized, or to be cut into tiles, and what is of interest."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from .._images._interest import Interest, find_interest, paint_over
from ..exceptions import BackboneError, ImageError
from ._grid import name_cells
from ._tiled import Tiles


class Preparation(NamedTuple):
    """What becomes of a decoded image.

    Attributes
    ----------
    resize : callable
        From an image (height, width, 3) on the scale 0..255 to a tensor (3, height, width) of `size`.
    size : (height, width)
    colour : tuple of float
        What pixels of no interest are painted with, on the scale 0..1.
    interest : Interest or None
        That of all images.
    tiles : Tiles or None
    is_native : bool
        Whether images must have `size` already.
    lack : str
        Why there are no locations that could be of interest; "" where there are.
    """

    resize: Any
    size: tuple
    colour: tuple
    interest: Interest | None = None
    tiles: Tiles | None = None
    is_native: bool = False
    lack: str = ""

    def leave_tiles_out(self):
        """Return this without the tiles in which nothing is of interest in any image."""
        if self.tiles is None or self.interest is None:
            return self
        return self._replace(tiles=self.tiles.without(self._share(self.interest.mask, "roi")[:, :, 0]))

    def __call__(self, image, own, name, sides=None):
        """Return a decoded image as the network or the tiles take it; with a channel that says what is of interest.

        Parameters
        ----------
        image : ndarray of shape (height, width, 3)
        own : ndarray of bool or None
            The image's own region of interest.
        name : str
            What errors call the image.
        sides : tuple of int, default=None
            Of the grids over whose cells features are pooled: something of each must be of interest.

        Returns
        -------
        Tensor of shape (3 or 4, height, width), or ndarray of shape (height, width, 3 or 4) to be cut into tiles
            On the scale 0..255.

        Raises
        ------
        ImageError
            If it has another size than it must have, or nothing of a cell is of interest.
        BackboneError
            If there is a region of interest, and the network has no locations.
        """
        interest = find_interest(image, own, self.interest, name)
        if interest is None:
            return self._resize(image, name)
        if self.lack:
            raise BackboneError(self.lack)
        resized = self._resize(paint_over(image, interest, 255 * np.asarray(self.colour)), name)
        shares = self._share(interest, name)
        if sides is not None:
            self._check_cells(shares, sides, name)
        return torch.cat([resized, shares]) if self.tiles is None else np.concatenate([resized, shares], axis=2)

    def _resize(self, image, name):
        if self.tiles is None:
            return self.resize(image)
        if image.shape[:2] == self.size:
            return image
        if self.is_native:
            raise ImageError(
                f"{name} has {image.shape[0]} x {image.shape[1]} pixels, and the photographs of the fit have "
                f"{self.size[0]} x {self.size[1]}: their tiles differ. Give image_size={self.size}, to which all are "
                "resized first."
            )
        return self.resize(image).permute(1, 2, 0).numpy()

    def _share(self, interest, name):
        """Return how much of each pixel that the network sees is of interest, as one more channel, up to 255."""
        grey = np.repeat(255 * interest.astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
        resized = self._resize(grey, name)
        return resized[:1] if self.tiles is None else resized[:, :, :1]

    def _check_cells(self, shares, sides, name):
        parts = {"": shares} if self.tiles is None else self.tiles.cut_all(shares)
        for tile, part in parts.items():
            for side in sides:
                there = functional.adaptive_max_pool2d(part[None].float(), side).flatten() > 0
                if not there.all():
                    cell = tile + name_cells((side,))[int(there.logical_not().nonzero()[0])]
                    raise ImageError(
                        f"{name}: nothing of cell {cell} is of interest, so that it has no features. Take a coarser "
                        "grid; tiles are left out by a mask for all images, roi=, alone."
                    )
