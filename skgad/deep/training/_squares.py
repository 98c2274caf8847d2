"""The images of a training, as the squares that the network sees: held where there is room, else read again."""

import numpy as np
import torch

from ...exceptions import ImageError
from .._batches import extract_maps

_MOST_HELD = 2e9  # bytes


class Squares:
    """Images, resized, on the scale 0..255.

    Parameters
    ----------
    images : sequence of images
        What `check_images` returned.
    rows : ndarray of int of shape (n_images,)
        Positions of those that are meant.
    resize : callable
        From a decoded image to a tensor (3, height, width).
    image_size : int or (height, width)
    num_workers : int
        Threads that read.
    held : bool, default=True
        Whether they are held, where there is room.
    """

    def __init__(self, images, rows, resize, image_size, num_workers, held=True):
        self._images, self.rows, self._resize, self._num_workers = images, rows, resize, num_workers
        self._held = None
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if held and len(rows) * 12 * height * width <= _MOST_HELD:
            parts = [squares for _, squares in self._read(np.arange(len(rows)), 32)]
            self._held = torch.cat([torch.empty(0, 3, height, width), *parts])

    def __len__(self):
        return len(self.rows)

    def batches(self, order, batch_size):
        """Yield indices, some of `order`, and their squares, a tensor (n, 3, height, width).

        Raises
        ------
        ImageError
            If an image cannot be used.
        """
        if self._held is None:
            yield from self._read(order, batch_size)
            return
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            yield part, self._held[torch.from_numpy(part)]

    def _resize_whole(self, image, own, name):
        if own is not None:
            raise ImageError(f"{name} has a region of interest, and whole images are trained on. Pass the image alone.")
        return self._resize(image)

    def _read(self, order, batch_size):
        batches = extract_maps(
            self._images,
            self.rows[order],
            self._resize_whole,
            lambda squares: [torch.stack(squares)],
            batch_size=batch_size,
            num_workers=self._num_workers,
        )
        start = 0
        for batch in batches:
            if batch.errors:
                raise batch.errors[0]
            yield order[start : start + batch.n_images], batch.maps[0]
            start += batch.n_images


def divide(rows, fraction, random_state):
    """Return positions to train on and a share of them to examine on, drawn by chance; none of the latter for 0.

    Raises
    ------
    ValueError
        If fewer than two would be trained on.
    """
    n_held_out = max(1, round(fraction * len(rows))) if fraction else 0
    if len(rows) - n_held_out < 2:
        raise ValueError(
            f"n_samples = {len(rows)} normal images are too few to train on {len(rows) - n_held_out} of them and "
            f"examine on {n_held_out}. Give more."
        )
    drawn = np.random.default_rng([random_state, 4]).permutation(len(rows))
    return np.sort(rows[drawn[n_held_out:]]), np.sort(rows[drawn[:n_held_out]])


def to_bytes(square):
    """Return a square as an image of bytes, (height, width, 3)."""
    return square.permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)


def to_squares(images):
    """Return images of bytes (n, height, width, 3) as squares, a float32 tensor (n, 3, height, width)."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
