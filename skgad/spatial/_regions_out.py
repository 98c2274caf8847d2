"""What a detector in space finds, handed out in the pixels of the photographs: regions, and masks as files."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .._conventions._atomic import write_atomically
from .._conventions._parameters import check_length
from .._images._files import is_path
from .._images._interest import split
from .._images._sequence import check_images, fetch, measure_image
from ._found_regions import COLUMNS, find_regions, lay_over

NOT_CALIBRATED = (
    "This {} has no pixel threshold: its training images tell too little of new ones. Fit FPRThresholdCV(detector), "
    "with folds that leave out each image once, and call {} of that; or calibrate_pixels(images) on normal images that "
    "it has not learnt."
)


class RegionsOutMixin:
    """Regions and masks of `SpatialDetector`, image by image: memory does not grow with their number."""

    _draw: Any
    _find_distances: Any
    _measure_images: Any
    _read: Any
    features_: Any
    map_peaks_: Any
    pixel_threshold_: Any

    def regions(self, X, *, min_area=0.0):
        """Return the anomalous regions of images: connected pixels whose distance exceeds ``pixel_threshold_``.

        Parameters
        ----------
        X : sequence of images
        min_area : float, default=0
            In pixels of the photograph: smaller regions are left out.

        Returns
        -------
        DataFrame
            A row a region, by image, and the largest distance first:

            - ``image`` : position in `X`;
            - ``left``, ``top``, ``right``, ``bottom`` : its box, and ``x``, ``y`` : its centre of mass, in the
              photograph's own pixels, as it is seen, after EXIF orientation, whatever the rule of resizing: the upper
              left pixel reaches from 0 to 1;
            - ``area`` : in these pixels;
            - ``peak`` : the largest distance in it;
            - ``p_value`` : how probable so large a distance is anywhere in a normal image, as in `p_value_maps`.

        Raises
        ------
        ImageError, ValueError
            If an image cannot be used, or `min_area` is negative.
        NotFittedError
            As in `predict_masks`.

        Examples
        --------
        >>> import numpy as np
        >>> from skgad import DeepFeatureTransformer, FPRThresholdCV
        >>> from skgad.spatial import SpatialMahalanobisDetector
        >>> rng = np.random.default_rng(0)
        >>> images = rng.integers(100, 130, size=(12, 64, 64, 3), dtype=np.uint8)
        >>> scratched = images[:1].copy()
        >>> scratched[:, 40:48, 8:30] = 250
        >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3, 4], image_size=64)
        >>> inspector = FPRThresholdCV(SpatialMahalanobisDetector(features), fpr=0.1, cv=4).fit(images)
        >>> first = inspector.regions(scratched).iloc[0]
        >>> bool(8 < first["x"] < 30 and 40 < first["y"] < 48)
        True
        """
        check_length("min_area", min_area)
        parts = []
        for image, anomaly_map, box, size in self._iter_found(X, "regions"):
            found = find_regions(anomaly_map, self.pixel_threshold_, box, size)
            found = found[found[:, 6] >= min_area]
            n_images = len(self.map_peaks_)
            beyond = n_images - np.searchsorted(self.map_peaks_, found[:, 7].astype(np.float32), side="left")
            parts.append(np.column_stack([np.full(len(found), image), found, (1 + beyond) / (n_images + 1)]))
        table = pd.DataFrame(np.concatenate(parts), columns=list(COLUMNS))
        return table.astype({"image": int})

    def save_masks(self, X, folder):
        """Write which pixels of each image are anomalous as a PNG of the photograph's own size: 0, and 255.

        Parameters
        ----------
        X : sequence of images
        folder : path
            Made where it is not there. The mask of ``000.png`` is called ``000_mask.png``, as MVTec AD does, that of an
            image without a path ``image0000_mask.png``, by its position.

        Returns
        -------
        list of str
            The paths of the masks.

        Raises
        ------
        ImageError
            If an image cannot be used.
        ValueError
            If two masks would have one name. Nothing is written then.
        NotFittedError
            As in `predict_masks`.
        """
        images = check_images(X, items=False)
        names = [_name_mask(split(fetch(images, position))[0], position) for position in range(len(images))]
        twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
        if twice is not None:
            raise ValueError(
                f"Two images would have the mask {twice}: they have the same name in different folders. Write the "
                "masks of each folder into a folder of its own."
            )
        folder = Path(folder)
        paths = [str(folder / name) for name in names]
        for image, anomaly_map, box, size in self._iter_found(X, "save_masks"):
            folder.mkdir(parents=True, exist_ok=True)
            mask = Image.fromarray(255 * (lay_over(anomaly_map, box, size) > self.pixel_threshold_).astype(np.uint8))
            write_atomically(Path(paths[image]), lambda file, mask=mask: mask.save(file, format="PNG"))
        return paths

    def _iter_found(self, X, method):
        """Yield the position, the map, its box, and the size of each photograph."""
        check_is_fitted(self)
        if not hasattr(self, "pixel_threshold_"):
            raise NotFittedError(NOT_CALIBRATED.format(type(self).__name__, method))
        images, measure = check_images(X, items=False), self._find_distances()
        with closing(self._read(X)) as batches:
            for rows, distances in self._measure_images(batches, measure):
                for image, anomaly_map in zip(
                    rows.tolist(), np.nan_to_num(self._draw(distances), copy=False), strict=True
                ):
                    height, width = measure_image(images, image)
                    yield image, anomaly_map, self.features_.find_box(height, width), (height, width)


def regions_to_coco(regions, X):
    """Return regions in the form of COCO's annotations, to be written as JSON.

    Parameters
    ----------
    regions : DataFrame
        What the ``regions`` of a detector returned.
    X : sequence of images
        The images that it was given.

    Returns
    -------
    dict
        Of "images" (id, file_name, width, height), "annotations" (id, image_id, category_id, bbox as left, top, width
        and height, area, score, p_value, iscrowd) and "categories", the only one being 1, "anomaly". The score is the
        largest distance. Ids count from 1. An image without a path is called ``image0000``, by its position.

    Raises
    ------
    ImageError
        If an image cannot be used.
    ValueError
        If a region lies in none of the images.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skgad.spatial import regions_to_coco
    >>> row = {"image": 0, "left": 8.0, "top": 2.0, "right": 20.0, "bottom": 6.0, "x": 14.0, "y": 4.0, "area": 40.0,
    ...        "peak": 9.5, "p_value": 0.01}
    >>> found = regions_to_coco(pd.DataFrame([row]), np.zeros((1, 32, 48), dtype=np.uint8))
    >>> found["annotations"][0]["bbox"], found["images"][0]["width"]
    ([8.0, 2.0, 12.0, 4.0], 48)
    """
    images = check_images(X)
    if len(regions) and not 0 <= regions["image"].min() <= regions["image"].max() < len(images):
        raise ValueError(
            f"regions are of images 0 to {regions['image'].max()}, and X holds {len(images)}: pass those that they "
            "were found in."
        )
    described = []
    for position in range(len(images)):
        item, _ = split(fetch(images, position))
        height, width = measure_image(images, position)
        name = os.fspath(item) if is_path(item) else f"image{position:04d}"
        described.append({"id": position + 1, "file_name": str(name), "width": int(width), "height": int(height)})
    annotations = [
        {
            "id": number,
            "image_id": int(region.image) + 1,
            "category_id": 1,
            "bbox": [float(region.left), float(region.top), region.right - region.left, region.bottom - region.top],
            "area": float(region.area),
            "score": float(region.peak),
            "p_value": float(region.p_value),
            "iscrowd": 0,
        }
        for number, region in enumerate(regions.itertuples(), start=1)
    ]
    return {"images": described, "annotations": annotations, "categories": [{"id": 1, "name": "anomaly"}]}


def _name_mask(item, position):
    return f"{Path(item).stem if is_path(item) else f'image{position:04d}'}_mask.png"
