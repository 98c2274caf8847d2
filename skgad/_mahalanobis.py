"""The detector: one Gaussian per level, the score is minus the sum of the Mahalanobis distances."""

import re

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from . import _gaussian as gaussian
from ._labels import normal_rows
from ._levels import frame, group_columns, join

_COVARIANCES = ("ledoit_wolf", "oas", "empirical", "diagonal", "identity")
_NPCA_COLUMN = re.compile(r"(?:^|__)npca\d+$")


class MahalanobisDetector(OutlierMixin, TransformerMixin, BaseEstimator):
    """One Gaussian per level; the anomaly score is the Mahalanobis distance, summed over the levels.

    Parameters
    ----------
    covariance : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"} or estimator, default="ledoit_wolf"
        How each level's covariance is estimated. "diagonal" gives the paper's standardised Euclidean distance (SED,
        equation 9), "identity" its L2 distance. An estimator is cloned for each level and needs ``covariance_`` after
        ``fit``; its ``location_`` is used where it has one.
    fpr : float in (0, 1), default=0.01
        The false-positive rate that ``predict`` aims at by the chi-square law (equation 8). Real features reach far
        more: see `FPRThresholdCV` for a threshold that holds.

    Attributes
    ----------
    levels_ : list of str
        The levels found in the column names, ``[""]`` for columns without one.
    location_ : list of ndarray of shape (n_features_of_the_level,)
        For each level the mean of the normal rows.
    covariance_ : list of ndarray
        For each level the covariance, of shape (D, D); of shape (D,) for "diagonal" and "identity".
    shrinkage_ : list of float or None
        For each level the shrinkage intensity; None where there is none.
    offset_ : float
        ``decision_function = score_samples - offset_``: minus the sum of the levels' chi-square quantiles.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where all are strings.

    See Also
    --------
    FPRThresholdCV : Sets a threshold whose false-positive rate is reached.
    sklearn.covariance.EllipticEnvelope : A robust single Gaussian, with squared distances.

    Notes
    -----
    A distance here is never squared. The covariance has 1/n. Each level costs O(n D² + D³) to fit and O(D²) a row to
    score. The factors are rebuilt on loading: a pickle holds the lower triangle of each covariance, once.

    With "identity" the law of the distance has a free scale: ``offset_`` takes it from the mean variance. With
    "diagonal" a feature that is constant over the normal rows counts in its own unit, as behind
    scikit-learn's ``StandardScaler``; channels that a ReLU clips to zero on every normal image are common (the paper's
    SED failed there).

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, sections III and IV.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import MahalanobisDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> detector = MahalanobisDetector().fit(X)
    >>> detector.predict([[0.0, 0.0], [4.0, 4.0]])
    array([ 1, -1])
    >>> detector.transform([[0.0, 0.0], [4.0, 4.0]]).round(1)
       chi2
    0   0.1
    1   5.9
    """

    def __init__(self, covariance="ledoit_wolf", *, fpr=0.01):
        self.covariance = covariance
        self.fpr = fpr

    def fit(self, X, y=None):
        """Estimate the Gaussian of each level.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Features. Columns named ``level7__…`` are treated level by level, others as one group.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, fewer than two normal rows are left, a level's covariance is singular, or
            some columns carry a level and others do not.
        """
        gaussian.check_fpr(self.fpr)
        self._check_covariance()
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        groups = group_columns(getattr(self, "feature_names_in_", None), X.shape[1])
        rows = normal_rows(y, len(X))
        X = X if rows is None else X[rows]
        if len(X) < 2:
            raise ValueError(f"MahalanobisDetector needs at least two normal rows; y leaves n_samples = {len(X)}.")
        _refuse_constant_levels(X, groups)
        gaussians = [self._fit_level(level, X[:, columns]) for level, columns in groups.items()]
        threshold = sum(self._chi_threshold(X[:, columns]) for columns in groups.values())
        self.levels_ = list(groups)
        self.offset_ = -float(threshold)
        self._gaussians = gaussians
        self._distance_names = self._name_distances(groups)
        return self

    def transform(self, X):
        """Return the distance of each row to each level's Gaussian.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        pandas.DataFrame of shape (n_samples, n_levels)
            Distances, unsquared. The column's name says what they follow on Gaussian data: ``level7__chi112``, the chi
            law with 112 degrees of freedom; ``level7__npca_chi112`` behind `NPCA`; ``level7__dist112``, no such claim
            ("diagonal", "identity"); ``chi112`` for columns without a level.
        """
        check_is_fitted(self)
        return frame(self._distances(X), self._distance_names, like=X)

    def score_samples(self, X):
        """Return minus the sum of the distances: higher is more normal. Shape (n_samples,)."""
        check_is_fitted(self)
        return -self._distances(X).sum(axis=1)

    def decision_function(self, X):
        """Return ``score_samples(X) - offset_``: negative is anomalous. Shape (n_samples,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return +1 for normal and -1 for anomalous rows, by the chi-square threshold at `fpr`. Shape (n_samples,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X, y=None):
        """Fit on the normal rows and return the labels of all: ``fit(X, y).predict(X)``."""
        return self.fit(X, y).predict(X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that ``transform`` makes."""
        check_is_fitted(self)
        return np.asarray(self._distance_names, dtype=object)

    @property
    def location_(self):
        return [one.location for one in self._gaussians]

    @property
    def covariance_(self):
        return [one.covariance for one in self._gaussians]

    @property
    def shrinkage_(self):
        return [one.shrinkage for one in self._gaussians]

    def _distances(self, X):
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        groups = group_columns(getattr(self, "feature_names_in_", None), X.shape[1])
        return np.column_stack(
            [one.distances(X[:, columns]) for one, columns in zip(self._gaussians, groups.values(), strict=True)]
        )

    def _fit_level(self, level, X):
        try:
            return _fit_gaussian(self.covariance, X)
        except np.linalg.LinAlgError as error:
            raise ValueError(_explain_singular(level or "the data", X, self.covariance)) from error

    def _chi_threshold(self, X):
        scale = np.sqrt(X.var(axis=0, dtype=np.float64).mean()) if self._covariance_is("identity") else 1.0
        return scale * gaussian.chi_quantile(self.fpr, X.shape[1])

    def _name_distances(self, groups):
        names = getattr(self, "feature_names_in_", None)
        claim = "dist" if self._covariance_is("diagonal", "identity") else "chi"
        result = []
        for level, columns in groups.items():
            reduced = names is not None and all(_NPCA_COLUMN.search(name) for name in names[columns])
            n_features = len(range(self.n_features_in_)[columns]) if isinstance(columns, slice) else len(columns)
            result.append(join(level, f"{'npca_' if reduced and claim == 'chi' else ''}{claim}{n_features}"))
        return result

    def _covariance_is(self, *kinds):
        return isinstance(self.covariance, str) and self.covariance in kinds

    def _check_covariance(self):
        if not self._covariance_is(*_COVARIANCES) and not hasattr(self.covariance, "fit"):
            raise ValueError(
                f"covariance must be one of {', '.join(map(repr, _COVARIANCES))}, or an estimator with covariance_ "
                f"after fit; got {self.covariance!r}."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # distances are float64
        return tags


def _fit_gaussian(covariance, X):
    """Return the Gaussian of one level's rows."""
    if not isinstance(covariance, str):
        estimator = clone(covariance).fit(X)
        location = getattr(estimator, "location_", None)
        location = X.mean(axis=0, dtype=np.float64) if location is None else location
        return gaussian.Gaussian(location, np.array(estimator.covariance_), getattr(estimator, "shrinkage_", None))
    if covariance == "identity":
        return gaussian.Gaussian(X.mean(axis=0, dtype=np.float64), np.ones(X.shape[1]))
    if covariance == "diagonal":
        variances = np.where(np.ptp(X, axis=0) > 0, X.var(axis=0, dtype=np.float64), 1.0)
        return gaussian.Gaussian(X.mean(axis=0, dtype=np.float64), variances)
    sample = gaussian.moments(X)
    empirical = gaussian.empirical_covariance(sample)
    if covariance == "empirical":
        return gaussian.Gaussian(gaussian.mean(sample), empirical)
    intensity = gaussian.ledoit_wolf_shrinkage if covariance == "ledoit_wolf" else gaussian.oas_shrinkage
    shrinkage = intensity(sample, empirical)
    return gaussian.Gaussian(gaussian.mean(sample), gaussian.shrink(empirical, shrinkage), shrinkage)


def _refuse_constant_levels(X, groups):
    for level, columns in groups.items():
        if not np.ptp(X[:, columns], axis=0).any():
            raise ValueError(
                f"All features of {level or 'the data'} are constant over the {len(X)} normal rows: there is nothing "
                "to learn from. Are these images all the same?"
            )


def _explain_singular(level, X, covariance):
    n_samples, n_features = X.shape
    constant = np.flatnonzero(np.ptp(X, axis=0) == 0)
    reason = f"{n_samples} normal rows of {n_features} features"
    if len(constant):
        reason += f", of which {len(constant)} are constant (the first is number {constant[0]} of the level)"
    return (
        f"The covariance of {level} is singular with covariance={covariance!r}: {reason}. "
        "Use covariance='ledoit_wolf', put NPCA in front, drop constant features, or give more images."
    )
