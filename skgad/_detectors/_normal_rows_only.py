"""Any estimator, fitted on the normal rows only: what skgad's own do by themselves, for those of others."""

from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import take_names
from .._conventions._normals import read_normals
from .._conventions._scores import refuse_other_sign
from .._conventions._sklearn import safe_set_output
from .._conventions._transaction import all_or_nothing


def _has(name):
    def check(wrapper):
        return hasattr(getattr(wrapper, "estimator_", wrapper.estimator), name)

    return check


class NormalRowsOnly(MetaEstimatorMixin, StampedEstimator):
    """An estimator that leaves rows labelled -1 (anomalous) out of its fit, as skgad's own estimators do.

    A scaler or a PCA of scikit-learn in front of a detector learns from all rows, known anomalies included:
    ``fit(X, y)`` of a pipeline hands them to it, and only the detector leaves them out.

    Parameters
    ----------
    estimator : estimator
        Any transformer or outlier detector of scikit-learn. It is fitted without ``y``.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone.
    offset_ : float
        That of `estimator_`, where it has one: ``decision_function = score_samples - offset_``.
    n_features_in_ : int
        Number of columns seen in ``fit``, where `estimator_` knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where all are strings.

    See Also
    --------
    LevelwiseTransformer, LevelwiseDetector : Do so as well, level by level.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skgad import NormalRowsOnly
    >>> X, y = np.array([[1.0], [3.0], [100.0]]), [1, 1, -1]
    >>> NormalRowsOnly(StandardScaler()).fit(X, y).estimator_.mean_
    array([2.])
    """

    def __init__(self, estimator):
        self.estimator = estimator

    @all_or_nothing
    def fit(self, X, y=None):
        """Fit a clone on the normal rows.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            Whatever `estimator` takes.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If labels are mixed with other values, or `estimator` refuses the normal rows.
        """
        normals = read_normals(X, y)
        with normals.errors_for_caller():
            self.estimator_ = clone(self.estimator).fit(normals.X)
        take_names(self, self.estimator_)
        return self

    @available_if(_has("transform"))
    def transform(self, X):
        """Return what `estimator_` makes of X, where it transforms.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        array or frame
        """
        check_is_fitted(self)
        return self.estimator_.transform(X)

    @available_if(_has("transform"))
    def fit_transform(self, X, y=None):
        """Fit on the normal rows, and return what that makes of all rows, where `estimator` transforms.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples
            As in `fit`.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        array or frame
        """
        return self.fit(X, y).transform(X)

    @available_if(_has("transform"))
    def set_output(self, *, transform=None):
        """Set the container that ``transform`` gives, as scikit-learn's own transformers do.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            None changes nothing.

        Returns
        -------
        self
        """
        for one in (self.estimator, getattr(self, "estimator_", self.estimator)):
            safe_set_output(one, transform=transform)
        return self

    @available_if(_has("score_samples"))
    def score_samples(self, X):
        """Return the scores of `estimator_`, where it has any: higher is more normal.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.score_samples(X)

    @available_if(_has("decision_function"))
    def decision_function(self, X):
        """Return the decision function of `estimator_`, where it has one: negative is anomalous.

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        refuse_other_sign(self.estimator_)
        return self.estimator_.decision_function(X)

    @property
    def offset_(self):
        return self.estimator_.offset_

    @available_if(_has("predict"))
    def predict(self, X):
        """Return the predictions of `estimator_`, where it makes any: of a detector +1 (normal) and -1 (anomalous).

        Parameters
        ----------
        X : array-like, frame or sequence of length n_samples

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that ``transform`` makes, where `estimator_` knows them.

        Parameters
        ----------
        input_features : array-like of str, default=None
            As `estimator_` takes them.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.estimator_type, tags.input_tags = inner.estimator_type, inner.input_tags
        tags.target_tags, tags.transformer_tags = inner.target_tags, inner.transformer_tags
        return tags
