"""Gaussians over feature maps: where in an image the distance arises."""

from contextlib import closing
from itertools import chain
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._conventions._labels import normal_rows
from .._conventions._parameters import check_bool, check_int, read_fpr
from .._conventions._transaction import all_or_nothing
from .._gaussian._laws import chi_quantile
from .._gaussian._places import KINDS, count_pivot_images
from .._gaussian._spectrum import check_n_components
from ._joining import stack_tiles
from ._map_gaussians import MapSums, check_room, estimate_levels
from ._maps import average_around, count_top
from ._of_sums import SumsDetector
from ._passes import add_all, count_images, iter_maps, learn


class LevelMeasure(NamedTuple):
    """What measures one level's maps: distances are norms of ``(map - mean) @ whitener.T``, then ``gain * d + shift``.

    Attributes
    ----------
    level : int
    shape : (height, width)
    mean : ndarray of shape (n_places or 1, n_channels)
    whitener : ndarray of shape (n_places or 1, n_most, n_channels)
    gain, shift : ndarray of shape (height, width), or None
        What standardizes distances, which are no less than 0 then.
    """

    level: int
    shape: tuple
    mean: np.ndarray
    whitener: np.ndarray
    gain: np.ndarray | None
    shift: np.ndarray | None


class MapMeasures(NamedTuple):
    """What measures the maps of all levels, with the parameters of the fit.

    Attributes
    ----------
    levels : list of LevelMeasure
    neighborhood : int
    aggregate : str
    top_share : float
    smoothing : float
    """

    levels: list
    neighborhood: int
    aggregate: str
    top_share: float
    smoothing: float


