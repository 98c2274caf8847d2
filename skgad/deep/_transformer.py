"""The extractor: images in, a frame of pooled features out, one column a channel, named by level."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .._labels import normal_rows
from .._levels import choose_levels, feature_names, frame
from ..exceptions import WeightsError
from ._cache import fingerprint_features, make_key, open_cache
from ._images import check_images, decode

# torch and timm are imported inside the methods that need them: `import skgad` stays light, and so does a process that
# only unpickles.


class DeepFeatureTransformer(TransformerMixin, BaseEstimator):
    """Pooled features of a frozen, pre-trained network, level by level.

    Each image is resized to a square, run through the network, and every level's feature map is averaged over height
    and width. Nothing is learnt from the images.

    Parameters
    ----------
    backbone : str, default="tf_efficientnet_b4.aa_in1k"
        The timm name of an EfficientNet (nine levels) or a ResNet (five). Without the tag of a training it means the
        training that the papers used, where they used that network.
    levels : "all" or list of int, default="all"
        Which levels, numbered from 1. The forward pass stops after the deepest one. Columns come in ascending order.
    weights : "auto" or path, default="auto"
        A file with the network's state dict (.pth, .safetensors). "auto" takes an installed weights package, and where
        there is none timm's own pre-trained download.
    image_size : int, default=None
        Side in pixels of the square that each whole image is resized to; None for the network's nominal size.
    batch_size : int, default=16
        Images per forward pass. The features do not depend on it beyond float32 rounding.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1"; "auto" takes CUDA where there is one.
    cache : None, True or path, default=None
        Where to keep the features of every image: True for the user's cache folder. An image that is found there does
        not go through the network again, whatever the levels asked for; if all are, no network is loaded, where its
        weights come from a file or a package. All levels are computed and kept, a few kilobytes an image.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    backbone_ : str
        The name with the tag of its training.
    levels_ : list of int
        The numbers of the levels.
    image_size_ : int
        Side in pixels of the square that images are resized to.
    weights_sha256_ : str
        Fingerprint of the weights that ``fit`` saw. ``transform`` refuses any others.

    See Also
    --------
    NPCA, MahalanobisDetector : What usually follows.

    Notes
    -----
    *Images* may be paths (list, array, Series), an array of shape (n, H, W) or (n, H, W, C), or a list of arrays or PIL
    images of any sizes. EXIF orientation is applied, palettes are resolved, alpha is dropped, grey is repeated in three
    channels. uint8 is taken as it is, 16-bit is divided by 257, floats lie in [0, 1].

    *Preprocessing* is the papers': the whole image, bilinear without antialiasing, no crop, then the network's own mean
    and deviation. It is not timm's evaluation transform. Pixels are not rounded after resizing.

    The network is loaded when it is first needed, once a process, and shared by clones. It is never pickled.
    Convolutions run in IEEE float32.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, section IV and Table VI.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> images = np.random.default_rng(0).integers(0, 256, size=(2, 64, 64, 3), dtype=np.uint8)
    >>> extractor = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[6, 7])
    >>> extractor.fit_transform(images).iloc[:, -2:].columns.tolist()
    ['level7__0190', 'level7__0191']
    >>> extractor.backbone_
    'tf_efficientnet_lite0.in1k'
    """

    def __init__(
        self,
        backbone="tf_efficientnet_b4.aa_in1k",
        *,
        levels="all",
        weights="auto",
        image_size=None,
        batch_size=16,
        device="auto",
        cache=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.levels = levels
        self.weights = weights
        self.image_size = image_size
        self.batch_size = batch_size
        self.device = device
        self.cache = cache
        self.verbose = verbose

    def fit(self, X, y=None):
        """Check the parameters and the form of the images, and load the network. Nothing is learnt from pixels.

        Parameters
        ----------
        X : sequence of images
            See Notes.
        y : array-like of shape (n_samples,), default=None
            Only checked: labels are +1 (normal) and -1 (anomalous).

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is unknown or out of range.
        ImageError
            If `X` is empty, an item is no image, or a file is missing.
        WeightsError
            If no weights can be had.
        """
        levels = self._find_levels()
        self._check_device()
        images = check_images(X)
        normal_rows(y, len(images))
        sha256 = self._find_weights_sha256()
        self.backbone_ = self._find_backbone().name
        self.levels_ = levels
        self.image_size_ = self._find_image_size()
        self.weights_sha256_ = sha256
        return self

    def transform(self, X):
        """Return the pooled features.

        Parameters
        ----------
        X : sequence of images
            See Notes.

        Returns
        -------
        pandas.DataFrame of float32, of shape (n_samples, n_features)
            Columns ``level7__0000``, ...; the index of `X` where it is a Series.

        Raises
        ------
        ValueError
            If a parameter is unknown or out of range.
        ImageError
            If an image cannot be used; names its position and path.
        WeightsError
            If no weights can be had, or backbone, levels, image size or weights are not those that ``fit`` saw.
        """
        levels = self._find_levels()
        images = check_images(X)
        sha256 = self._find_weights_sha256()
        self._verify(sha256)
        names = self.get_feature_names_out()
        values = np.empty((len(images), len(names)), dtype=np.float32)
        cache = open_cache(self.cache)
        for rows in self._batches(len(images)):
            if cache is None:
                pooled = self._pool([images[row] for row in rows], rows, levels)
            else:
                pooled = self._pool_through_cache(cache, sha256, images, rows, levels)
            values[rows.start : rows.stop] = pooled
        return frame(values, names, like=X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns: ``level7__0000``, ..."""
        levels = self._find_levels()
        table = self._find_backbone().levels
        return np.asarray(
            [name for level in levels for name in feature_names(level, table[level - 1].channels)], dtype=object
        )

    def _find_backbone(self):
        from ._backbones import find_backbone

        return find_backbone(self.backbone)

    def _load_network(self):
        from ._network import load_network

        return load_network(self.backbone, self.weights, self.device)

    def _pool(self, images, positions, levels):
        """Return the pooled features of some images, in one forward pass."""
        batch = [decode(image, position) for image, position in zip(images, positions, strict=True)]
        return self._load_network().pool_levels(batch, levels, self._find_image_size())

    def _pool_through_cache(self, cache, sha256, images, rows, levels):
        """Return the same for a batch, of which only what the cache lacks goes through the network, at all levels."""
        table = self._find_backbone().levels
        fingerprint = fingerprint_features(self._find_backbone(), sha256, self._find_image_size())
        keys = [make_key(fingerprint, images[row], row) for row in rows]
        found = cache.get(keys)
        lacking = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        if lacking:
            self._verify(self._load_network().sha256, sha256)  # the cache only noted it
            every = [level.number for level in table]
            pooled = self._pool([images[row] for row in lacking.values()], lacking.values(), every)
            entries = dict(zip(lacking, pooled, strict=True))
            cache.put(entries)
            found |= entries
        ends = np.cumsum([level.channels for level in table])
        kept = np.concatenate([np.arange(ends[n - 1] - table[n - 1].channels, ends[n - 1]) for n in levels])
        return np.stack([found[key] for key in keys])[:, kept]

    def _find_weights_sha256(self):
        """Return the fingerprint of the weights; the cache may know it, so that no network is needed."""
        cache = open_cache(self.cache)
        origin = None if cache is None else self._find_weights_origin()
        if origin is None:
            return self._load_network().sha256
        sha256 = cache.get_weights(origin)
        if sha256 is None:
            sha256 = self._load_network().sha256
            cache.put_weights(origin, sha256)
        return sha256

    def _find_weights_origin(self):
        from ._weights import describe_origin

        return describe_origin(self._find_backbone().name, self.weights)

    def _check_device(self):
        from ._network import find_device

        find_device(self.device)

    def _find_image_size(self):
        return self._find_backbone().image_size if self.image_size is None else int(self.image_size)

    def _find_levels(self):
        """Return the level numbers, ascending, with all parameters checked."""
        for name in ("batch_size", "image_size"):
            _check_positive(name, getattr(self, name), optional=name == "image_size")
        known = [level.number for level in self._find_backbone().levels]
        return choose_levels(self.levels, known, of=f"the levels of {self.backbone!r}")

    def _verify(self, sha256, expected=None):
        """Raise WeightsError unless all that features depend on is what `fit` saw, if it ran, or what is expected."""
        name = self._find_backbone().name
        now = {"backbone_": name, "levels_": self._find_levels(), "image_size_": self._find_image_size()}
        for attribute, value in now.items():
            if getattr(self, attribute, value) != value:
                parameter, fitted = attribute.removesuffix("_"), getattr(self, attribute)
                raise WeightsError(f"Fitted with {parameter} {fitted!r}, but it is now {value!r}; fit anew.")
        expected = expected or getattr(self, "weights_sha256_", sha256)
        if expected != sha256:
            raise WeightsError(
                f"The weights of {name} found here are not those that this transformer was fitted with (sha256 "
                f"{sha256[:12]}... against {expected[:12]}...), so its detectors would give other scores. "
                "Give the same file as weights=, or fit anew."
            )

    def _batches(self, n_images):
        starts = range(0, n_images, self.batch_size)
        batches = (range(start, min(start + self.batch_size, n_images)) for start in starts)
        if not self.verbose:
            yield from batches
            return
        from tqdm.auto import tqdm

        with tqdm(total=n_images, unit="image", desc=self.backbone) as bar:
            for rows in batches:
                yield rows
                bar.update(len(rows))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _check_positive(name, value, optional):
    if optional and value is None:
        return
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive int{' or None' if optional else ''}; got {value!r}.")
