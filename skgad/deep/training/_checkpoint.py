"""The state of a training on disk, whole or not there: what a killed one goes on from, to the same result."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from ..._conventions._atomic import write_atomically

_FORMAT = 1


class Checkpoint:
    """One file.

    Parameters
    ----------
    path : path
    digest : str
        Of all that the training depends on: another training does not go on from here.
    """

    def __init__(self, path, digest):
        self._path = Path(path)
        self._digest = digest

    def read(self):
        """Return what was written, None if there is no file.

        Raises
        ------
        ValueError
            If the file is of another training, or is none of ours.
        """
        if not self._path.exists():
            return None
        try:
            found = torch.load(self._path, map_location="cpu", weights_only=True)
            digest = found.pop("digest")
        except Exception as error:  # whatever torch and pickle raise at a file that is not theirs
            raise ValueError(f"checkpoint={str(self._path)!r} is no checkpoint of a FineTuner: {error}") from error
        if digest != self._digest:
            raise ValueError(
                f"checkpoint={str(self._path)!r} belongs to another training: other images, weights, parameters or "
                "libraries. Give another path, or delete the file."
            )
        return found

    def write(self, state):
        """Write a state, a dict of tensors, numbers, texts and lists of them."""
        write_atomically(self._path, lambda file: torch.save({**state, "digest": self._digest}, file))


def digest_training(settings, *squares):
    """Return the digest of settings, a dict, and of images, `Squares`."""
    found = hashlib.sha256(repr((_FORMAT, torch.__version__, sorted(settings.items()))).encode())
    for images in squares:
        found.update(repr(images.rows.tolist()).encode())
        for _, batch in images.batches(np.arange(len(images)), 32):
            found.update(batch.numpy().tobytes())
    return found.hexdigest()
