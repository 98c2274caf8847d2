"""The papers' trained baseline: an autoencoder, whose error of reconstruction is the anomaly."""

import numpy as np
from scipy import ndimage
from sklearn.utils.validation import check_is_fitted

from ..._conventions._base import StampedEstimator
from ..._conventions._decisions import ScoredOutlierMixin
from ..._conventions._labels import normal_rows
from ..._conventions._parameters import check_int, check_learning_rate, check_share, read_fpr
from ..._conventions._transaction import all_or_nothing
from ..._images._sequence import check_images
from ._history import to_frame

# torch is imported inside the methods that need it: `import skgad.deep` stays light.

_REDUCTION = 32
_BATCH = 16  # images that are judged together
_N_THRESHOLDS = 1000


class AutoencoderDetector(ScoredOutlierMixin, StampedEstimator):
    """An autoencoder trained from scratch: what it cannot draw is anomalous. The papers' baseline, for comparison.

    A ResNet-18 encoder, 32 latent numbers, and the mirrored decoder with pixel shuffle; mean squared error of pixels in
    [0, 1].

    Parameters
    ----------
    image_size : int, default=224
        Side in pixels of the square that each whole image is resized to, bilinearly: a multiple of 32.
    score : {"mean", "cca"}, default="mean"
        "mean": the mean squared error of the map. "cca": the largest of 1000 thresholds between the map's extremes
        beyond which a connected region of at least `min_area` pixels lies, diagonal neighbours included.
    min_area : int, default=None
        For "cca": pixels of the map. The papers take the smallest anomaly of the test set, which a user does not have:
        say so wherever it is reported.
    learning_rate : float, default=1e-4
        Of Adam.
    batch_size : int, default=64
    max_epochs : int, default=250
    patience : int, default=3
        Epochs without a lower error on held-out images, after which training stops. The best state is kept.
    validation_fraction : float in (0, 1), default=0.2
        The share of the normal images that is held out for it.
    checkpoint : path, default=None
        As in `FineTuner`.
    random_state : int, default=0
        Of weights, division and order.
    device : str, default="auto"
        As in `DeepFeatureTransformer`.
    num_workers : int, default=1
        Threads that read images.
    fpr : float in (0, 1), default=0.01
        For ``offset_``.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    history_ : DataFrame
        As in `FineTuner`; ``criterion`` is minus the error on held-out images.
    train_rows_, validation_rows_ : ndarray of int
        Positions of the images that were trained on, and held out.
    offset_ : float
        The score that a share `fpr` of the held-out images lies below: no guarantee, and coarse for few images.
        `FPRThresholdCV` around a frozen one sets a threshold that holds.

    Notes
    -----
    What the papers leave open is chosen: the decoder has ResNet-18's stages in reverse, each followed by a convolution
    and a pixel shuffle. A file holds the weights, 115 MB at 224 pixels.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, Tables V and VIII.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.deep import AutoencoderDetector
    >>> images = np.random.default_rng(0).integers(100, 130, size=(10, 32, 32, 3), dtype=np.uint8)
    >>> detector = AutoencoderDetector(image_size=32, max_epochs=1).fit(images)
    >>> detector.score_maps(images).shape
    (10, 32, 32)
    """

    def __init__(
        self,
        *,
        image_size=224,
        score="mean",
        min_area=None,
        learning_rate=1e-4,
        batch_size=64,
        max_epochs=250,
        patience=3,
        validation_fraction=0.2,
        checkpoint=None,
        random_state=0,
        device="auto",
        num_workers=1,
        fpr=0.01,
        verbose=0,
    ):
        self.image_size = image_size
        self.score = score
        self.min_area = min_area
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.device = device
        self.num_workers = num_workers
        self.fpr = fpr
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None):
        """Train the autoencoder on normal images.

        Parameters
        ----------
        X : sequence of images
            As `DeepFeatureTransformer` takes them.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): images at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or there are too few normal images; as `FineTuner` does of a checkpoint.
        ImageError
            If an image cannot be used.
        DeviceMemoryError
            If the memory of the device does not suffice for one image.
        """
        self._check_parameters()
        images = check_images(X)
        rows = normal_rows(y, len(images))
        rows = np.arange(len(images)) if rows is None else rows
        from .._weights import pack
        from ._autoencoder_run import train

        parameters = {name: getattr(self, name) for name in self._get_param_names()}
        trained = train(images, rows, parameters)
        self._state = pack(trained.network.model)
        self._network = trained.network
        self.history_ = to_frame(trained.loop)
        self.train_rows_, self.validation_rows_ = trained.rows, trained.validation_rows
        self._fitted = {name: parameters[name] for name in ("image_size", "score", "min_area")}
        held_out = np.sort(self._score(images, self.validation_rows_))
        self.offset_ = float(held_out[max(0, int((len(held_out) + 1) * read_fpr(self.fpr)) - 1)])
        return self

    def score_samples(self, X):
        """Return minus the anomaly score of each image: higher is more normal.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of shape (n_samples,)
            In units of squared intensity, on the scale [0, 1].
        """
        check_is_fitted(self)
        images = check_images(X)
        return self._score(images, np.arange(len(images)))

    def score_maps(self, X):
        """Return the squared error at each pixel, averaged over the colours.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, image_size, image_size)
            In [0, 1]: higher is more anomalous. It covers the whole image.
        """
        check_is_fitted(self)
        images = check_images(X)
        return np.concatenate(list(self._iter_maps(images, np.arange(len(images)))))

    def _score(self, images, rows):
        parts = [self._aggregate(maps) for maps in self._iter_maps(images, rows)]
        return -np.concatenate(parts)

    def _aggregate(self, maps):
        if self._fitted["score"] == "mean":
            return maps.mean(axis=(1, 2), dtype=np.float64)
        return np.array([find_largest_threshold(one, self._fitted["min_area"]) for one in maps])

    def _iter_maps(self, images, rows):
        from ._autoencoder_run import iter_maps

        yield from iter_maps(self._find_network(), images, rows, self._fitted["image_size"], self.num_workers, _BATCH)

    def _find_network(self):
        if self._network is None:
            from ._autoencoder_run import rebuild

            self._network = rebuild(self._state, self._fitted["image_size"], self.device)
        return self._network

    def __getstate__(self):
        state = super().__getstate__()
        return {**state, "_network": None} if "_network" in state else state

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_state")

    def _check_parameters(self):
        check_int("image_size", self.image_size, _REDUCTION)
        if self.image_size % _REDUCTION:
            raise ValueError(f"image_size must be a multiple of {_REDUCTION}; got {self.image_size!r}.")
        if self.score not in ("mean", "cca"):
            raise ValueError(f"score must be 'mean' or 'cca'; got {self.score!r}.")
        check_int("min_area", self.min_area, optional=self.score == "mean")
        check_learning_rate(self.learning_rate)
        check_int("batch_size", self.batch_size)
        check_int("max_epochs", self.max_epochs, 0)
        check_int("patience", self.patience)
        check_int("random_state", self.random_state, 0)
        check_int("num_workers", self.num_workers, 0)
        check_share("validation_fraction", self.validation_fraction)
        read_fpr(self.fpr)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


def find_largest_threshold(anomaly_map, min_area):
    """Return the largest of 1000 thresholds between a map's extremes at which a region of some pixels is beyond it.

    Parameters
    ----------
    anomaly_map : ndarray of shape (height, width)
    min_area : int
        Pixels. Diagonal neighbours belong to one region.

    Returns
    -------
    float
        The map's least value where no region is as large.
    """
    thresholds = np.linspace(anomaly_map.min(), anomaly_map.max(), _N_THRESHOLDS)
    first, last = 0, _N_THRESHOLDS  # what lies beyond a lower threshold holds what lies beyond a higher one
    while last - first > 1:
        middle = (first + last) // 2
        labels, _ = ndimage.label(anomaly_map >= thresholds[middle], structure=np.ones((3, 3)))
        if np.bincount(labels.ravel())[1:].max(initial=0) >= min_area:
            first = middle
        else:
            last = middle
    return float(thresholds[first])
