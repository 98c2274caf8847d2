"""Anomaly maps of the detector inside a meta-estimator, where it makes maps."""

from typing import Any

from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted


def _has(method):
    return lambda self: hasattr(getattr(self, "estimator_", self.estimator), method)


class InnerMapsMixin:
    """Hand on ``score_maps``, ``p_value_maps`` and ``predict_masks`` of ``estimator_``."""

    estimator_: Any

    @available_if(_has("score_maps"))
    def score_maps(self, X):
        """Return the anomaly maps of the detector fitted on all normal images, where it makes maps.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, image_size, image_size)
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
        ndarray of float32 of shape (n_samples, image_size, image_size)
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
        ndarray of bool of shape (n_samples, image_size, image_size)
        """
        check_is_fitted(self)
        return self.estimator_.predict_masks(X)
