"""The line that we recommend: photographs in, +1 or -1 out, at the rate of false alarms that was asked for."""

from sklearn.pipeline import Pipeline

from ._calibration._threshold_cv import FPRThresholdCV
from ._detectors._mahalanobis import MahalanobisDetector
from .deep import DeepFeatureTransformer
from .spatial import SpatialMahalanobisDetector
from .spatial._detector import map_reductions

_PIXEL_FPR = 1e-3  # so that regions stay near what is anomalous: a thousandth of the pixels of normal images


def make_line(backbone="tf_efficientnet_lite2", *, fpr=0.01, maps=False, image_size=None, tiles=None, cache=None):
    """Return the pipeline that we recommend, to be fitted on photographs of normal things.

    Its steps are the features of all levels of a network, averaged over the whole image and over its quarters; one
    Gaussian over all of them; and a threshold from the distance of each image to the Gaussian of the others. With maps,
    there is a Gaussian at each place of the levels at 1/8 and 1/16 of the image, and a threshold from folds.

    Parameters
    ----------
    backbone : str or Backbone, default="tf_efficientnet_lite2"
        As in `DeepFeatureTransformer`.
    fpr : float in (0, 1), default=0.01
        The false-positive rate: the share of normal images that may be called anomalous. It takes ``1/fpr - 1`` normal
        images at least.
    maps : bool, default=False
        Whether it shows where an anomaly is. A little more is found then; a fit goes through the images three times,
        and an image takes a fifth longer.
    image_size : int or (height, width), default=None
        As in `DeepFeatureTransformer`.
    tiles : int or (int, int), default=None
        As in `DeepFeatureTransformer`, for photographs with small defects: each tile is learnt like an image of its
        own. Takes ``maps=True``.
    cache : None, True or path, default=None
        As in `DeepFeatureTransformer`: with one, an image goes through the network once, in a grid search as well.

    Returns
    -------
    sklearn.pipeline.Pipeline, or FPRThresholdCV
        Of the steps "extractor", a `DeepFeatureTransformer`, and "detector", an `FPRThresholdCV` around a joint
        `MahalanobisDetector`. ``set_params(extractor__levels=[6, 7])`` changes what is inside. With maps, an
        `FPRThresholdCV` around a `SpatialMahalanobisDetector`, whose `features` is the extractor.

    Raises
    ------
    ValueError
        If there are `tiles` without `maps`.
    BackboneError, DependencyError
        With maps, if the network is unknown, or torch or timm is missing.

    See Also
    --------
    DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector : Its parts.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020. The joint Gaussian, the grid and the leave-one-out threshold are ours; measurements are in
    ``docs/spatial.md``.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import make_line
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, size=(24, 64, 64, 3), dtype=np.uint8)
    >>> line = make_line("tf_efficientnet_lite0", fpr=0.05).set_params(extractor__image_size=64)
    >>> damaged = images[:1].copy()
    >>> damaged[0, 20:40, 20:40] = 255
    >>> line.fit(images).predict(damaged)
    array([-1])
    """
    if maps:
        levels = map_reductions(backbone).index.tolist()
        extractor = DeepFeatureTransformer(backbone, levels=levels, image_size=image_size, tiles=tiles)
        detector = SpatialMahalanobisDetector(extractor, shared=tiles is not None, pixel_fpr=_PIXEL_FPR)
        return FPRThresholdCV(detector, fpr=fpr)
    if tiles is not None:
        raise ValueError("tiles are for photographs with small defects, which maps find: give maps=True as well.")
    extractor = DeepFeatureTransformer(backbone, grid=(1, 2), image_size=image_size, cache=cache)
    detector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=fpr)
    return Pipeline([("extractor", extractor), ("detector", detector)])
