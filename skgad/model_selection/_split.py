"""A splitter whose training sets hold normal images only, for detectors that do not know the rule for y."""

from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from .._conventions._columns import count_samples
from .._conventions._labels import check_labels


class NormalTrainSplit:
    """Split as another splitter does, and leave the anomalous images out of the training sets.

    skgad's own estimators leave rows at -1 out of every fit and need no such thing. scikit-learn's outlier detectors
    ignore ``y``: without this splitter a search would train them on the anomalies.

    Note that a search with ``refit=True`` refits on *all* rows; for such detectors set ``refit=False``, or fit the best
    parameters on the normal rows by hand.

    Parameters
    ----------
    cv : int or splitter, default=5
        The splitter to follow. An int stands for ``StratifiedKFold``, so that every test set holds both kinds. Groups
        are passed on, with and without metadata routing.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.model_selection import NormalTrainSplit
    >>> X, y = np.arange(8).reshape(8, 1), np.array([1, 1, 1, 1, 1, 1, -1, -1])
    >>> for train, test in NormalTrainSplit(2).split(X, y):
    ...     print(y[train], y[test])
    [1 1 1] [ 1  1  1 -1]
    [1 1 1] [ 1  1  1 -1]
    """

    def __init__(self, cv=5):
        self.cv = cv

    def split(self, X, y, groups=None):
        """Yield the positions of the training images, normal ones only, and of the test images.

        Parameters
        ----------
        X : sequence of length n_samples
        y : array-like of shape (n_samples,)
            +1 (normal) and -1 (anomalous); anything else is refused.
        groups : array-like of shape (n_samples,), default=None
            Passed on to `cv`.

        Yields
        ------
        train, test : ndarray of int
            Positions.

        Raises
        ------
        ValueError
            If a label is neither +1 nor -1, `y` is of another length, or a fold has no normal image to train on.
        """
        y = check_labels(y)
        if len(y) != count_samples(X):
            raise ValueError(f"X has {count_samples(X)} samples, but y has {len(y)}.")
        for fold, (train, test) in enumerate(self._splitter(y).split(X, y, groups)):
            normal = train[y[train] == 1]
            if not len(normal):
                raise ValueError(f"Fold {fold} has no normal image to train on; use fewer folds, or another splitter.")
            yield normal, test

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : as of `split`, default=None

        Returns
        -------
        int
        """
        return self._splitter(y).get_n_splits(X, y, groups)

    def get_metadata_routing(self):
        """Return where metadata, such as groups, goes: to `cv`.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        mapping = MethodMapping().add(caller="split", callee="split")
        return MetadataRouter(owner=type(self).__name__).add(cv=self._splitter(None), method_mapping=mapping)

    def __repr__(self):
        return f"NormalTrainSplit({self.cv!r})"

    def _splitter(self, y):
        if hasattr(self.cv, "__next__"):
            raise ValueError("cv is an iterator, which could be gone through only once; pass list(cv).")
        return check_cv(self.cv, y, classifier=True)
