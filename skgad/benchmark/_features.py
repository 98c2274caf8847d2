"""Features of a category: each image through the network once, and the passes of augmented ones, kept on disk.

The features of plain images live in the extractor's cache. Those of augmented images are stored a pass at a time, a
file each, so that a stream can go through them twice without the network, and memory holds one pass.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from tqdm.auto import tqdm

from .._conventions._atomic import write_atomically
from .._conventions._levels import frame
from ..deep import DeepFeatureTransformer, cache_info
from ._cost import measured
from ._store import digest, read_whole


class Features(NamedTuple):
    """A category's features.

    Attributes
    ----------
    train, test : DataFrame of float32 of shape (n_images, n_features)
    key : str
        Digest of the features, the network and the settings.
    settings : dict
        The extractor's, with ``weights_sha256``.
    n_extracted : int
        How many images were not in the cache.
    seconds, peak_mib : float
        Of reading and extracting.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    key: str
    settings: dict
    n_extracted: int
    seconds: float
    peak_mib: float


class Extractor:
    """A backbone with its cache.

    Parameters
    ----------
    backbone : str
    cache : True or path
        As in `DeepFeatureTransformer`; the passes of augmented images stand beside it.
    weights : optional
        As in `DeepFeatureTransformer`.
    num_workers : int, default=1
        Threads that read and alter images while the network works.
    verbose : int, default=0
        1 shows a progress bar for each category.
    """

    def __init__(self, backbone, *, cache=True, weights="auto", num_workers=1, verbose=0):
        self._transformer = DeepFeatureTransformer(
            backbone, cache=cache, weights=weights, num_workers=num_workers, verbose=verbose
        )
        self._cache = cache
        self._verbose = verbose

    def extract(self, category):
        """Return the `Features` of a `Category`."""
        n_known = cache_info(self._cache).n_images
        with measured() as cost:
            train = self._transformer.fit_transform(category.X_train)
            test = self._transformer.transform(category.X_test)
        settings = {**self._transformer.settings_, "weights_sha256": self._transformer.weights_sha256_}
        key = digest(train.to_numpy(), test.to_numpy(), category.y_test, settings)
        n_extracted = cache_info(self._cache).n_images - n_known
        return Features(train, test, key, settings, n_extracted, cost.seconds, cost.peak_mib)

    def extract_passes(self, category, features, n_passes, random_state=0):
        """Return the `Passes` of augmented training images, on disk; those that are there are not made again.

        Parameters
        ----------
        category : Category
        features : Features
            Of the same category.
        n_passes : int
        random_state : int, default=0

        Returns
        -------
        Passes
        """
        from ..deep import AugmentedImages, _augmentation

        recipe = _augmentation.find_recipe(category.name)
        key = digest(features.train.to_numpy(), features.settings, recipe, _augmentation.VERSION, random_state)
        folder = Path(cache_info(self._cache).path).parent
        files = [folder / "augmented" / key / f"pass{number:04d}.npy" for number in range(n_passes)]
        shape = features.train.shape
        lacking = [number for number, file in enumerate(files) if not read_whole(file, partial(_is_pass, shape))]
        transformer = clone(self._transformer).set_params(cache=None, verbose=0)
        with measured() as cost:
            for number in tqdm(lacking, desc=f"{category.name}, augmented", unit="pass", disable=not self._verbose):
                images = AugmentedImages(
                    list(category.X_train),
                    features.settings["image_size"],
                    category=category.name,
                    pass_number=number,
                    random_state=random_state,
                )
                values = transformer.fit_transform(images).to_numpy()
                write_atomically(files[number], lambda file, values=values: np.save(file, values))
        n_extracted = len(lacking) * len(category.X_train)
        return Passes(files, features.train.columns, digest(key, n_passes), n_extracted, cost.seconds, cost.peak_mib)


def _is_pass(shape, file):
    """Return True if a file holds a pass of this shape, by its header and size; raise ValueError if not."""
    if np.load(file, mmap_mode="r", allow_pickle=False).shape != shape:
        raise ValueError("it holds other features")
    return True


class Passes(NamedTuple):
    """The passes of augmented images of a category, on disk."""

    files: list  # of .npy, (n_train, n_features) each
    columns: object  # names of the features
    key: str
    n_extracted: int
    seconds: float
    peak_mib: float

    def blocks(self, rows, n_rows=2048):
        """Yield frames of the given training images over all passes, about `n_rows` at a time.

        No more of them is held in memory. All passes of the images come, pass by pass.
        """
        together = max(n_rows // len(rows), 1)
        for start in range(0, len(self.files), together):
            parts = [np.load(file)[rows] for file in self.files[start : start + together]]
            yield frame(np.concatenate(parts), self.columns)
