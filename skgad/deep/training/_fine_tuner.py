"""An extractor whose network is tuned to the normal images first."""

from contextlib import closing

import numpy as np
from sklearn.base import TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..._conventions._base import StampedEstimator
from ..._conventions._labels import normal_rows
from ..._conventions._levels import mark_learnt
from ..._conventions._parameters import check_int, check_learning_rate, check_share
from ..._conventions._transaction import all_or_nothing
from ..._images._sequence import check_images
from ..._images._upsampling import upsample
from .._persistence import StateDict
from .._threads import choose_workers
from .._transformer import DeepFeatureTransformer
from ._history import to_frame

# torch is imported inside the methods that need it: `import skgad.deep` stays light.

_OBJECTIVES = ("gaussian", "svdd", "fcdd")
_CHOICES = {
    "objective": _OBJECTIVES,
    "gaussian": ("tied", "local", "global"),
    "aggregate": ("max", "mean"),
    "validation": ("vicinity", "loss", None),
    "vicinity": ("all", "augmix", "cutout", "confetti"),
}


class FineTuner(TransformerMixin, StampedEstimator):
    """Pooled features of a network that was tuned gently to normal images, level by level.

    It stands where `DeepFeatureTransformer` stands, and learns: the network's weights are moved such that normal images
    lie closer to the Gaussians that the network had of them before. Training stops when the network no longer tells
    normal images from slightly altered ones better than before, which is when it forgets.

    Parameters
    ----------
    features : DeepFeatureTransformer, default=None
        The network to begin with, its levels, image size, device and precision; None for ``DeepFeatureTransformer()``.
    objective : {"gaussian", "svdd", "fcdd"}, default="gaussian"
        "gaussian": the Mahalanobis distance at each location of each level (equation 5). For comparison, "svdd": the L1
        distance of pooled features to their mean (equation 1), and "fcdd": a hypersphere classifier on maps, with
        altered images as anomalies (equation 2).
    gaussian : {"tied", "local", "global"}, default="tied"
        Of the objective "gaussian": as in `SpatialMahalanobisDetector`.
    aggregate : {"max", "mean"}, default="max"
        Of the objective "gaussian": what counts of a level's locations.
    learning_rate : float, default=1e-6
        Of Adam. Features are good as they are, and need little.
    batch_size : int, default=8
        Images a step. Where memory does not suffice they go through the network in parts, to the same gradient.
    max_epochs : int, default=250
    validation : {"vicinity", "loss", None}, default="vicinity"
        When to stop, and which state to keep. "vicinity": at the highest AUROC of held-out normal images against
        altered ones; "loss": at the lowest loss on held-out images, which does not notice forgetting; None: after
        `max_epochs`.
    validation_fraction : float in (0, 1), default=0.2
        The share of the normal images that is held out for it.
    patience : int, default=20
        Epochs without a better state, after which training stops.
    vicinity : {"all", "augmix", "cutout", "confetti"}, default="all"
        How images are altered; "all" draws one of the three for each.
    severity : int in 1..10, default=3
        AugMix's.
    checkpoint : path, default=None
        A file that is written after each epoch. If there is one, of the very same training, `fit` goes on from it, to
        the result that it would have had.
    random_state : int, default=0
        The same number gives the same network, on one device.
    verbose : int, default=0
        1 shows a progress bar with loss and criterion.

    Attributes
    ----------
    extractor_ : DeepFeatureTransformer
        With the tuned network: for `skgad.spatial`, and whatever else takes an extractor. Its files hold the weights.
    backbone_ : Backbone
        A handle on the tuned network.
    history_ : DataFrame
        A row for each epoch, 0 being the frozen network: ``epoch``, ``loss`` (mean over the epoch's training images;
        NaN for the frozen network), ``criterion`` (the AUROC of "vicinity", minus the loss of "loss"; NaN without
        validation), and ``kept``, true for the state that was kept.
    train_rows_, validation_rows_ : ndarray of int
        Positions of the images that were trained on, and held out to examine on.
    levels_ : list of int
        The numbers of the levels.

    See Also
    --------
    skgad.plotting.TrainingDisplay : Loss and criterion, epoch by epoch.

    Notes
    -----
    *The images that it has learnt are not new to what stands behind it.* Their distances are smaller than those of new
    ones, so a threshold that is set on them raises more false alarms than it should. Its columns are named
    ``level7__tuned0013``, by which `FPRThresholdCV` behind it refuses them: freeze the fitted line, and set the
    threshold on images that it has not seen, ``FPRThresholdCV(FrozenEstimator(line)).fit(held_out)``; or put all of it
    inside, which tunes anew for each fold. A detector of `skgad.spatial` with ``extractor_`` cannot know: give its
    threshold held-out images as well.

    Batch norm keeps its statistics, its affine parameters are trained (with all others up to the deepest level). Means
    and covariances of the Gaussians are the frozen network's, and stay. Squares are held in memory up to 2 GB, else
    read again in each epoch; of the altered images, 21 bytes a pixel are held for each held-out one.

    Out of memory halves what goes through the network at once. A loss that is not finite ends the training, as Ctrl-C
    does, with a warning and the best state so far.

    References
    ----------
    Rippel, Chavan, Lei and Merhof, "Transfer Learning Gaussian Anomaly Detection by Fine-tuning Representations",
    IN4PL 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.deep import FineTuner
    >>> images = np.random.default_rng(0).integers(100, 130, size=(12, 64, 64, 3), dtype=np.uint8)
    >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[5, 6], image_size=64)
    >>> tuner = FineTuner(features, max_epochs=1).fit(images)
    >>> tuner.history_["epoch"].tolist()
    [0, 1]
    >>> tuner.transform(images).shape
    (12, 192)
    """

    def __init__(
        self,
        features=None,
        *,
        objective="gaussian",
        gaussian="tied",
        aggregate="max",
        learning_rate=1e-6,
        batch_size=8,
        max_epochs=250,
        validation="vicinity",
        validation_fraction=0.2,
        patience=20,
        vicinity="all",
        severity=3,
        checkpoint=None,
        random_state=0,
        verbose=0,
    ):
        self.features = features
        self.objective = objective
        self.gaussian = gaussian
        self.aggregate = aggregate
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation = validation
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.vicinity = vicinity
        self.severity = severity
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None):
        """Tune the network to normal images.

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
            If a parameter is unknown or out of range; there are too few normal images; they are all the same somewhere;
            `checkpoint` is of another training; a loss is not finite, without a better state to return to.
        ImageError, BackboneError, WeightsError, DependencyError
            As `DeepFeatureTransformer`. An image that cannot be used is always refused.
        DeviceMemoryError
            If the memory of the device does not suffice for one image.

        Warns
        -----
        TrainingWarning
            If the training was interrupted, or a loss was not finite: the best state so far is kept.
        """
        parameters = self._check_parameters()
        features = DeepFeatureTransformer() if self.features is None else clone(self.features)
        if not isinstance(features, DeepFeatureTransformer):
            raise TypeError(f"features must be a DeepFeatureTransformer, whose network is tuned; got {features!r}.")
        given = {
            "tiles": features.tiles is not None,
            "roi": features.roi is not None,
            "engine": features.engine != "torch",
        }
        for name in (name for name, is_given in given.items() if is_given):
            raise ValueError(
                f"FineTuner trains in torch on whole images, and features has {name}. Tune without, and give {name} to "
                f"the tuned network: DeepFeatureTransformer(tuner.backbone_, {name}=...)."
            )
        features.set_params(on_bad_image="raise").fit(X)
        images = check_images(X)
        rows = normal_rows(y, len(images))
        rows = np.arange(len(images)) if rows is None else rows
        from .._network import find_device
        from ._run import tune

        extraction = features._resolve(quiet=True)
        device = find_device(features.device)
        num_workers = choose_workers(features.num_workers, device.type)
        with self._show_progress() as advance:
            tuned = tune(extraction, images, rows, device, parameters, num_workers, advance)
        self.extractor_ = self._hand_on(features, tuned.model).fit(X)
        self.levels_ = self.extractor_.levels_
        self.train_rows_, self.validation_rows_ = tuned.rows, tuned.validation_rows
        self.history_ = to_frame(tuned.loop)
        self._settled, self._fitted = tuned.settled, parameters
        return self

    def transform(self, X):
        """Return the pooled features of the tuned network.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        pandas.DataFrame of float32, of shape (n_samples, n_features)
            Columns ``level7__tuned0000``, ...

        Raises
        ------
        ImageError, BackboneError, WeightsError, DependencyError, ValueError
            As `DeepFeatureTransformer`.
        """
        check_is_fitted(self)
        features = self.extractor_.transform(X)
        return features.set_axis(self.get_feature_names_out(), axis=1)

    def score_samples(self, X):
        """Return minus the anomaly score that the objective gives each image: higher is more normal.

        The objective "gaussian" has the paper's: the largest distance of each level to the Gaussians of the frozen
        network, averaged over the levels.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of shape (n_samples,)
            NaN for an image that cannot be used, where ``extractor_`` has ``on_bad_image="nan"``.

        Raises
        ------
        ImageError, BackboneError, WeightsError, DependencyError, ValueError
            As `transform`.
        """
        check_is_fitted(self)
        import torch

        scores = np.full(len(check_images(X, items=False)), np.nan)
        objective = self._find_objective()
        with torch.no_grad():
            if self._fitted["objective"] == "svdd":
                pooled = clone(self.extractor_).set_params(pool="mean", grid=1).fit(X).transform(X)
                return -objective.scores([torch.tensor(pooled.to_numpy())]).numpy().astype(np.float64)
            with closing(self.extractor_.iter_maps(X)) as batches:
                for rows, maps in batches:
                    scores[rows] = -objective.scores([torch.from_numpy(level) for level in maps]).numpy()
        return scores

    def score_maps(self, X):
        """Return the anomaly map of each image, by the objective.

        Each level's is upsampled bilinearly to the size that the image was resized to, and the levels are averaged.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, height, width)
            Higher is more anomalous; for the objective "gaussian" in units of distance. NaN for an image that cannot be
            used, where ``extractor_`` has ``on_bad_image="nan"``.

        Raises
        ------
        ImageError, BackboneError, WeightsError, DependencyError, ValueError
            As `transform`.
        """
        check_is_fitted(self)
        import torch

        objective, (height, width) = self._find_objective(), self.extractor_.image_size_
        result = np.full((len(check_images(X, items=False)), height, width), np.nan, dtype=np.float32)
        with torch.no_grad(), closing(self.extractor_.iter_maps(X)) as batches:
            for rows, maps in batches:
                levels = objective.maps([torch.from_numpy(level) for level in maps])
                result[rows] = sum(upsample(level.numpy(), height, width) for level in levels) / np.float32(len(levels))
        return result

    @property
    def backbone_(self):
        check_is_fitted(self)
        from .._backbone import Backbone

        backbone = self.extractor_.backbone
        if isinstance(backbone, Backbone):
            return backbone
        source = self.extractor_._resolve(quiet=True).source
        return _hold(source.load()[0], source.architecture)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns: ``level7__tuned0000``, ...

        Parameters
        ----------
        input_features : ignored
            Here for scikit-learn's convention.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return mark_learnt(self.extractor_.get_feature_names_out())

    def _find_objective(self):
        """Return the objective of the fit, settled."""
        from ._objectives import make_objective

        fitted = self._fitted
        objective = make_objective(fitted["objective"], self.levels_, fitted["gaussian"], fitted["aggregate"])
        objective.take_arrays(self._settled)
        return objective

    def _hand_on(self, features, model):
        """Return the extractor with a tuned network, whose files hold it."""
        from .._backbone import Backbone

        handed_on = clone(features).set_params(store_weights=True)
        if self.features is not None:
            handed_on.set_params(on_bad_image=self.features.on_bad_image)
        if isinstance(features.backbone, Backbone):
            return handed_on.set_params(backbone=_hold(model, features._resolve(quiet=True).source.architecture))
        return handed_on.set_params(weights=StateDict(model.state_dict()))

    def _check_parameters(self):
        """Return the parameters that a training depends on, by name; raise ValueError if one is out of range."""
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if not (value is None or isinstance(value, str)) or value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
        check_learning_rate(self.learning_rate)
        check_int("batch_size", self.batch_size)
        check_int("max_epochs", self.max_epochs, 0)
        check_int("patience", self.patience)
        check_int("severity", self.severity)
        if self.severity > 10:
            raise ValueError(f"severity must lie in 1..10; got {self.severity!r}.")
        check_share("validation_fraction", self.validation_fraction)
        check_int("random_state", self.random_state, 0)
        left_out = ("features", "verbose")
        return {name: getattr(self, name) for name in self._get_param_names() if name not in left_out}

    def _show_progress(self):
        from ._progress import show_epochs

        return show_epochs(self.verbose, self.max_epochs)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "extractor_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _hold(model, architecture):
    """Return a `Backbone` of a tuned model with the levels of its architecture."""
    from .._backbone import Backbone

    levels = architecture.levels
    return Backbone(
        model,
        [level.module for level in levels],
        name=architecture.name,
        image_size=architecture.image_size,
        mean=architecture.mean,
        std=architecture.std,
        n_prefix_tokens=max(level.n_prefix_tokens for level in levels),
        channels_last=any(level.layout == "NHWC" for level in levels),
    )
