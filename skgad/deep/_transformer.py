"""The extractor: images in, a frame of pooled features out, one column a channel, named by level."""

from contextlib import closing

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._conventions._labels import normal_rows
from .._conventions._levels import frame
from .._conventions._warnings import warn
from .._images._sequence import check_images, find_first_size
from ..exceptions import DependencyError, WeightsWarning
from ._cache import open_store
from ._identity import Identity
from ._maps_out import MapsMixin
from ._persistence import PortableEstimator
from ._reports import report, show_progress
from ._threads import choose_workers

# torch and timm are imported inside the methods that need them: `import skgad` stays light.

_BATCH_SIZES = {"cpu": 8, "cuda": 128}  # on a CPU, larger batches leave its cache: examples/bench_extractor.py


class DeepFeatureTransformer(MapsMixin, TransformerMixin, PortableEstimator):
    """Pooled features of a frozen, pre-trained network, level by level.

    Every level's feature map is averaged over height and width. Nothing is learnt from the images.

    Parameters
    ----------
    backbone : str or Backbone, default="tf_efficientnet_b4.aa_in1k"
        The timm name of a network, or a handle on your own, ``skgad.deep.Backbone(module, levels=[...])``. A name
        without the tag of a training means the papers', where there is one. `skgad.deep.level_table` shows its levels.
    levels : "all" or list of int, default="all"
        Which levels, numbered from 1. The forward pass stops after the deepest one. Columns come in ascending order.
    weights : "auto", path, state dict or None, default="auto"
        A file with a state dict (.pth, .safetensors), or the dict. "auto" takes an installed weights package, else
        timm's own pre-trained download. None means random weights, for tests.
    pool : {"mean", "max"}, default="mean"
        How a level's locations become one feature a channel. The mean is the papers'.
    grid : int or tuple of int, default=1
        2 pools each of 2 × 2 cells of the image apart, (1, 2) the whole image and its quarters: columns
        ``level7__g2r0c1__0013``, cell by cell within a level. 1 is the papers', ``level7__0013``.
    image_size : int or (height, width), default=None
        Pixels that each whole image is resized to, a square for an int; None for the network's nominal square, or,
        with `tiles`, for the size that the images of the fit have, which all must have.
    tiles : int or (int, int), default=None
        For photographs larger than the network's images: the side of the square tiles that they are cut into, and by
        how many pixels neighbours overlap; a quarter of the side for an int. Tiles cover every pixel, and go through
        the network one by one. Pooled features are a tile's, ``level7__tr0c1__0013``; maps are joined to one.
    resize : {"bilinear", "antialias", "timm"}, default="bilinear"
        The papers' rule, the whole image, bilinear without antialiasing; the same with it; or timm's own evaluation
        transform of the network, which may crop.
    roi : path, or array-like of shape (height, width), default=None
        The region of interest of all images: a mask of their own size, as they are seen. Pixels at 0 are neither learnt
        nor scored, nor do they change what is. For an image each, see `skgad.deep.MaskedImage`.
    on_bad_image : {"raise", "nan"}, default="raise"
        What becomes of an image that cannot be used, or whose path is missing: "nan" gives a row of NaN, and a warning.
    batch_size : int, default=None
        Images per forward pass; None for 8 on a CPU, 128 on CUDA. Features do not depend on it beyond rounding.
    num_workers : int, default=None
        Threads that read images while the network works; 0 does so in between. None for one, or, where there are two
        cores or less and no CUDA, for none: there a reader takes more from the network than it gives.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1"; "auto" takes CUDA where there is one.
    precision : {"float32", "tf32", "bfloat16"}, default="float32"
        Of the network's arithmetic. Less than IEEE float32 is faster on CUDA, and moves distances.
    engine : {"torch", "onnxruntime", "openvino"}, default="torch"
        What runs the network. The others (``pip install skgad[deploy]``, ``skgad[openvino]``) are two to three times as
        fast on a CPU, once torch has exported the network, which takes seconds in each process. Features agree within
        a thousandth of each level's root mean square, which is tried first.
    cache : None, True or path, default=None
        Where to keep the features of every image, of all levels, a few kilobytes: True for the user's cache folder. An
        image that is found there does not go through the network again. A folder of this machine, not of a network file
        system. See `skgad.deep.cache_info`.
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
    image_size_ : (height, width)
        Pixels that images are resized to.
    settings_ : dict
        All that the features depend on, besides images and network. ``transform`` refuses any others.
    weights_sha256_ : str
        Fingerprint of the weights that ``fit`` saw. ``transform`` refuses any others.
    probe_ : ndarray of float32 of shape (n_levels, 8)
        The network's answer to one fixed image, a *probe*: eight weighted sums of each level's features. ``transform``
        refuses a network whose own differ by more than 1e-4 of a level's root mean square.
    libraries_ : str
        The versions of timm and torch that the probe was made with.

    See Also
    --------
    NPCA, MahalanobisDetector : What usually follows.

    Notes
    -----
    *Images* may be paths (list, array, Series), an array of shape (n, H, W) or (n, H, W, C), a tensor of shape (n, H,
    W) or (n, C, H, W), a list of arrays, tensors or PIL images of any sizes, or a map-style Dataset. EXIF orientation
    is applied, palettes are resolved, alpha is dropped, grey is repeated in three channels. uint8 is taken as it is,
    16-bit is divided by 257, floats lie in [0, 1]. Of several frames the first counts, of a pair (image, target) the
    image. Files have at most 1 GiB, in the usual formats. Pixels are not rounded after resizing.

    The network is loaded when it is first needed, once a process, and shared by clones. It is not pickled unless
    `store_weights` says so: after loading it is found again by name. At first use its weights are verified, and its
    probe, in IEEE float32: that tells what no weight shows, another timm or torch, an attribute of your own network.
    Where all features come from the cache, none is loaded, unless timm or torch is of another release than the cache
    has seen. An estimator that was fitted with CUDA warns and works on the CPU where there is none.

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

    learns_nothing = True  # from rows: to leave one out changes nothing here

    def __init__(
        self,
        backbone="tf_efficientnet_b4.aa_in1k",
        *,
        levels="all",
        weights="auto",
        pool="mean",
        grid=1,
        image_size=None,
        tiles=None,
        resize="bilinear",
        roi=None,
        on_bad_image="raise",
        batch_size=None,
        num_workers=None,
        device="auto",
        precision="float32",
        engine="torch",
        cache=None,
        store_weights=False,
        verbose=0,
    ):
        self.backbone = backbone
        self.levels = levels
        self.weights = weights
        self.pool = pool
        self.grid = grid
        self.image_size = image_size
        self.tiles = tiles
        self.resize = resize
        self.roi = roi
        self.on_bad_image = on_bad_image
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.precision = precision
        self.engine = engine
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
        CacheError
            If there is something else in the cache's place.

        Warns
        -----
        WeightsWarning
            If the weights are random.
        """
        images = check_images(X, items=self.on_bad_image == "raise")
        normal_rows(y, len(images))
        native = find_first_size(images, self.on_bad_image == "raise") if self._takes_own_size() else None
        extraction = self._resolve(native=native)
        self._find_device(strict=True)
        with open_store(self.cache) as store:
            identity = extraction.identify(store, self.device)
        self.settings_ = extraction.settings
        self.backbone_ = extraction.settings["backbone"]
        self.levels_ = extraction.settings["levels"]
        self.image_size_ = tuple(extraction.settings["image_size"])
        self.weights_sha256_, self.probe_, self.libraries_ = identity.sha256, identity.probe, identity.libraries
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
            Columns ``level7__0000``, ..., or ``level7__g2r0c0__0000``, ...; the index of `X` where it is a Series.

        Raises
        ------
        ValueError
            If a parameter is unknown or out of range, or a grid has more cells along a side than a level locations.
        ImageError
            If `X` is empty, an item is no image, or an image cannot be used; names its position and path.
        BackboneError
            If the network is unknown or not there, or a level is a vector, without the cells of a grid.
        WeightsError
            If no weights can be had, or they or the settings are not those that ``fit`` saw.
        DependencyError
            If torch or timm is missing, or the engine, or what an export to it takes.
        ExportError
            If the network cannot be exported to the engine, or gives other features there.
        CacheError
            If there is something else in the cache's place.

        Warns
        -----
        ImageWarning
            With ``on_bad_image="nan"``, if images could not be used: lists them.
        DeviceWarning
            If the estimator was fitted on a device that is not there.
        CacheWarning
            If entries of the cache were damaged, or features could not be kept there.
        """
        extraction = self._resolve()
        images = check_images(X, items=self.on_bad_image == "raise")
        device = self._find_device()
        names = extraction.names
        values = np.empty((len(images), len(names)), dtype=np.float32)
        errors: list[str] = []
        with (
            open_store(self.cache) as store,
            show_progress(self.verbose, extraction.settings["backbone"], len(images)) as advance,
        ):
            identity = extraction.identify(store, device)
            self._verify(extraction, identity)
            with closing(
                extraction.pool_images(images, identity, store=store, **self._find_workload(device))
            ) as batches:
                for batch in batches:
                    if batch.errors and self.on_bad_image == "raise":
                        raise batch.errors[0]
                    values[batch.rows.start : batch.rows.stop] = batch.pooled
                    errors += map(str, batch.errors)
                    advance(len(batch.rows))
            if store is not None:
                store.report()
        report(errors, len(images))
        return frame(values, names, like=X)

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
        return self._resolve(quiet=True).names.copy()

    def _takes_own_size(self):
        """Return whether photographs are cut into tiles as they are."""
        return self.tiles is not None and self.image_size is None

    def _resolve(self, quiet=False, native=None):
        """Return the `Extraction` that the parameters mean; `native` is the photographs' own size."""
        if native is None and self._takes_own_size():
            check_is_fitted(self, "image_size_")
            native = self.image_size_
        try:
            from ._extraction import resolve
        except ImportError as error:
            raise DependencyError(
                f"A network needs torch and timm, and one of them cannot be imported ({error}): pip install torch "
                "timm. (Detectors that were fitted on features work without.)"
            ) from error
        extraction = resolve(self, native)
        if extraction.is_random and not quiet:
            message = "weights=None: the network is random, and its features tell nothing. This is for tests."
            warn(message, WeightsWarning)
        return extraction

    def _verify(self, extraction, identity):
        if hasattr(self, "settings_"):
            fitted = Identity(self.weights_sha256_, self.probe_, self.libraries_)
            extraction.verify(self.settings_, fitted, identity)

    def _find_device(self, strict=False):
        from ._network import choose_device

        return choose_device(self.device, may_be_absent=not strict and hasattr(self, "settings_"))

    def _find_workload(self, device):
        from ._network import find_device

        kind = find_device(device).type
        num_workers = choose_workers(self.num_workers, kind)
        return {"device": device, "batch_size": self.batch_size or _BATCH_SIZES[kind], "num_workers": num_workers}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = self._takes_own_size()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = []
        return tags
