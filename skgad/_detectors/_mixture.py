"""More than one normal: a Gaussian for each mode, and the distance to the nearest."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._levels import frame
from .._conventions._parameters import check_bool, check_int, read_fpr
from .._conventions._transaction import all_or_nothing
from .._gaussian._estimate import DIAGONAL_KINDS, KINDS
from .._gaussian._laws import doubt_chi_square
from .._gaussian._mode_gaussians import ModeGaussians
from ._joint import check_levels, join_blocks, warn_behind_npca
from ._leaving_out import score_left_out
from ._modes import ModeFinder


class MahalanobisMixture(ScoredOutlierMixin, TransformerMixin, StampedEstimator):
    """Several Gaussians, for products, batches or cameras that are all normal; the score is minus the least distance.

    Parameters
    ----------
    n_modes : int, default=None
        How many there are. None for as many as images that a mixture has not seen are most likely under, of 1 to 8.
    covariance : {"ledoit_wolf", "oas", "empirical", "diagonal", "identity"}, default="ledoit_wolf"
        As in `MahalanobisDetector`.
    levels : {"each", "joint"}, default="each"
        As in `MahalanobisDetector`.
    tied : bool, default=True
        Whether the modes share one covariance, that of the images less the mean of their mode: then one of few images
        has it from the others. False for one each.
    fpr : float in (0, 1), default=0.01
        As in `MahalanobisDetector`: `FPRThresholdCV` sets a threshold that holds.
    random_state : int, RandomState instance or None, default=None
        Of the starts of the search for modes.

    Attributes
    ----------
    n_modes_ : int
    mode_sizes_ : ndarray of int of shape (`n_modes_`,)
        How many images each of them has.
    log_likelihoods_ : ndarray or None
        Of images out of fold, on average, for one mode, two, and so on; None where `n_modes` was given.
    locations_ : ndarray of shape (`n_modes_`, n_features)
        The mean of each mode.
    n_samples_seen_ : int
    offset_ : float
        As in `MahalanobisDetector`.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number of columns seen in ``fit``, and their names, where all are strings.

    See Also
    --------
    MahalanobisDetector : One Gaussian.
    FPRThresholdCV : A threshold that holds, for each mode where ``categories=mixture.find_modes(X)`` are given.

    Notes
    -----
    Modes are found by scikit-learn's ``GaussianMixture`` (k-means, then EM) on the twenty leading principal components
    of all levels, each level brought to the same variance; the Gaussians are those of all features. Where the kind of
    each image is known, a model each, or a threshold each (``categories=``), needs no search.

    *Streaming is exact, mode by mode.* The search is that of the fit, and not repeated: a new image joins the mode that
    the fit would have given it, and leaves the same. So too for leave-one-out scores: those of a covariance each equal
    refits with the modes of the other images held, those of a tied one too, but for the shrinkage intensity, which is
    held.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import MahalanobisMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(300, 4)), rng.normal(size=(60, 4)) + 8])
    >>> mixture = MahalanobisMixture(random_state=0).fit(X)
    >>> mixture.n_modes_, sorted(mixture.mode_sizes_.tolist())
    (2, [60, 300])
    >>> mixture.transform([mixture.locations_[0], [4.0] * 4]).round(1).to_numpy()  # between them nothing is normal
    array([[ 0. , 16.5],
           [ 8.2,  8.3]])
    """

    def __init__(
        self, n_modes=None, *, covariance="ledoit_wolf", levels="each", tied=True, fpr=0.01, random_state=None
    ):
        self.n_modes = n_modes
        self.covariance = covariance
        self.levels = levels
        self.tied = tied
        self.fpr = fpr
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None):
        """Find the modes, and estimate the Gaussian of each.

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
            If a parameter is out of range; a mode has fewer than five images, or its covariance is singular (names the
            mode). The mixture is what it was before.
        """
        self._fit(X, y)
        return self

    @all_or_nothing
    def partial_fit(self, X, y=None):
        """Learn more rows, each with the mode that the fit gives it.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the parameters were changed since the fit. The first rows go to `fit`, which needs enough of them.
        """
        if not hasattr(self, "_finder"):
            return self.fit(X, y)
        self._check_unchanged()
        X, _ = read_normal_rows(self, X, y, reset=False)
        return self._keep(self._gaussians.add(X, self._finder.find(X)))

    @all_or_nothing
    def forget(self, X, y=None):
        """Unlearn rows that were learnt before.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `MahalanobisDetector.forget`; names the mode.
        """
        check_is_fitted(self)
        self._check_unchanged()
        X, _ = read_normal_rows(self, X, y, reset=False)
        return self._keep(self._gaussians.remove(X, self._finder.find(X)))

    @all_or_nothing
    def merge(self, other):
        """Learn all that another has learnt, which was copied from the same fit: their modes are the same.

        Parameters
        ----------
        other : MahalanobisMixture

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the modes of the two are not the same.
        """
        check_is_fitted(self)
        if not isinstance(other, MahalanobisMixture):
            raise ValueError(f"merge takes another MahalanobisMixture; got {type(other).__name__}.")
        check_is_fitted(other)
        self._check_unchanged()
        if self._learnt_as != other._learnt_as or not self._finder.same(other._finder):
            raise ValueError("The two have not found the same modes: fit one, copy it, and let both learn more.")
        return self._keep(self._gaussians.merge(other._gaussians))

    def transform(self, X):
        """Return the distance of each row to each mode.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        frame of shape (n_samples, n_modes)
            Of pandas, or polars where `X` is. Distances, unsquared, summed over the levels: ``mode0__dist2168``.
        """
        check_is_fitted(self)
        return frame(self._measure(X), self.get_feature_names_out(), like=X)

    def score_samples(self, X):
        """Return minus the distance to the nearest mode: higher is more normal.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return -self._measure(X).min(axis=1)

    def find_modes(self, X):
        """Return which mode each row is of: such are the ``categories`` of a threshold for each mode.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray of int of shape (n_samples,)
            By what products differ in most, as at the fit; an anomalous row may lie nearer to another one.
        """
        check_is_fitted(self)
        return self._finder.find(read_columns(self, X, reset=False)[0])

    def leave_one_out_scores(self, X, y=None):
        """Return the score of each training row by a mixture that has not seen it, in closed form.

        Parameters
        ----------
        X : array-like or frame of shape (`n_samples_seen_`, n_features)
            All rows that were learnt, in any order.
        y : array-like of shape (n_samples,), default=None
            As in `fit`: rows at -1 were not learnt, and get their plain score.

        Returns
        -------
        ndarray of shape (n_samples,)
            Higher is more normal.

        Raises
        ------
        ValueError
            If `X` has another number of rows, or a tied covariance is "diagonal" or "identity".
        """
        check_is_fitted(self)
        if not self._gaussians.leaves_out():
            raise ValueError(f"covariance={self.covariance!r}, tied, leaves no single rows out: refit without them.")
        return score_left_out(self, X, y, self._leave_one_out)

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold):
        """Fit on all rows, and score each by a mixture that has not seen it: what `FPRThresholdCV` asks for.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Normal rows.
        fold : array-like of int of shape (n_samples,)
            A number of its own for each row.

        Returns
        -------
        out_of_fold, in_sample : ndarray of shape (n_samples,)
            Scores. NotImplemented where several rows are to be left out together.
        """
        if not self.leaves_out_in_closed_form() or len(np.unique(fold)) < len(fold):
            return NotImplemented
        X = self._fit(X, None)
        return -self._leave_one_out(X), -self._gaussians.distances(X).min(axis=1)

    def leaves_out_in_closed_form(self):
        """Return whether `fit_score_out_of_fold` leaves single rows out without refits: `FPRThresholdCV` then does so.

        Returns
        -------
        bool
        """
        return not (self.tied and self.covariance in DIAGONAL_KINDS)

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
        return np.asarray([f"mode{at}__dist{self.n_features_in_}" for at in range(self.n_modes_)], dtype=object)

    @property
    def locations_(self):
        return self._gaussians.locations

    def _fit(self, X, y):
        """Fit, and return the normal rows."""
        self._check_parameters()
        X, groups = read_normal_rows(self, X, y, reset=True, at_least=2)
        self._groups = groups
        X = X.astype(np.float64, copy=False)
        finder = ModeFinder(X, groups, None if self.n_modes is None else int(self.n_modes), self.random_state)
        columns, blocks = groups, None
        if self.levels == "joint":
            warn_behind_npca(getattr(self, "feature_names_in_", None))
            columns, blocks = join_blocks(groups, X.shape[1])
        fitted = ModeGaussians.of_rows(
            X, finder.find(X), finder.n_modes, columns, self.covariance, bool(self.tied), blocks
        )
        fitted.estimate()
        self._finder, self._learnt_as = finder, (self.covariance, self.levels, bool(self.tied))
        self.n_modes_, self.log_likelihoods_ = finder.n_modes, finder.log_likelihoods
        self._keep(fitted)
        return X

    def _keep(self, fitted):
        self._gaussians = fitted
        self.mode_sizes_ = fitted.sizes
        self.n_samples_seen_ = int(fitted.sizes.sum())
        any_mode = fitted.shared if fitted.tied else fitted.modes[0]
        fpr, sizes = float(read_fpr(self.fpr)), np.array([len(location) for location in any_mode.locations])
        self.offset_ = -float(sum(any_mode.chi_quantiles(fpr)))
        in_full = self.covariance not in DIAGONAL_KINDS
        self._doubt = doubt_chi_square(fpr, sizes, self.n_samples_seen_, in_full=in_full)
        if len(fitted.modes) > 1:
            self._doubt = (
                f"The chi-square threshold will not hold fpr={fpr}: of several distances the least is taken. "
                "FPRThresholdCV sets one that does."
            )
        return self

    def _measure(self, X):
        X, _ = read_columns(self, X, reset=False)
        return self._gaussians.distances(X.astype(np.float64, copy=False))

    def _leave_one_out(self, X):
        X = X.astype(np.float64, copy=False)
        return self._gaussians.leave_one_out(X, self._finder.find(X)).min(axis=1)

    def _check_unchanged(self):
        self._check_parameters()
        if self._learnt_as != (self.covariance, self.levels, bool(self.tied)):
            raise ValueError(
                "covariance, levels or tied were changed since the fit, which learnt other moments: fit anew, or set "
                f"them back to {self._learnt_as}."
            )

    def _check_parameters(self):
        check_int("n_modes", self.n_modes, optional=True)
        check_levels(self.levels)
        check_bool("tied", self.tied)
        read_fpr(self.fpr)
        if self.covariance not in KINDS:
            raise ValueError(f"covariance must be one of {', '.join(map(repr, KINDS))}; got {self.covariance!r}.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # distances are float64
        return tags
