"""Working points: the distance beyond which an image is called anomalous.

`FPRThreshold` takes it from the chi-square law, as the paper does. It aims at a false-positive rate: the share of
normal images that are called anomalous. `FPRThresholdCV`, next door, reaches it.
"""

import re

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from .._conventions._base import StampedEstimator
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._labels import normal_rows
from .._conventions._masked import refuse_masked
from .._conventions._parameters import read_fpr
from .._conventions._transaction import all_or_nothing
from .._conventions._warnings import warn
from .._gaussian._laws import chi_quantile, doubt_chi_square
from ..exceptions import WorkingPointWarning

_CHI_COLUMN = re.compile(r"(?:^|__)(npca_)?chi(\d+)$")


class FPRThreshold(ScoredOutlierMixin, StampedEstimator):
    """The paper's working point: a threshold on distances from the chi-square law, as the last step of a pipeline.

    The threshold is ``sqrt(chi2.ppf(1 - fpr, D))`` (equation 8), summed over the levels. Nothing is learnt from the
    distances; `fit` reads the degrees of freedom from the column names and warns where the law cannot hold.

    Parameters
    ----------
    fpr : float in (0, 1), default=0.01
        The false-positive rate aimed at. The paper's "n sigma" is ``sigma_to_fpr(n)``.
    dof : int or array-like of int of shape (n_levels,), default=None
        Degrees of freedom of each column. None reads them from column names of the form ``level7__chi112``, which
        `MahalanobisDetector` makes.

    Attributes
    ----------
    offset_ : float
        Minus the threshold: ``decision_function = score_samples - offset_``.
    dof_ : ndarray of int of shape (n_levels,)
        The degrees of freedom of each column.
    n_features_in_ : int
        Number of columns, that is levels, seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where all are strings.

    Warns
    -----
    WorkingPointWarning
        In `fit`: with several levels (a sum of quantiles is no quantile of a sum), behind `NPCA` (which chose its
        directions on the same images), and with too few images: when Hotelling's law, exact for Gaussian data and the
        empirical covariance, puts the rate above twice the target.

    See Also
    --------
    FPRThresholdCV : The working point that holds; use it unless you want the paper's.
    sigma_to_fpr : The targets of the paper's Table IV.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, section III-B, equations 7 and 8, and Table IV.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgad import FPRThreshold, MahalanobisDetector
    >>> X = np.random.default_rng(0).normal(size=(2000, 2))
    >>> pipe = make_pipeline(MahalanobisDetector(), FPRThreshold(fpr=0.05)).fit(X)
    >>> round(float((pipe.predict(X) == -1).mean()), 2)
    0.05
    """

    def __init__(self, fpr=0.01, *, dof=None):
        self.fpr = fpr
        self.dof = dof

    @all_or_nothing
    def fit(self, X, y=None):
        """Set the threshold.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_levels)
            Distances, unsquared: what ``MahalanobisDetector().transform`` gives.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): only rows at +1 count as images that the Gaussian was
            fitted on. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `fpr` is not in (0, 1), a distance is negative, or the degrees of freedom are neither in the column
            names nor in `dof`.
        """
        fpr = float(read_fpr(self.fpr))
        distances = self._validate_distances(X, reset=True)
        rows = normal_rows(y, len(distances))
        n_normals = len(distances) if rows is None else len(rows)
        dof, behind_npca = self._find_dof()
        quantiles = chi_quantile(fpr, dof)
        self.dof_ = dof
        self.offset_ = -float(quantiles.sum())
        doubt = doubt_chi_square(fpr, dof, n_normals, behind_npca=behind_npca)
        if doubt:
            warn(doubt, WorkingPointWarning)
        return self

    def score_samples(self, X):
        """Return minus the sum of each row's distances: higher is more normal.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_levels)
            Distances.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return -self._validate_distances(X, reset=False).sum(axis=1)

    def _validate_distances(self, X, reset):
        refuse_masked("X", X)
        distances = validate_data(self, X, dtype=np.float64, reset=reset)
        if distances.min() < 0:
            row = int(np.argmax((distances < 0).any(axis=1)))
            raise ValueError(
                f"Negative values in data: row {row}. X must hold distances, as MahalanobisDetector().transform gives "
                "them; scores have the other sign."
            )
        return distances

    def _find_dof(self):
        """Return the degrees of freedom of each column, and whether NPCA stands before any of them."""
        n_levels = self.n_features_in_
        names = getattr(self, "feature_names_in_", np.full(n_levels, ""))
        matches = [_CHI_COLUMN.search(name) for name in names]
        claims = [match for match in matches if match is not None]
        behind_npca = any(match[1] for match in claims)
        if self.dof is not None:
            return _broadcast_dof(self.dof, n_levels), behind_npca
        if len(claims) < n_levels:
            odd = matches.index(None)
            what = f"column {names[odd]!r}" if names[odd] else "a column without a name"
            raise ValueError(
                f"The degrees of freedom of {what} are unknown. Pass MahalanobisDetector's frame, with columns such as "
                "'level7__chi112', or give dof=. (A distance under covariance='diagonal' or 'identity' has none.)"
            )
        return np.array([int(match[2]) for match in claims]), behind_npca

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def _broadcast_dof(dof, n_levels):
    values = np.asarray(dof)
    if values.ndim > 1 or values.dtype.kind not in "iu" or values.size not in (1, n_levels) or values.min() < 1:
        raise ValueError(f"dof must be a positive int, or one for each of the {n_levels} columns; got {dof!r}.")
    return np.broadcast_to(values, n_levels).copy()
