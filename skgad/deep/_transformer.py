"""The extractor: images in, a frame of pooled features out, one column a channel, named by level."""

import copy
import warnings
from collections.abc import Mapping
from contextlib import closing, contextmanager

import numpy as np
from sklearn.base import TransformerMixin

from .._conventions._base import StampedEstimator
from .._conventions._labels import normal_rows
from .._conventions._levels import frame
from .._images._decoding import check_images
from ..exceptions import DependencyError, DeviceWarning, ImageWarning, WeightsWarning
from ._backbone import Backbone
from ._cache import open_store

# torch and timm are imported inside the methods that need them: `import skgad` stays light, and so does a process that
# only unpickles.

_BATCH_SIZES = {"cpu": 8, "cuda": 128}  # on a CPU, larger batches leave its cache: examples/bench_extractor.py
_LISTED = 20  # bad images in a warning


class DeepFeatureTransformer(TransformerMixin, StampedEstimator):
    """Pooled features of a frozen, pre-trained network, level by level.

    Each image is resized to a square, run through the network, and every level's feature map is averaged over height
    and width. Nothing is learnt from the images.

    Parameters
    ----------
    backbone : str or Backbone, default="tf_efficientnet_b4.aa_in1k"
        The timm name of a network, or a handle on your own, ``skgad.deep.Backbone(module, levels=[...])``. Without the
        tag of a training a name means the training that the papers used, where they used that network.
        `skgad.deep.level_table` shows a network's levels.
    levels : "all" or list of int, default="all"
        Which levels, numbered from 1. The forward pass stops after the deepest one. Columns come in ascending order.
    weights : "auto", path, state dict or None, default="auto"
        A file with the network's state dict (.pth, .safetensors), or the dict. "auto" takes an installed weights
        package, and where there is none timm's own pre-trained download. None means random weights, for tests.
    pool : {"mean", "max"}, default="mean"
        How a level's locations become one feature a channel. The mean is the papers'.
    image_size : int, default=None
        Side in pixels of the square that each whole image is resized to; None for the network's nominal size.
    resize : {"bilinear", "antialias", "timm"}, default="bilinear"
        The papers' rule, the whole image, bilinear without antialiasing; the same with antialiasing; or timm's own
        evaluation transform of the network, which may crop the border away.
    on_bad_image : {"raise", "nan"}, default="raise"
        What `transform` does with an image that cannot be used. With "nan" its row is NaN, and a warning at the end
        lists the images.
    batch_size : int, default=None
        Images per forward pass; None for 8 on a CPU, 128 on CUDA. The features do not depend on it beyond float32
        rounding.
    num_workers : int, default=1
        Threads that read and resize images while the network works; 0 does so in between.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1"; "auto" takes CUDA where there is one.
    precision : {"float32", "tf32", "bfloat16"}, default="float32"
        Of the arithmetic in the network. Less than IEEE float32 is faster on CUDA, and moves distances.
    cache : None, True or path, default=None
        Where to keep the features of every image: True for the user's cache folder. An image that is found there does
        not go through the network again, whatever the levels asked for; if all are, no network is loaded. All levels
        are computed and kept, a few kilobytes an image. See `skgad.deep.cache_info`.
    store_weights : bool, default=False
        Whether pickles and skops files hold the network's weights.
    verbose : int, default=0
        1 shows a progress bar with images a second.

    Attributes
    ----------
    backbone_ : str
        The name with the tag of its training.
    levels_ : list of int
        The numbers of the levels.
    image_size_ : int
        Side in pixels of the square that images are resized to.
    settings_ : dict
        All that the features depend on, besides images and weights. ``transform`` refuses any others.
    weights_sha256_ : str
        Fingerprint of the weights that ``fit`` saw. ``transform`` refuses any others.

    See Also
    --------
    NPCA, MahalanobisDetector : What usually follows.

    Notes
    -----
    *Images* may be paths (list, array, Series), an array of shape (n, H, W) or (n, H, W, C), a tensor of shape (n, H,
    W) or (n, C, H, W), a list of arrays, tensors or PIL images of any sizes, or a map-style Dataset. EXIF orientation
    is applied, palettes are resolved, alpha is dropped, grey is repeated in three channels. uint8 is taken as it is,
    16-bit is divided by 257, floats lie in [0, 1]. Of several frames the first counts, of a pair (image, target) the
    image. Pixels are not rounded after resizing.

    The network is loaded when it is first needed, once a process, and shared by clones. It is not pickled unless
    `store_weights` says so: after loading it is found again by name, and its weights are verified at first use. An
    estimator that was fitted with CUDA warns and works on the CPU where there is none.

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
        pool="mean",
        image_size=None,
        resize="bilinear",
        on_bad_image="raise",
        batch_size=None,
        num_workers=1,
        device="auto",
        precision="float32",
        cache=None,
        store_weights=False,
        verbose=0,
    ):
        self.backbone = backbone
        self.levels = levels
        self.weights = weights
        self.pool = pool
        self.image_size = image_size
        self.resize = resize
        self.on_bad_image = on_bad_image
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.precision = precision
        self.cache = cache
        self.store_weights = store_weights
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
        BackboneError
            If the network is unknown or not there.
        ImageError
            If `X` is empty, an item is no image, or a file is missing.
        WeightsError
            If no weights can be had.
        DependencyError
            If torch or timm is missing.

        Warns
        -----
        WeightsWarning
            If the weights are random.
        """
        extraction = self._resolve()
        self._find_device(strict=True)
        images = check_images(X, files=self.on_bad_image == "raise")
        normal_rows(y, len(images))
        with open_store(self.cache) as store:
            sha256 = extraction.find_sha256(store, self.device)
        self.settings_ = extraction.settings
        self.backbone_ = extraction.settings["backbone"]
        self.levels_ = extraction.settings["levels"]
        self.image_size_ = extraction.settings["image_size"]
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
            If `X` is empty, an item is no image, or an image cannot be used; names its position and path.
        BackboneError
            If the network is unknown or not there.
        WeightsError
            If no weights can be had, or they or the settings are not those that ``fit`` saw.
        DependencyError
            If torch or timm is missing.

        Warns
        -----
        ImageWarning
            With ``on_bad_image="nan"``, if images could not be used: lists them.
        DeviceWarning
            If the estimator was fitted on a device that is not there.
        """
        extraction = self._resolve()
        images = check_images(X, files=self.on_bad_image == "raise")
        device = self._find_device()
        names = extraction.names
        values = np.empty((len(images), len(names)), dtype=np.float32)
        errors: list[str] = []
        with open_store(self.cache) as store, self._show_progress(len(images)) as advance:
            sha256 = extraction.find_sha256(store, device)
            if hasattr(self, "settings_"):
                extraction.verify(self.settings_, self.weights_sha256_, sha256)
            with closing(extraction.pool(images, sha256, store=store, **self._find_workload(device))) as batches:
                for batch in batches:
                    if batch.errors and self.on_bad_image == "raise":
                        raise batch.errors[0]
                    values[batch.rows.start : batch.rows.stop] = batch.pooled
                    errors += map(str, batch.errors)  # the errors themselves hold the files' bytes
                    advance(len(batch.rows))
        _report(errors, len(images))
        return frame(values, names, like=X)

    def iter_maps(self, X, rows=None):
        """Yield the feature maps of images, in batches: what `transform` averages over, for detectors in space.

        Memory does not grow with the number of images. Maps are not kept in the cache: those of one image take
        megabytes.

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
            the square that the image was resized to.

        Raises
        ------
        ImageError, BackboneError, WeightsError, DependencyError, ValueError
            As in `transform`; BackboneError also if a level is a vector, without locations.

        Warns
        -----
        ImageWarning, DeviceWarning
            As in `transform`.

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
        images = check_images(X, files=self.on_bad_image == "raise")
        rows = np.arange(len(images)) if rows is None else _read_rows(rows, len(images))
        device = self._find_device()
        sha256 = extraction.find_sha256(None, device)
        if hasattr(self, "settings_"):
            extraction.verify(self.settings_, self.weights_sha256_, sha256)
        errors: list[str] = []
        batches = extraction.lay_out_maps(images, rows, sha256, **self._find_workload(device))
        with self._show_progress(len(rows)) as advance, closing(batches):
            for batch in batches:
                if batch.errors and self.on_bad_image == "raise":
                    raise batch.errors[0]
                errors += map(str, batch.errors)
                if len(batch.rows):
                    yield batch.rows, batch.maps
                advance(batch.n_images)
        _report(errors, len(rows), "they have no maps")

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
        return self._resolve(warn=False).find_box(height, width)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns: ``level7__0000``, ...

        Parameters
        ----------
        input_features : ignored
            Here for scikit-learn's convention.

        Returns
        -------
        ndarray of str
        """
        return self._resolve(warn=False).names.copy()

    def __getstate__(self):
        state = super().__getstate__()
        if isinstance(self.weights, Mapping):
            from ._weights import refer

            state["weights"] = refer(self.weights)
        needs_them = isinstance(self.backbone, Backbone) or isinstance(self.weights, Mapping)  # workers, too
        if self.store_weights and (needs_them or hasattr(self, "settings_")):
            state["_stored"] = self._pack(state["weights"])
        return state

    def __setstate__(self, state):
        stored = state.get("_stored")
        state = {key: value for key, value in state.items() if key != "_stored"}
        if stored is not None and isinstance(state["backbone"], Backbone):
            state["backbone"] = state["backbone"].attach(stored)
        elif stored is not None:
            state["_stored"] = stored
        super().__setstate__(state)

    def __copy__(self):
        new = type(self).__new__(type(self))
        new.__dict__.update(vars(self))
        return new

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))  # unlike a pickle, a copy keeps a state dict of weights
        new.__dict__.update(copy.deepcopy(vars(self), memo))
        return new

    def _resolve(self, warn=True):
        """Return the `Extraction` that the parameters mean."""
        _check_int("batch_size", self.batch_size, 1, optional=True)
        _check_int("image_size", self.image_size, 1, optional=True)
        _check_int("num_workers", self.num_workers, 0)
        if self.on_bad_image not in ("raise", "nan"):
            raise ValueError(f"on_bad_image must be 'raise' or 'nan'; got {self.on_bad_image!r}.")
        try:
            from ._extraction import Extraction
        except ImportError as error:
            raise DependencyError(
                f"A network needs torch and timm, and one of them cannot be imported ({error}): pip install torch "
                "timm. (Detectors that were fitted on features work without.)"
            ) from error
        if warn and self.weights is None and not isinstance(self.backbone, Backbone):
            message = "weights=None: the network is random, and its features tell nothing. This is for tests."
            warnings.warn(message, WeightsWarning, stacklevel=3)
        return Extraction(
            backbone=self.backbone,
            levels=self.levels,
            weights=self._find_weights(),
            pool=self.pool,
            image_size=self.image_size,
            resize=self.resize,
            precision=self.precision,
        )

    def _find_weights(self):
        """Return the weights that came with a file, as long as the parameters are those that it was saved with."""
        backbone, weights, stored = getattr(self, "_stored", (None, None, None))
        is_same = stored and backbone == self.backbone and not isinstance(self.weights, Mapping)
        return stored if is_same and weights == self.weights else self.weights

    def _pack(self, weights):
        """Return what a file holds of the network: safetensors bytes, or a network of your own."""
        if isinstance(self.backbone, Backbone):
            return self.backbone.module
        network = self._resolve(warn=False).load_network(self._find_device())
        return self.backbone, weights, network.pack()

    def _find_device(self, strict=False):
        """Return the name of a device to work on: a fitted estimator may come from a machine that had another one."""
        from ._network import find_device, is_absent

        if not strict and hasattr(self, "settings_") and is_absent(self.device):
            message = f"Fitted with device={self.device!r}, which is not here: working on the CPU."
            warnings.warn(message, DeviceWarning, stacklevel=3)
            return "cpu"
        find_device(self.device)
        return self.device

    def _find_workload(self, device):
        from ._network import find_device

        batch_size = self.batch_size or _BATCH_SIZES[find_device(device).type]
        return {"device": device, "batch_size": batch_size, "num_workers": self.num_workers}

    @contextmanager
    def _show_progress(self, n_images):
        """Give a function that is told how many more images are done."""
        if not self.verbose:
            yield lambda n: None
            return
        from tqdm.auto import tqdm

        name = self.backbone.name if isinstance(self.backbone, Backbone) else self.backbone
        with tqdm(total=n_images, unit="image", desc=name) as bar:
            yield bar.update

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _read_rows(rows, n_images):
    """Return positions of images as an array, or raise ValueError if some are none."""
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n_images,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or not (np.issubdtype(rows.dtype, np.integer) or rows.size == 0):
        raise ValueError(f"rows must hold positions of images, or be a mask; got {rows.dtype} of shape {rows.shape}.")
    if rows.size and not (rows.min() >= 0 and rows.max() < n_images):
        odd = rows[(rows < 0) | (rows >= n_images)][0]
        raise ValueError(f"rows must lie in 0..{n_images - 1}, the positions of the images; got {odd}.")
    return rows.astype(np.intp)


def _report(errors, n_images, consequence="their rows are NaN"):
    if errors:
        listed = "".join(f"\n  {error}" for error in errors[:_LISTED])
        more = f"\n  and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
        message = f"{len(errors)} of {n_images} images cannot be used; {consequence}:{listed}{more}"
        warnings.warn(message, ImageWarning, stacklevel=3)


def _check_int(name, value, least, optional=False):
    if optional and value is None:
        return
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        what = "a positive int" if least else "a non-negative int"
        raise ValueError(f"{name} must be {what}{' or None' if optional else ''}; got {value!r}.")
