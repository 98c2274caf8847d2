"""Gaussians over feature maps: where in an image the distance arises."""

from contextlib import closing
from itertools import chain

import numpy as np
import psutil
from sklearn.utils.validation import check_is_fitted

from .._conventions._labels import normal_rows
from .._conventions._transaction import all_or_nothing
from .._gaussian._estimate import chi_quantile
from .._gaussian._spectrum import check_n_components
from ._detector import SpatialDetector, count_images
from ._maps import count_top
from ._sums import KINDS, PIVOT_IMAGES, PlaceSums, count_bytes, estimate


class SpatialMahalanobisDetector(SpatialDetector):
    r"""Gaussians over the feature maps of a frozen network: anomaly maps in units of distance, and image scores.

    At every location of every level, the channels are measured by the Mahalanobis distance to a Gaussian of normal
    images. The largest distance of a level, averaged over the levels, scores the image; the levels' distance maps,
    upsampled and averaged, show where it is anomalous.

    Parameters
    ----------
    features : DeepFeatureTransformer, default=None
        Network, levels, image size, device; None for ``DeepFeatureTransformer()``, whose parameters a search cannot
        reach. Its `pool` and `cache` do nothing here: maps are not kept.
    gaussian : {"tied", "local", "global"}, default="tied"
        "tied": each location has a mean of its own, and all share one covariance (the paper's). "local": each location
        has its own Gaussian (PaDiM's form); for images that are aligned, and few channels: it takes memory. "global":
        one Gaussian over all locations; for textures, and for parts that lie anywhere.
    aggregate : {"max", "mean", "top"}, default="max"
        What the distances of a level count in the image score: the largest (the paper's), their mean, or the mean of
        the largest `top_share`.
    top_share : float in (0, 1], default=0.05
        For "top": the share of a level's locations; one at least.
    n_components : float in (0, 1], int or None, default=None
        Keep the directions of least variance only, as `NPCA` does with a level's channels (our addition to the paper);
        None keeps all.
    smoothing : float, default=0
        Standard deviation, in pixels, of a Gaussian filter over the anomaly maps; image scores do not see it.
    fpr : float in (0, 1), default=0.01
        For ``offset_``, see there.
    pixel_fpr : float in (0, 1), default=0.01
        The share of the pixels of normal images that may be called anomalous, for ``pixel_threshold_``.

    Attributes
    ----------
    features_ : DeepFeatureTransformer
        The extractor; it refuses other weights or settings than those of the fit.
    levels_ : list of int
        The numbers of the levels.
    location_ : list of ndarray of shape (height, width, n_channels), or (n_channels,) for "global"
        The mean of each level.
    shrinkage_ : list of ndarray of shape (height, width) for "local", float for others
        The intensity of the shrinkage.
    n_components_ : list of ndarray of int of shape (height, width) for "local", int for others
        Directions that are kept.
    n_samples_seen_ : int
        The number of normal images that were learnt.
    offset_ : float
        ``decision_function = score_samples - offset_``. A guess: the distance that a Gaussian exceeds somewhere in an
        image with probability `fpr`, were its locations independent. Real features exceed it much more often;
        `FPRThresholdCV` sets a threshold that holds.
    pixel_threshold_ : float
        After `FPRThresholdCV`, of its ``estimator_`` (or after `calibrate_pixels`): the distance that at most
        `pixel_fpr` of the pixels of all normal images exceed, each scored by a detector that has not seen it. Its
        rate is a mean over images, without a finite-sample guarantee: the pixels of an image go together.

    See Also
    --------
    MahalanobisDetector : One distance an image, of features averaged over the locations.
    FPRThresholdCV : Thresholds that hold, for images and pixels, in two passes over the images.
    PatchNeighborsDetector : Nearest neighbours in a memory of patches, for comparison.

    Notes
    -----
    Each covariance is shrunk by Ledoit and Wolf's intensity, exact for "local" and "global". For "tied", one small
    term of the fourth moments is approximated, since the scatter at each location is not kept: on real maps the
    intensity was 0.2 to 4 % off, and distances by at most 0.2 % (`docs/spatial.md`). With `n_components`, what is
    kept is shrunk by the oracle approximating intensity. Locations of one image are counted as if they were
    independent.

    Where normal images do not vary (overexposed backgrounds are common), a location has no scale of its own: if its
    variance is below 1e-4 of the level's mean, a "local" Gaussian takes the covariance that all locations share.

    *Memory* does not grow with the number of images. C channels on H × W locations take about ``8 * C**2`` bytes plus
    ``24 * H * W * C`` ("tied"), ``8 * H * W * C**2`` ("local"), or ``8 * C**2`` ("global"), a few times that while it
    is worked out, and refused before it is allocated where that would not fit. `FPRThresholdCV` takes as much again
    for each fold, or, where there is no room or there are more than 32 folds, holds the maps of one fold at a time.

    A pickle holds the sums that `partial_fit` goes on from, each symmetric matrix once, never the network; as long as
    fewer than 16 images were learnt, their maps.

    References
    ----------
    Rippel, Chavan, Lei and Merhof, "Transfer Learning Gaussian Anomaly Detection by Fine-tuning Representations",
    IN4PL 2022, sections 3 and 4.2.1, Table 4 (with frozen features). Defard et al., "PaDiM", ICPR workshops 2020
    ("local").

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.spatial import SpatialMahalanobisDetector
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(100, 130, size=(12, 64, 64, 3), dtype=np.uint8)
    >>> scratched = images[:1].copy()
    >>> scratched[:, 40:44, 8:30] = 250
    >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3, 4, 5], image_size=64)
    >>> detector = SpatialMahalanobisDetector(features).fit(images)
    >>> bool(detector.score_samples(scratched)[0] < detector.score_samples(images).min())
    True
    >>> anomaly_map = detector.score_maps(scratched)[0]
    >>> row, column = np.unravel_index(anomaly_map.argmax(), anomaly_map.shape)
    >>> bool(34 <= row < 50 and 2 <= column < 36)
    True
    """

    def __init__(
        self,
        features=None,
        *,
        gaussian="tied",
        aggregate="max",
        top_share=0.05,
        n_components=None,
        smoothing=0.0,
        fpr=0.01,
        pixel_fpr=0.01,
    ):
        self.features = features
        self.gaussian = gaussian
        self.aggregate = aggregate
        self.top_share = top_share
        self.n_components = n_components
        self.smoothing = smoothing
        self.fpr = fpr
        self.pixel_fpr = pixel_fpr

    @all_or_nothing
    def partial_fit(self, X, y=None):
        """Learn more images: the result is that of a fit on all images so far.

        Parameters
        ----------
        X : sequence of images
            One is enough; scoring needs two in all.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, ImageError, BackboneError, WeightsError, DependencyError
            As `fit`.
        """
        if not hasattr(self, "_memory"):
            self._fit_features(X)
        self._check_parameters()
        if hasattr(self, "_memory") and self._memory.settings != (self.gaussian, self.n_components):
            fitted = "gaussian={!r} and n_components={!r}".format(*self._memory.settings)
            raise ValueError(f"What was learnt so far is for {fitted}, which were changed since. Fit anew.")
        self._update(X, normal_rows(y, count_images(X)))
        return self

    @property
    def offset_(self):
        return self._guess_offset(self._read_gaussians())

    @property
    def location_(self):
        check_is_fitted(self)
        means = [(sums.pivot + sums.total / sums.n_rows, sums.shape) for sums in self._memory.levels]
        is_global = self._memory.settings[0] == "global"
        return [mean[0] if is_global else mean.reshape(*shape, -1) for mean, shape in means]

    @property
    def shrinkage_(self):
        return self._read_places("shrinkage")

    @property
    def n_components_(self):
        return self._read_places("n_kept")

    def _update(self, X, rows):
        """Learn images, after those that were learnt before.

        The first ones are learnt all at once, however they come, so that the pivot is the mean of enough of them.
        """
        n_images = count_images(X) if rows is None else len(rows)
        first, memory = getattr(self, "_first", []), getattr(self, "_memory", None)
        n_first = sum(len(positions) for positions, _ in first)
        with closing(self._read(X, rows)) as batches:
            if memory is None or first:
                few = n_first + n_images < PIVOT_IMAGES
                kept = list(chain(first, batches)) if few else []
                (memory,) = self._learn(kept or chain(first, batches), n_first + n_images)
                self._keep(memory)
                self._first = kept
            else:
                more = memory.empty()
                for positions, maps in batches:
                    more.add(maps, positions)
                self._keep(memory.merge(more))

    def _begin(self, maps, n_copies):
        shapes = [level.shape[1:] for level in maps]
        parts = [count_bytes(self.gaussian, shape[:2], shape[2], n_copies) for shape in shapes]
        free = psutil.virtual_memory().available
        if sum(parts) > free and n_copies > 1:
            return None
        if sum(parts) > free:
            worst = int(np.argmax(parts))
            height, width, n_channels = shapes[worst]
            raise ValueError(
                f"gaussian={self.gaussian!r} on these levels takes {_write(sum(parts))} of memory, and {_write(free)} "
                f"are free. The most, {_write(parts[worst])}, goes to level {self.levels_[worst]}: {height} x {width} "
                f"locations of {n_channels} channels. Leave that level out, take a smaller image_size, or another "
                "gaussian: 'tied' takes less than 'local', and 'global' the least."
            )
        settings = self.gaussian, self.n_components
        return MapSums([PlaceSums.begin(level, self.gaussian) for level in maps], settings)

    def _keep(self, memory):
        self._memory, self._measure, self._first = memory.to_float32(), None, []
        self.n_samples_seen_ = memory.n_images
        if hasattr(self, "pixel_threshold_"):
            del self.pixel_threshold_  # it was another detector's

    def _find_measure(self):
        check_is_fitted(self)
        self._check_parameters()
        if self._measure is None:
            self._measure = self._make_measure(self._memory)
        return self._measure

    def _make_measure(self, memory):
        if memory.n_images < 2:
            raise ValueError(
                f"A Gaussian needs at least two normal images to learn from; got n_samples = {memory.n_images}."
            )
        n_components = memory.settings[1]
        pairs = zip(self.levels_, memory.levels, strict=True)
        return MapGaussians([self._estimate(level, sums, n_components) for level, sums in pairs])

    def _estimate(self, level, sums, n_components):
        try:
            return estimate(sums, n_components)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"The covariance of level {level} is singular over {sums.n_images} normal images: they are all the "
                "same there, or only two different ones. Give more, and more different, images; or leave it out."
            ) from error
        except ValueError as error:
            raise ValueError(f"Level {level}: {error}.") from error

    def _guess_offset(self, gaussians):
        thresholds = []
        for gaussian in gaussians:
            n_locations = gaussian.shape[0] * gaussian.shape[1]
            count = {"max": n_locations, "top": n_locations / count_top(n_locations, self.top_share), "mean": 1}
            fpr = -np.expm1(np.log1p(-self.fpr) / count[self.aggregate])
            thresholds.append(chi_quantile(fpr, np.median(gaussian.n_kept)))
        return -float(np.mean(thresholds))

    def _read_gaussians(self):
        try:
            return self._find_measure().gaussians
        except ValueError as error:  # there is no such attribute yet, in a stream that has only begun
            raise AttributeError(str(error)) from error

    def _read_places(self, name):
        gaussians, is_local = self._read_gaussians(), self._memory.settings[0] == "local"
        values = [getattr(gaussian, name) for gaussian in gaussians]
        return [
            value.reshape(gaussian.shape) if is_local else value[0].item()
            for value, gaussian in zip(values, gaussians, strict=True)
        ]

    def __getstate__(self):
        return {**super().__getstate__(), "_measure": None}  # as large as what it is worked out from

    def _check_parameters(self):
        super()._check_parameters()
        if self.gaussian not in KINDS:
            raise ValueError(f"gaussian must be one of {', '.join(map(repr, KINDS))}; got {self.gaussian!r}.")
        if self.n_components is not None:
            check_n_components(self.n_components)


