"""The detector: one Gaussian per level, or one over all; the score is minus the sum of the Mahalanobis distances."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._levels import frame
from .._conventions._parameters import read_fpr
from .._conventions._transaction import all_or_nothing
from .._gaussian._estimate import DIAGONAL_KINDS
from .._gaussian._laws import doubt_chi_square
from .._gaussian._level_gaussians import LevelGaussians
from ._covariance_estimator import check_covariance, fit_gaussian
from ._distance_names import distance_names
from ._joint import check_levels, join_blocks, warn_behind_npca
from ._leaving_out import LeavingOutMixin
from ._stream import check_same_columns, find_seen


class MahalanobisDetector(LeavingOutMixin, ScoredOutlierMixin, TransformerMixin, StampedEstimator):
    r"""One Gaussian per level, or one over all; the anomaly score is the Mahalanobis distance, summed over the levels.

    Parameters
    ----------
    covariance : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"} or estimator, default="ledoit_wolf"
        How each level's covariance is estimated. "diagonal" gives the paper's standardised Euclidean distance (SED,
        equation 9), "identity" its L2 distance. An estimator is cloned for each level and needs ``covariance_`` after
        ``fit``; its ``location_`` is used where it has one.
    levels : {"each", "joint"}, default="each"
        "each" sums the distances to the Gaussian of each level, as the paper does. "joint" is one Gaussian over the
        features of all levels, and cells of a grid, so that correlations between them count; each level, a block, is
        brought to the same total variance first. It needs no reduction in front: `NPCA` there costs detections.
    fpr : float in (0, 1), default=0.01
        The false-positive rate that ``predict`` aims at by the chi-square law (equation 8). Real features reach far
        more: `predict` warns where that is to be expected. `FPRThresholdCV` sets a threshold that holds.

    Attributes
    ----------
    levels_ : list of str
        The levels found in the column names, ``[""]`` for columns without one; ``["joint"]`` for a joint Gaussian.
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
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number of columns seen in ``fit``, and their names, where all are strings.

    See Also
    --------
    FPRThresholdCV : Sets a threshold whose false-positive rate is reached.

    Notes
    -----
    A distance here is never squared. The covariance has 1/n. Each level costs O(n D² + D³) to fit and O(D²) a row to
    score; with few rows for many features, ``2 n <= D``, and shrinkage, O(n² D) and O(n D). A pickle holds one
    symmetric matrix a level, as its lower triangle, or those few rows; factors are rebuilt on loading.

    *Streaming is exact.* The detector keeps moments up to the fourth order, so that `partial_fit`, `merge` and `forget`
    give what a fit on the union or the difference gives, shrinkage included. A factor is computed at the first score
    after an update. With `NPCA` in front, go through the stream twice: ``npca.partial_fit(batch)`` for all batches,
    then ``detector.partial_fit(npca.transform(batch))``.

    *A joint Gaussian* has the covariance :math:`(1 - \rho) S + \rho\, \tfrac{B}{D} \Delta` of all D features, where
    :math:`\Delta` holds for each feature the total variance of its block, of B blocks: that of Ledoit and Wolf, once
    each block is divided by the root of its total variance. All else, streaming included, is as for one level.

    With "identity" the law of the distance has a free scale: ``offset_`` takes it from the mean variance. With
    "diagonal" a feature that is constant over the normal rows counts in its own unit, as in ``StandardScaler``.

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
    """

    def __init__(self, covariance="ledoit_wolf", *, levels="each", fpr=0.01):
        self.covariance = covariance
        self.levels = levels
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
            ``level7__dist112``, no such claim ("diagonal", "identity"); ``chi112`` for columns without a level;
            ``joint__chi2168`` for the joint Gaussian.
        """
        check_is_fitted(self)
        return frame(self._measure(X), self.get_feature_names_out(), like=X)

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
        return -self._measure(X).sum(axis=1)

    def deviations_and_gradients(self, X):
        """Return what a distance is made of: each row less the mean, and the gradient of minus its score.

        A Mahalanobis distance is homogeneous in the deviation, so that the sum of their products over the features is
        the distance (Euler), and, over all of them, minus the score: see `skgad.inspection.explain`.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        deviations, gradients : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        X, _ = read_columns(self, X, reset=False)
        return self._gaussians.deviations_and_gradients(X.astype(np.float64, copy=False))

    def distances_between(self, X, Y):
        """Return the distances between rows, in the metric of the Gaussians, summed over the levels.

        Parameters
        ----------
        X, Y : array-like or frame of shape (n_samples, n_features) and (m_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, m_samples)
        """
        check_is_fitted(self)
        X, Y = (read_columns(self, each, reset=False)[0].astype(np.float64, copy=False) for each in (X, Y))
        return self._gaussians.distances_between(X, Y)

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

    @all_or_nothing
    def partial_fit(self, X, y=None):
        """Learn more rows: the result is that of a fit on all rows so far.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            One row is enough; scoring needs two in all, and an empirical covariance more than features.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`; and if ``covariance`` is an estimator, which keeps no moments, or was changed since.
        """
        seen = find_seen(self)
        X, groups = read_normal_rows(self, X, y, reset=seen is None)
        return self._keep(self._learn(X, groups) if seen is None else seen.add(X))

    @all_or_nothing
    def merge(self, other):
        """Learn all that another detector has learnt: the result is that of a fit on the rows of both.

        Parameters
        ----------
        other : MahalanobisDetector
            Fitted on the same columns with the same ``covariance``. It is left as it is.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the two do not fit together, by columns or ``covariance``; neither is changed.
        """
        if not isinstance(other, MahalanobisDetector):
            raise ValueError(f"merge takes another MahalanobisDetector; got {type(other).__name__}.")
        check_is_fitted(self)
        check_is_fitted(other)
        seen = find_seen(self)
        check_same_columns(self, other)
        return self._keep(seen.merge(other._gaussians))

    @all_or_nothing
    def forget(self, X, y=None):
        """Unlearn rows that were learnt before: the result is that of a fit without them.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows that `fit`, `partial_fit` or `merge` learnt. Rows that never were learnt cannot be told in general.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and are not forgotten.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If fewer than two rows would be left; if a variance would be negative, which shows that these rows were
            never learnt; if they lie so far out that too few digits of the others would be left; or if ``covariance``
            was changed since the fit, or is an estimator. The detector is unchanged then.
        """
        check_is_fitted(self)
        seen = find_seen(self)
        X, _ = read_normal_rows(self, X, y, reset=False)
        return self._keep(seen.remove(X))

    @property
    def location_(self):
        return self._gaussians.locations

    @property
    def covariance_(self):
        return [one.covariance for one in self._read_gaussians()]

    @property
    def shrinkage_(self):
        return [one.shrinkage for one in self._read_gaussians()]

    def _fit(self, X, y):
        """Fit, and return the normal rows."""
        self._check_parameters()
        X, groups = read_normal_rows(self, X, y, reset=True, at_least=2)
        fitted = self._learn(X, groups)
        fitted.gaussians  # noqa: B018  # what is singular is refused here, not at the first score
        self._keep(fitted, len(X))
        return X

    def _learn(self, X, groups):
        """Return the Gaussians of these rows."""
        blocks = None
        if self.levels == "joint":
            warn_behind_npca(getattr(self, "feature_names_in_", None))
            groups, blocks = join_blocks(groups, X.shape[1])
        if isinstance(self.covariance, str):
            return LevelGaussians.of_rows(X, groups, self.covariance, blocks)
        gaussians = {
            level: fit_gaussian(self.covariance, X[:, columns], level, blocks) for level, columns in groups.items()
        }
        return LevelGaussians(groups, None, gaussians=gaussians, blocks=blocks)

    def _keep(self, fitted, n_samples=None):
        """Set all that a fit or an update sets, and return the detector."""
        self._gaussians = fitted
        self._groups = fitted.columns
        self._distance_names = distance_names(fitted, getattr(self, "feature_names_in_", None))
        self.levels_ = list(self._groups)
        self.n_samples_seen_ = fitted.n_samples if n_samples is None else n_samples
        fpr, dof = float(read_fpr(self.fpr)), np.array([len(location) for location in fitted.locations])
        self.offset_ = -float(sum(fitted.chi_quantiles(fpr)))
        self._doubt = doubt_chi_square(
            fpr,
            dof,
            self.n_samples_seen_,
            behind_npca=any("npca_chi" in name for name in self._distance_names),
            in_full=fitted.kind not in DIAGONAL_KINDS,
        )
        return self

    def _measure(self, X):
        X, _ = read_columns(self, X, reset=False)
        return self._gaussians.distances(X)

    def _read_gaussians(self):
        try:
            return self._gaussians.gaussians.values()
        except ValueError as error:  # there is no such attribute yet, in a stream that has only begun
            raise AttributeError(str(error)) from error

    def _check_parameters(self):
        read_fpr(self.fpr)
        check_covariance(self.covariance)
        check_levels(self.levels)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # distances are float64
        return tags
