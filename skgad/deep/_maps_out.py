"""What the extractor gives detectors in space: feature maps, and where in a photograph they lie."""

from contextlib import closing
from typing import Any

from .._images._sequence import check_images
from ._reports import report, show_progress


class MapsMixin:
    """Feature maps of `DeepFeatureTransformer`."""

    on_bad_image: str
    verbose: int
    _resolve: Any
    _verify: Any
    _find_device: Any
    _find_workload: Any

    def iter_maps(self, X, rows=None):
        """Yield the feature maps of images, in batches: what `transform` averages over, for detectors in space.

        Memory does not grow with the number of images. Maps, megabytes an image, are not kept in the cache.

        Parameters
        ----------
        X : sequence of images
            See Notes.
        rows : array-like of int, default=None
            Positions of the images to take, in that order; None for all.

        Yields
        ------
        rows : ndarray of int of shape (n_batch,)
            Positions in `X`. With ``on_bad_image="nan"``, those of images that cannot be used are missing.
        maps : list of ndarray of float32 of shape (n_batch, height, width, channels)
            One a level, in the order of ``levels_``. Location (i, j) of height × width stands for the same place of
            the image, as it was resized. With `tiles`, those of some of an image's tiles, row by row, and `rows`
            repeats its position. NaN outside of a region of interest.

        Raises
        ------
        ImageError, BackboneError, WeightsError, DependencyError, ValueError
            As in `transform`, which warns as this does; BackboneError also if a level is a vector, without locations.

        Examples
        --------
        >>> import numpy as np
        >>> from skgad import DeepFeatureTransformer
        >>> images = np.random.default_rng(0).integers(0, 256, size=(2, 64, 64, 3), dtype=np.uint8)
        >>> extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[6, 7])
        >>> for rows, maps in extractor.iter_maps(images):
        ...     print(rows, [level.shape for level in maps])
        [0 1] [(2, 14, 14, 112), (2, 7, 7, 192)]
        """
        extraction = self._resolve()
        from ._batches import read_rows

        images = check_images(X, items=self.on_bad_image == "raise")
        rows = read_rows(rows, len(images))
        device = self._find_device()
        identity = extraction.identify(None, device)
        self._verify(extraction, identity)
        errors: list[str] = []
        batches = extraction.lay_out_maps(images, rows, identity, **self._find_workload(device))
        with show_progress(self.verbose, extraction.settings["backbone"], len(rows)) as advance, closing(batches):
            for batch in batches:
                if batch.errors and self.on_bad_image == "raise":
                    raise batch.errors[0]
                errors += map(str, batch.errors)
                if len(batch.rows):
                    yield batch.rows, batch.maps
                advance(batch.n_images)
        report(errors, len(rows), "they have no maps")

    def find_box(self, height, width):
        """Return the box of an image of this size that the network sees: what maps and their pixels cover.

        Parameters
        ----------
        height, width : int
            Of the image in pixels, as it is seen: after EXIF orientation.

        Returns
        -------
        left, top, right, bottom : float
            In the image's own pixels, as Pillow's ``crop`` and ``resize(box=)`` take it: (0, 0, width, height) but for
            ``resize="timm"``, which may cut the border away. Where that pads, the box reaches beyond the image.

        Raises
        ------
        ValueError, BackboneError, DependencyError
            As in `transform`.

        Examples
        --------
        >>> from skgad import DeepFeatureTransformer
        >>> DeepFeatureTransformer("tf_efficientnet_lite0", resize="timm").find_box(256, 512)
        (144.0, 16.0, 368.0, 240.0)
        """
        return self._resolve(quiet=True).find_box(height, width)

    def find_tiling(self):
        """Return where tiles lie in a photograph.

        Returns
        -------
        Tiling or None
            Of the attributes ``corners``, a list of the top and the left of each tile, ``shape``, their height and
            width, and ``padded``, the height and width that they cover, all in pixels of the resized photograph, which
            is mirrored beyond its right and lower border. None without `tiles`.

        Examples
        --------
        >>> from skgad import DeepFeatureTransformer
        >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", image_size=(256, 600), tiles=256)
        >>> features.find_tiling().corners
        [(0, 0), (0, 192), (0, 352)]
        """
        tiles = self._resolve(quiet=True).tiles
        return None if tiles is None else tiles.tiling