class MapSums:
    """The sums of all levels, and the parameters that they are for."""

    def __init__(self, levels, settings):
        self.levels = levels
        self.settings = settings

    @property
    def n_images(self):
        return self.levels[0].n_images

    def add(self, maps, rows):
        """Take the maps of some images in."""
        for sums, level in zip(self.levels, maps, strict=True):
            sums.add(level)

    def empty(self):
        """Return the sums of no images, to be merged with these or removed from them."""
        return MapSums([sums.empty() for sums in self.levels], self.settings)

    def to_float32(self):
        """Return them as they are kept."""
        return MapSums([sums.to_float32() for sums in self.levels], self.settings)

    def merge(self, other):
        """Return these sums with others."""
        pairs = zip(self.levels, other.levels, strict=True)
        return MapSums([one.merge(two) for one, two in pairs], self.settings)

    def remove(self, other):
        """Return these sums without some of theirs."""
        pairs = zip(self.levels, other.levels, strict=True)
        return MapSums([one.remove(two) for one, two in pairs], self.settings)


class MapGaussians:
    """The Gaussians of all levels, which measure their maps."""

    def __init__(self, gaussians):
        self.gaussians = gaussians

    def __call__(self, maps):
        return [gaussian.distances(level) for gaussian, level in zip(self.gaussians, maps, strict=True)]


def _write(n_bytes):
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"
