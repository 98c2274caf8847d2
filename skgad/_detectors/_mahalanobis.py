"""The detector: one Gaussian per level, the score is minus the sum of the Mahalanobis distances."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._labels import normal_rows
from .._conventions._levels import frame
from .._conventions._parameters import read_fpr
from .._conventions._transaction import all_or_nothing
from .._gaussian._estimate import DIAGONAL_KINDS
from .._gaussian._laws import doubt_chi_square
from .._gaussian._level_gaussians import LevelGaussians
from ._covariance_estimator import check_covariance, fit_gaussian
from ._distance_names import distance_names
from ._left_out_behind import score_left_out_behind
from ._stream import check_same_columns, find_seen


class MahalanobisDetector(ScoredOutlierMixin, TransformerMixin, StampedEstimator):
    """One Gaussian per level; the anomaly score is the Mahalanobis distance, summed over the levels.

    Parameters
    ----------
    covariance : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"} or estimator, default="ledoit_wolf"
        How each level's covariance is estimated. "diagonal" gives the paper's standardised Euclidean distance (SED,
        equation 9), "identity" its L2 distance. An estimator is cloned for each level and needs ``covariance_`` after
        ``fit``; its ``location_`` is used where it has one.
    fpr : float in (0, 1), default=0.01
        The false-positive rate that ``predict`` aims at by the chi-square law (equation 8). Real features reach far
        more: `predict` warns where that is to be expected. `FPRThresholdCV` sets a threshold that holds.

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
        return self._keep(LevelGaussians.of_rows(X, groups, self.covariance) if seen is None else seen.add(X))

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

    def leave_one_out_scores(self, X, y=None):
        """Return the score of each training row by a detector that has not seen it, in closed form.

        An image that is in the fit pulls the Gaussian towards itself. Its leave-one-out score is on the scale of new
        images: sorted, or held against a threshold, these scores show suspicious images in a training set.

        Parameters
        ----------
        X : array-like or frame of shape (`n_samples_seen_`, n_features)
            All rows that were learnt, in any order.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and get their plain score.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal, as by refits, shrinkage included; minus infinity where the covariance of the others
            is singular ("empirical").

        Raises
        ------
        ValueError
            If `X` has another number of rows, or the fit was by an estimator.
        """
        check_is_fitted(self)
        learnt, _ = read_normal_rows(self, X, y, reset=False)
        if len(learnt) != self.n_samples_seen_:
            raise ValueError(
                f"leave_one_out_scores takes the {self.n_samples_seen_} rows that were learnt; got {len(learnt)}. "
                "Where anomalous rows were left out of the fit, give y as there."
            )
        left_out = -self._gaussians.leave_one_out(learnt).sum(axis=1)
        rows = None if y is None else normal_rows(y, len(X))
        if rows is None:
            return left_out
        scores = self.score_samples(X)
        scores[rows] = left_out
        return scores

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold):
        """Fit on all rows, and score each by a detector that has not seen its fold: what `FPRThresholdCV` asks for.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Normal rows.
        fold : array-like of int of shape (n_samples,)
            Rows with the same number are left out together. Single rows are left out as in `leave_one_out_scores`, more
            of them exactly: their moments are taken out of all moments.

        Returns
        -------
        out_of_fold, in_sample : ndarray of shape (n_samples,)
            Scores. NotImplemented where refits are as cheap or more exact: the covariance is an estimator, there are
            few rows for many features, or rows lie so far out that the moments of the others drown in theirs.
        """
        if not self.leaves_out_in_closed_form():
            return NotImplemented
        X = self._fit(X, None)
        fitted, fold = self._gaussians, np.asarray(fold)
        if len(np.unique(fold)) == len(X):
            distances = fitted.leave_one_out(X)
        elif fitted.keeps_rows():
            return NotImplemented
        else:
            try:
                distances = fitted.leave_folds_out(X, fold)
            except ValueError:
                return NotImplemented
        return -distances.sum(axis=1), -fitted.distances(X).sum(axis=1)

    def leaves_out_in_closed_form(self):
        """Return whether `fit_score_out_of_fold` leaves single rows out without refits: `FPRThresholdCV` then does so.

        Returns
        -------
        bool
        """
        return isinstance(self.covariance, str)

    def score_left_out_behind(self, X, n_components, *, leading=False):
        """Score each row by a projection and a Gaussian behind it that have not seen it, without refits.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Normal rows, in front of the projection.
        n_components : float or int
            What it keeps of each level, as in `NPCA`.
        leading : bool, default=False
            Whether it keeps the directions of most variance instead, as scikit-learn's ``PCA`` does.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal; as by refits within rounding, or, beyond a thousand rows, a thousandth (the kurtosis
            behind the intensity is that of all rows). NaN for rows that leave the others no digits: refit those.
        """
        return score_left_out_behind(self, X, n_components, leading)

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
        if isinstance(self.covariance, str):
            fitted = LevelGaussians.of_rows(X, groups, self.covariance)
            fitted.gaussians  # noqa: B018  # what is singular is refused here, not at the first score
        else:
            gaussians = {
                level: fit_gaussian(self.covariance, X[:, columns], level) for level, columns in groups.items()
            }
            fitted = LevelGaussians(groups, None, gaussians=gaussians)
        self._keep(fitted, len(X))
        return X

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # distances are float64
        return tags
