"""Anomaly maps of the detector inside a meta-estimator, where it makes maps."""

from typing import Any

from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted


def _has(method):
    return lambda self: hasattr(getattr(self, "estimator_", self.estimator), method)


class InnerMapsMixin:
    """Hand on ``score_maps``, ``p_value_maps``, ``predict_masks``, ``regions`` and ``save_masks`` of ``estimator_``."""

    estimator_: Any

    @available_if(_has("score_maps"))
    def score_maps(self, X):
        """Return the anomaly maps of the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, height, width)
        """
        check_is_fitted(self)
        return self.estimator_.score_maps(X)

    @available_if(_has("p_value_maps"))
    def p_value_maps(self, X):
        """Return for each pixel how probable so large a distance is anywhere in the map of a normal image.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, height, width)
        """
        check_is_fitted(self)
        return self.estimator_.p_value_maps(X)

    @available_if(_has("predict_masks"))
    def predict_masks(self, X):
        """Return which pixels are anomalous by the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of bool of shape (n_samples, height, width)
        """
        check_is_fitted(self)
        return self.estimator_.predict_masks(X)

    @available_if(_has("regions"))
    def regions(self, X, *, min_area=0.0):
        """Return the anomalous regions of images, by the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images
        min_area : float, default=0
            In pixels of the photograph.

        Returns
        -------
        DataFrame
            A row a region: see `skgad.spatial.SpatialMahalanobisDetector.regions`.
        """
        check_is_fitted(self)
        return self.estimator_.regions(X, min_area=min_area)

    @available_if(_has("save_masks"))
    def save_masks(self, X, folder):
        """Write the mask of each image as a PNG, by the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images
        folder : path

        Returns
        -------
        list of str
            The paths of the masks.
        """
        check_is_fitted(self)
        return self.estimator_.save_masks(X, folder)