class SpatialMahalanobisDetector(SumsDetector):
    r"""Gaussians over the feature maps of a frozen network: anomaly maps in units of distance, and image scores.

    At every location of every level, the channels are measured by the Mahalanobis distance to a Gaussian of normal
    images. The largest distance of a level, averaged over the levels, scores the image; the levels' distance maps,
    upsampled and averaged, show where it is anomalous.

    Parameters
    ----------
    features : DeepFeatureTransformer, default=None
        Network, levels, image size, device. None for ``DeepFeatureTransformer(levels=[4, 5, 6])``: of its nine levels
        those at 1/8 and 1/16 of the image, which find most; `level_table` tells those of other networks. Its
        parameters a search cannot reach. `pool`, `grid` and `cache` do nothing here: maps are not kept.
    gaussian : {"local", "tied", "global"}, default="local"
        "local": each location has its own Gaussian (PaDiM's form), which takes memory, the more the more channels a
        level has. "tied": each location has a mean of its own, and all share one covariance (the paper's). "global":
        one Gaussian over all locations, for parts that lie anywhere.
    aggregate : {"max", "mean", "top"}, default="max"
        What the distances of a level count in the image score: the largest (the paper's), their mean, or the mean of
        the largest `top_share`.
    top_share : float in (0, 1], default=0.05
        For "top": the share of a level's locations; one at least.
    n_components : float in (0, 1], int or None, default=None
        Keep the directions of least variance only, as `NPCA` does with a level's channels (our addition to the paper);
        None keeps all.
    neighborhood : int, default=3
        Side, an odd number of locations, of the square that each location is averaged over first, with zeros beyond the
        border, so that it knows that it lies there (PatchCore's); 1 (the paper's) for none.
    standardize : bool, default=True
        Bring the distances at each location to the mean and the deviation that those of its level have, as images tell
        that were left out in five folds (our addition): where normal images vary more, a large distance says less. A
        fit goes through the images twice. False (the paper's) for `partial_fit`, which cannot.
    shared : bool, default=False
        With ``tiles`` in `features`: the Gaussians of all tiles are the same, each tile of each photograph being learnt
        like an image; for surfaces that look alike everywhere, in bounded memory. Without, each tile has its own.
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
    map_peaks_ : ndarray of shape (n_images,)
        The largest pixel of each normal image's map, by a detector that has not seen it, ascending; set with
        ``pixel_threshold_``. What `p_value_maps` holds pixels against.

    See Also
    --------
    MahalanobisDetector : One distance an image, of features averaged over the locations.
    FPRThresholdCV : Thresholds that hold, for images and pixels, in two passes over the images.
    PatchNeighborsDetector : PatchCore, nearest neighbours in a memory of patches, for comparison.

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
        gaussian="local",
        aggregate="max",
        top_share=0.05,
        n_components=None,
        neighborhood=3,
        standardize=True,
        shared=False,
        smoothing=0.0,
        fpr=0.01,
        pixel_fpr=0.01,
    ):
        self.features = features
        self.gaussian = gaussian
        self.aggregate = aggregate
        self.top_share = top_share
        self.n_components = n_components
        self.neighborhood = neighborhood
        self.standardize = standardize
        self.shared = shared
        self.smoothing = smoothing
        self.fpr = fpr
        self.pixel_fpr = pixel_fpr

    @all_or_nothing
    def partial_fit(self, X, y=None):
        """Learn more images: the result is that of a fit on all images so far. For ``standardize=False``.

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
        ValueError
            As `fit`; if ``standardize`` is set, or ``gaussian``, ``n_components``, ``neighborhood`` or ``shared`` were
            changed since.
        ImageError, BackboneError, WeightsError, DependencyError
            As `fit`.
        """
        if self.standardize or (hasattr(self, "_memory") and self._standards is not None):
            raise ValueError(
                "partial_fit cannot standardize distances, which takes all images at once. Fit all, or begin with "
                "standardize=False."
            )
        if not hasattr(self, "_memory"):
            self._start_fit(X)
            self._update(X, normal_rows(y, count_images(X)))
            return self
        self._check_parameters()
        learnt = {name: self._fitted_params[name] for name in ("gaussian", "n_components", "neighborhood", "shared")}
        if learnt != {name: getattr(self, name) for name in learnt}:
            fitted = ", ".join(f"{name}={value!r}" for name, value in learnt.items())
            raise ValueError(f"What was learnt so far is for {fitted}, which were changed since. Fit anew.")
        self._freeze()
        self._update(X, normal_rows(y, count_images(X)), self._first, self._memory)
        return self

    @property
    def offset_(self):
        return self._guess_offset(self._read_gaussians())

    @property
    def location_(self):
        check_is_fitted(self)
        is_global = self._fitted_params["gaussian"] == "global"
        return [sums.mean[0] if is_global else sums.mean.reshape(*sums.shape, -1) for sums in self._memory.sums]

    @property
    def shrinkage_(self):
        return self._read_places("shrinkage")

    @property
    def n_components_(self):
        return self._read_places("n_kept")

    def read_measures(self):
        """Return what measures maps, as arrays and numbers, for those who compute maps elsewhere.

        Returns
        -------
        MapMeasures
            A named tuple of ``levels``, a `LevelMeasure` each, and of the parameters of the fit.
        """
        parameters = self._fitted_params
        standards = self._standards or [None] * len(self.levels_)
        return MapMeasures(
            [
                LevelMeasure(
                    level,
                    gaussian.shape,
                    gaussian.mean,
                    gaussian.whitener,
                    None if standard is None else standard.gain,
                    None if standard is None else standard.shift,
                )
                for level, gaussian, standard in zip(self.levels_, self._read_gaussians(), standards, strict=True)
            ],
            **{name: parameters[name] for name in ("neighborhood", "aggregate", "top_share", "smoothing")},
        )

    def _update(self, X, rows, first=(), memory=None):
        """Learn images, after those in a memory, or after the maps of the first ones.

        The first ones are learnt all at once, however they come, so that the pivot is the mean of enough of them.
        """
        n_more = self._count_maps(count_images(X) if rows is None else len(rows))
        n_images = sum(len(positions) for positions, _ in first) + n_more
        with closing(self._read(X, rows)) as batches:
            if memory is not None and not first:
                self._keep(memory.merge(add_all(memory.empty(), batches)))
                return
            ahead = chain(first, batches)
            begun = next(ahead)
            kept = [begun, *ahead] if n_images < count_pivot_images(begun[1]) else []
            (memory,) = learn(kept or chain([begun], ahead), self._begin, n_images)
        self._keep(memory)
        self._first = kept

    def _iter_maps(self, features, X, rows=None):
        with closing(iter_maps(features, X, rows)) as batches:
            averaged = ((positions, self._average(maps)) for positions, maps in batches)
            stacked = self._tiling is not None and not self._learns_tiles()
            yield from stack_tiles(averaged, len(self._tiling.places)) if stacked else averaged

    def _average(self, maps):
        side = self._fitted_params["neighborhood"]
        return maps if side == 1 else [average_around(level, side) for level in maps]

    def _learns_tiles(self):
        return self._tiling is not None and self._fitted_params["shared"]

    def _begin(self, maps, n_images, n_copies):
        has_room = check_room(maps, self.levels_, self.gaussian, n_copies)
        return MapSums.begin(maps, self.gaussian) if has_room else None

    def _keep(self, memory):
        super()._keep(memory)
        self._first = []

    def _make_measure(self, memory):
        return estimate_levels(memory, self.levels_, self._fitted_params["n_components"])

    def _guess_offset(self, gaussians):
        fpr, how, top_share = (self._fitted_params[name] for name in ("fpr", "aggregate", "top_share"))
        thresholds = []
        for gaussian in gaussians:
            n_locations = gaussian.shape[0] * gaussian.shape[1]
            count = {"max": n_locations, "top": n_locations / count_top(n_locations, top_share), "mean": 1}[how]
            at_one = -np.expm1(np.log1p(-float(read_fpr(fpr))) / count)
            thresholds.append(chi_quantile(at_one, np.median(gaussian.n_kept)))
        return -float(np.mean(thresholds))

    def _read_gaussians(self):
        try:
            return self._find_measure().gaussians
        except ValueError as error:  # there is no such attribute yet, in a stream that has only begun
            raise AttributeError(str(error)) from error

    def _read_places(self, name):
        gaussians, is_local = self._read_gaussians(), self._fitted_params["gaussian"] == "local"
        values = [getattr(gaussian, name) for gaussian in gaussians]
        return [
            value.reshape(gaussian.shape) if is_local else value[0].item()
            for value, gaussian in zip(values, gaussians, strict=True)
        ]

    def _check_parameters(self):
        super()._check_parameters()
        if self.gaussian not in KINDS:
            raise ValueError(f"gaussian must be one of {', '.join(map(repr, KINDS))}; got {self.gaussian!r}.")
        check_int("neighborhood", self.neighborhood)
        if self.neighborhood % 2 == 0:
            raise ValueError(
                f"neighborhood must be odd, a location and as many on each side; got {self.neighborhood!r}."
            )
        check_bool("standardize", self.standardize)
        check_bool("shared", self.shared)
        if self.n_components is not None:
            check_n_components(self.n_components)
