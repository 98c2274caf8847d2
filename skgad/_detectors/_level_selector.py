"""A step that keeps some levels of features that were computed before."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns
from .._conventions._labels import normal_rows
from .._conventions._levels import choose_levels, frame_like, level_number
from .._conventions._transaction import all_or_nothing


class LevelSelector(TransformerMixin, StampedEstimator):
    """Keep the columns of some levels.

    For a search over levels on features that were computed once: what ``DeepFeatureTransformer(levels=…)`` does for
    images, this does for its frame. The steps that were found go behind an extractor as they are:
    ``make_pipeline(DeepFeatureTransformer(), *search.best_estimator_)`` predicts without a refit.

    Parameters
    ----------
    levels : "all" or list of int, default="all"
        The numbers of the levels to keep.

    Attributes
    ----------
    levels_ : list of str
        The names of the levels kept.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skgad.model_selection import LevelSelector
    >>> frame = pd.DataFrame(np.eye(3), columns=["level1__0", "level2__0", "level2__1"])
    >>> LevelSelector(levels=[2]).fit_transform(frame).columns.tolist()
    ['level2__0', 'level2__1']
    """

    learns_nothing = True  # from rows: to leave one out changes nothing here

    def __init__(self, levels="all"):
        self.levels = levels

    @all_or_nothing
    def fit(self, X, y=None):
        """Find the columns.

        Parameters
        ----------
        X : frame of shape (n_samples, n_features)
            Columns named ``level7__…``. With ``levels="all"`` anything will do.
        y : array-like of shape (n_samples,), default=None
            Only checked: labels are +1 (normal) and -1 (anomalous).

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a level is not there; names those that are.
        """
        values, groups = read_columns(self, X, reset=True)
        normal_rows(y, len(values))
        kept = self._choose(groups)
        positions = np.arange(self.n_features_in_)
        self._groups = groups
        self._columns = np.concatenate([positions[groups[level]] for level in kept])
        self.levels_ = kept
        return self

    def transform(self, X):
        """Return the columns of the levels kept.

        Parameters
        ----------
        X : frame of shape (n_samples, n_features)

        Returns
        -------
        frame of shape (n_samples, n_kept)
            In the container of `X`.
        """
        check_is_fitted(self)
        values, _ = read_columns(self, X, reset=False)
        return frame_like(values[:, self._columns], self.get_feature_names_out(), X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns kept; ``x3`` where the columns have no names.

        Parameters
        ----------
        input_features : ignored
            Here for scikit-learn's convention.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = np.array([f"x{index}" for index in range(self.n_features_in_)], dtype=object)
        return names[self._columns]

    def pull_back(self, values):
        """Return vectors among the output columns as vectors among the input columns, by the transpose of `transform`.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples, `n_features_in_`)
        """
        check_is_fitted(self)
        result = np.zeros((len(values), self.n_features_in_))
        result[:, self._columns] = values
        return result

    def _choose(self, groups):
        if isinstance(self.levels, str) and self.levels == "all":
            return list(groups)  # columns without a level too
        numbers = {level: level_number(level) for level in groups if level}
        chosen = choose_levels(self.levels, set(numbers.values()), of="the levels of the columns")
        return [level for level, number in numbers.items() if number in chosen]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
