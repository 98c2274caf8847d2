"""The detector: one Gaussian per level, the score is minus the sum of the Mahalanobis distances."""

import re

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from ._columns import all_or_nothing, read_columns, read_normal_rows
from ._gaussian import (
    KINDS,
    Cholesky,
    Gaussian,
    check_fpr,
    chi_quantile,
    estimate,
    leave_one_out_distances,
)
from ._labels import normal_rows
from ._levels import frame, join
from ._moments import merge, moments, remove, varies
from ._outliers import ScoredOutlierMixin

_NPCA_COLUMN = re.compile(r"(?:^|__)npca\d+$")


class MahalanobisDetector(ScoredOutlierMixin, TransformerMixin, BaseEstimator):
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
    feature_names_in_ : ndarray of shape (n_features_in_,)
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
        return self

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
            As `fit`; and if ``covariance`` is an estimator, which has no moments to be updated.
        """
        self._check_streams()
        first = not hasattr(self, "_samples")
        X, groups = read_normal_rows(self, X, y, reset=first)
        batch = [moments(X[:, columns], diagonal=self._is_diagonal()) for columns in groups.values()]
        if not first:
            batch = [merge(seen, new) for seen, new in zip(self._samples, batch, strict=True)]
        self._groups = groups
        self._keep(batch, None, batch[0].n_samples)
        return self

    @all_or_nothing
    def merge(self, other):
        """Learn all that another detector has learnt: the result is that of a fit on the rows of both.

        Parameters
        ----------
        other : MahalanobisDetector
            Fitted on the same columns with a ``covariance`` of the same form. It is left as it is.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the two do not fit together; neither is changed.
        """
        if not isinstance(other, MahalanobisDetector):
            raise ValueError(f"merge takes another MahalanobisDetector; got {type(other).__name__}.")
        check_is_fitted(self)
        check_is_fitted(other)
        self._check_streams()
        other._check_streams()
        names, others = (getattr(one, "feature_names_in_", np.array([])) for one in (self, other))
        if self.n_features_in_ != other.n_features_in_ or not np.array_equal(names, others):
            raise ValueError(
                f"The detectors were fitted on different columns ({self.n_features_in_} and {other.n_features_in_}, or "
                "with other names); only Gaussians of the same features can be merged."
            )
        samples = [merge(one, two) for one, two in zip(self._samples, other._samples, strict=True)]
        self._keep(samples, None, samples[0].n_samples)
        return self

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
            If fewer than two rows would be left, or a variance would be negative, which shows that these rows were
            never learnt. The detector is unchanged then.
        """
        check_is_fitted(self)
        self._check_streams()
        X, groups = read_normal_rows(self, X, y, reset=False)
        samples = [
            remove(sample, moments(X[:, columns], diagonal=self._is_diagonal()))
            for sample, columns in zip(self._samples, groups.values(), strict=True)
        ]
        self._keep(samples, None, samples[0].n_samples)
        return self

    def leave_one_out_scores(self, X, y=None):
        """Return the score of each training row by a detector that has not seen it, in closed form.

        An image that is in the fit pulls the Gaussian towards itself, so that its plain score looks better than it
        should. Its leave-one-out score is on the scale of new images: sorted, or held against a threshold, these scores
        show suspicious images in a training set.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples_seen_, n_features)
            All rows that were learnt, in any order.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and get their plain score.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal. The shrinkage intensity and its target are held fixed; minus infinity where the
            covariance of the others is singular ("empirical").

        Raises
        ------
        ValueError
            If `X` has another number of rows, or ``covariance`` is an estimator.
        """
        check_is_fitted(self)
        self._check_streams()
        learnt, groups = read_normal_rows(self, X, y, reset=False)
        if len(learnt) != self.n_samples_seen_:
            raise ValueError(
                f"leave_one_out_scores takes the {self.n_samples_seen_} rows that were learnt; got {len(learnt)}. "
                "Where anomalous rows were left out of the fit, give y as there."
            )
        left_out = -sum(
            leave_one_out_distances(learnt[:, columns], sample, self._kind)
            for sample, columns in zip(self._samples, groups.values(), strict=True)
        )
        rows = None if y is None else normal_rows(y, len(X))
        if rows is None:
            return left_out
        scores = self.score_samples(X)
        scores[rows] = left_out
        return scores

    def transform(self, X):
        """Return the distance of each row to each level's Gaussian.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        frame of shape (n_samples, n_levels)
            pandas, or polars where `X` is. Distances, unsquared. The column's name says what they follow on Gaussian
            data: ``level7__chi112``, the chi law with 112 degrees of freedom; ``level7__npca_chi112`` behind `NPCA`;
            ``level7__dist112``, no such claim ("diagonal", "identity"); ``chi112`` for columns without a level.
        """
        check_is_fitted(self)
        return frame(self._distances(X), self.get_feature_names_out(), like=X)

    def score_samples(self, X):
        """Return minus the sum of the distances: higher is more normal. Shape (n_samples,)."""
        check_is_fitted(self)
        return -self._distances(X).sum(axis=1)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that ``transform`` makes."""
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
        check_fpr(self.fpr)
        if not self._covariance_is(*KINDS) and not hasattr(self.covariance, "fit"):
            raise ValueError(
                f"covariance must be one of {', '.join(map(repr, KINDS))}, or an estimator with covariance_ after fit; "
                f"got {self.covariance!r}."
            )

    def _check_streams(self):
        """Raise ValueError unless there are moments to be updated, of the form that `covariance` needs."""
        self._check_parameters()
        if not isinstance(self.covariance, str):
            raise ValueError(f"covariance={self.covariance!r} keeps no moments; only {', '.join(KINDS)} do.")
        if getattr(self, "_samples", ()) is None:
            raise ValueError("The fit was by a covariance estimator, which keeps no moments to go on from; fit anew.")
        sample = getattr(self, "_samples", [None])[0]
        only_variances = sample is not None and sample.scatter is not None and sample.scatter.ndim == 1
        if sample is not None and only_variances != self._is_diagonal():
            raise ValueError(
                f"covariance={self.covariance!r} was set after the fit, and needs other moments. Fit anew."
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
