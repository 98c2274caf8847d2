"""The detector: one Gaussian per level, the score is minus the sum of the Mahalanobis distances."""

import re

import numpy as np
from sklearn.base import TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._levels import frame, join
from .._conventions._parameters import read_fpr
from .._conventions._transaction import all_or_nothing
from .._gaussian._estimate import (
    KINDS,
    Cholesky,
    Gaussian,
    chi_quantile,
    estimate,
)
from .._gaussian._moments import moments, varies
from ._streaming import StreamingMixin

_NPCA_COLUMN = re.compile(r"(?:^|__)npca\d+$")


class MahalanobisDetector(StreamingMixin, ScoredOutlierMixin, TransformerMixin, StampedEstimator):
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
    n_samples_seen_ : int
        The number of normal rows that were learnt, and not forgotten.
    offset_ : float
        ``decision_function = score_samples - offset_``: minus the sum of the levels' chi-square quantiles.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where all are strings.

    See Also
    --------
    FPRThresholdCV : Sets a threshold whose false-positive rate is reached.
    sklearn.covariance.EllipticEnvelope : A robust single Gaussian, with squared distances.

    Notes
    -----
    A distance here is never squared. The covariance has 1/n. Each level costs O(n D² + D³) to fit and O(D²) a row to
    score; with few rows for many features, ``2 n <= D``, and shrinkage, O(n² D) and O(n D). A pickle holds one
    symmetric matrix a level, as its lower triangle, or those few rows; factors are rebuilt on loading.

    *Streaming is exact.* The detector keeps moments up to the fourth order, so that `partial_fit`, `merge` and `forget`
    give what a fit on the union or the difference gives, shrinkage included; rows so far out that the others' digits
    drown in them are not forgotten but refused. A factor is computed when it is needed, at
    the first score after an update. With `NPCA` in front, go through the stream twice: ``npca.partial_fit(batch)`` for
    all batches, then ``detector.partial_fit(npca.transform(batch))``.

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

    @all_or_nothing
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
            If a parameter is out of range, fewer than two normal rows are left, a level's covariance is singular (with
            "ledoit_wolf" for two rows, which show no noise to shrink by), or some columns carry a level and others do
            not. The detector is what it was before.
        """
        self._fit(X, y)
        return self

    def transform(self, X):
        """Return the distance of each row to each level's Gaussian.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        frame of shape (n_samples, n_levels)
            Of pandas, or polars where `X` is. Distances, unsquared. The column's name says what they follow on Gaussian
            data: ``level7__chi112``, the chi law with 112 degrees of freedom; ``level7__npca_chi112`` behind `NPCA`;
            ``level7__dist112``, no such claim ("diagonal", "identity"); ``chi112`` for columns without a level.
        """
        check_is_fitted(self)
        return frame(self._distances(X), self.get_feature_names_out(), like=X)

    def score_samples(self, X):
        """Return minus the sum of the distances: higher is more normal.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return -self._distances(X).sum(axis=1)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that ``transform`` makes.

        Parameters
        ----------
        input_features : ignored
            Here for scikit-learn's convention.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return np.asarray(self._distance_names, dtype=object)

    @property
    def location_(self):
        samples = self._samples
        return [one.location for one in self._gaussians] if samples is None else [one.mean for one in samples]

    @property
    def covariance_(self):
        return [one.covariance for one in self._read_gaussians()]

    @property
    def shrinkage_(self):
        return [one.shrinkage for one in self._read_gaussians()]

    def _fit(self, X, y):
        """Fit, and return the normal rows and the columns of each level."""
        self._check_parameters()
        X, groups = read_normal_rows(self, X, y, reset=True, at_least=2)
        samples = gaussians = None
        if isinstance(self.covariance, str):
            samples = [moments(X[:, columns], diagonal=self._is_diagonal()) for columns in groups.values()]
            gaussians = self._estimate(samples, groups, self.covariance)
        else:
            gaussians = [self._fit_estimator(level, X[:, columns]) for level, columns in groups.items()]
        self._groups = groups
        self._keep(samples, gaussians, len(X))
        return X, groups

    def _read_gaussians(self):
        try:
            return self._factorised()
        except ValueError as error:  # there is no such attribute yet, in a stream that has only begun
            raise AttributeError(str(error)) from error

    def _distances(self, X):
        X, groups = read_columns(self, X, reset=False)
        gaussians = self._factorised()
        return np.column_stack(
            [one.distances(X[:, columns]) for one, columns in zip(gaussians, groups.values(), strict=True)]
        )

    def _keep(self, samples, gaussians, n_samples):
        """Set all that a fit sets; `gaussians` are None where they wait until they are needed."""
        self._kind = self.covariance if isinstance(self.covariance, str) else None
        self._samples = samples
        self._gaussians = gaussians
        self._distance_names = self._name_distances()
        self.levels_ = list(self._groups)
        self.n_samples_seen_ = n_samples
        self.offset_ = -float(sum(self._chi_threshold(index) for index in range(len(self.levels_))))

    def _factorised(self):
        if self._gaussians is None:
            self._gaussians = self._estimate(self._samples, self._groups, self._kind)
        return self._gaussians

    def _estimate(self, samples, groups, kind):
        gaussians = []
        for sample, level in zip(samples, groups, strict=True):
            _refuse_constant(sample, level)
            try:
                gaussians.append(estimate(sample, kind))
            except np.linalg.LinAlgError as error:
                raise ValueError(_explain_singular(sample, level, kind)) from error
        return gaussians

    def _fit_estimator(self, level, X):
        X = X.astype(np.float64)
        estimator = clone(self.covariance).fit(X)
        if not hasattr(estimator, "covariance_"):
            raise ValueError(f"covariance={self.covariance!r} has no covariance_ after fit; it must estimate one.")
        location = getattr(estimator, "location_", X.mean(axis=0))
        try:
            return Gaussian(location, Cholesky(estimator.covariance_), getattr(estimator, "shrinkage_", None))
        except np.linalg.LinAlgError as error:
            raise ValueError(f"The covariance of {level or 'the data'} by {self.covariance!r} is singular.") from error

    def _chi_threshold(self, index):
        scale, n_features = 1.0, np.arange(self.n_features_in_)[list(self._groups.values())[index]].size
        if self._covariance_is("identity"):
            scale = np.sqrt(self._samples[index].variances.mean())
        return scale * chi_quantile(self.fpr, n_features)

    def _name_distances(self):
        names = getattr(self, "feature_names_in_", None)
        claim = "dist" if self._covariance_is("diagonal", "identity") else "chi"
        result = []
        for level, columns in self._groups.items():
            behind_npca = names is not None and all(_NPCA_COLUMN.search(name) for name in names[columns])
            prefix = "npca_" if behind_npca and claim == "chi" else ""
            result.append(join(level, f"{prefix}{claim}{np.arange(self.n_features_in_)[columns].size}"))
        return result

    def _covariance_is(self, *kinds):
        return isinstance(self.covariance, str) and self.covariance in kinds

    def _is_diagonal(self):
        return self._covariance_is("diagonal", "identity")

    def _check_parameters(self):
        read_fpr(self.fpr)
        if not self._covariance_is(*KINDS) and not hasattr(self.covariance, "fit"):
            raise ValueError(
                f"covariance must be one of {', '.join(map(repr, KINDS))}, or an estimator with covariance_ after fit; "
                f"got {self.covariance!r}."
            )

    def __getstate__(self):
        state = super().__getstate__()
        if state.get("_samples") is not None:
            state["_gaussians"] = None  # a factor is as large as what it is computed from
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # distances are float64
        return tags


def _refuse_constant(sample, level):
    level = level or "the data"
    if sample.n_samples < 2:
        raise ValueError(f"One normal row does not make a Gaussian of {level}: n_samples = 1, at least two are needed.")
    if not varies(sample).any():
        raise ValueError(
            f"All features of {level} are constant over the {sample.n_samples} normal rows: there is nothing to learn "
            "from. Are these images all the same?"
        )


def _explain_singular(sample, level, covariance):
    constant = np.flatnonzero(~varies(sample))
    reason = f"{sample.n_samples} normal rows of {sample.n_features} features"
    if len(constant):
        reason += f", of which {len(constant)} are constant (the first is column {constant[0]} of the level, from 0)"
    remedy = "'oas'" if covariance == "ledoit_wolf" else "'ledoit_wolf'"
    return (
        f"The covariance of {level or 'the data'} is singular with covariance={covariance!r}: {reason}. "
        f"Give more, and more different, images; or use covariance={remedy}, NPCA in front, or no constant features."
    )
