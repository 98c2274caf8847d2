"""A detector for the cells of a grid, or for tiles, where defects are small: the one that deviates most decides."""

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._columns import read_columns, read_normal_rows
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._levels import frame, group_by_cell, split_name
from .._conventions._parameters import check_bool, check_share
from .._conventions._transaction import all_or_nothing
from ._mahalanobis import MahalanobisDetector

_FOLDS = 5  # of images whose cells are left out together, where no closed form leaves them out


class CellwiseDetector(ScoredOutlierMixin, MetaEstimatorMixin, StampedEstimator):
    r"""A Gaussian for each cell of a grid, or tile; the score of an image is that of the one that deviates most.

    A defect that fills one cell moves the features of that cell, and few of all others: where defects are small, a
    maximum over cells finds more of them than one Gaussian over all cells, and less where they are not.

    Parameters
    ----------
    detector : MahalanobisDetector, default=None
        Cloned for each cell, with the features of all levels there; None for ``MahalanobisDetector(levels="joint")``.
    shared : bool, default=False
        One Gaussian for all cells, which learns each cell of each image as a row: for surfaces that look alike
        everywhere, and photographs that are too few for a Gaussian a cell.
    top_share : float in (0, 1], default=None
        The score is that of the cell that deviates most; or the mean over this share of the cells, those that deviate
        most, one at least.

    Attributes
    ----------
    cells_ : list of str
        The cells found in the column names, such as "g3r0c2", or the tiles, "tr1c4".
    detectors_ : list of MahalanobisDetector
        For each cell the fitted clone; the same one where it is shared.
    center_, scale_ : ndarray of shape (n_cells,)
        Mean and standard deviation of the distances of the training rows in each cell, each row left out; of those of
        others, if shared and rows are few for many features, in five folds.
    offset_ : float
        The score of the training row that deviates most, left out. No rate is claimed for it: see `FPRThresholdCV`.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number of columns seen in ``fit``, and their names.

    See Also
    --------
    DeepFeatureTransformer : ``grid=3`` makes the cells, ``tiles=256`` tiles.
    skgad.spatial.SpatialMahalanobisDetector : Says where a defect is, location by location.

    Notes
    -----
    With :math:`M_c` the distance to the Gaussian of cell c, and its mean and deviation over the training rows, each
    measured by the Gaussian of the others, the score is :math:`-\max_c (M_c - m_c) / s_c`.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skgad import CellwiseDetector
    >>> names = [f"level1__g2r{row}c{column}__{i:04d}" for row in (0, 1) for column in (0, 1) for i in range(3)]
    >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 12)), columns=names)
    >>> detector = CellwiseDetector().fit(X)
    >>> detector.cells_
    ['g2r0c0', 'g2r0c1', 'g2r1c0', 'g2r1c1']
    >>> X.iloc[0, 3:6] += 9
    >>> detector.predict(X[:2])
    array([-1,  1])
    """

    def __init__(self, detector=None, *, shared=False, top_share=None):
        self.detector = detector
        self.shared = shared
        self.top_share = top_share

    @all_or_nothing
    def fit(self, X, y=None):
        """Fit a clone on each cell, and measure what is usual there.

        Parameters
        ----------
        X : frame of shape (n_samples, n_features)
            With columns named ``level7__g3r0c2__…``, as ``DeepFeatureTransformer(grid=3)`` makes them, or
            ``level7__tr1c4__…``, as ``tiles=256`` does.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the columns carry no cells, or, where the Gaussian is shared, cells of different features; `detector`
            leaves no rows out in closed form; there are fewer than three normal rows; the distances in a cell are all
            the same; or a parameter is out of range.
        """
        detector = MahalanobisDetector(levels="joint") if self.detector is None else self.detector
        if not hasattr(detector, "leaves_out_in_closed_form") or not detector.leaves_out_in_closed_form():
            raise ValueError(
                f"detector must be a MahalanobisDetector whose covariance is named by a word; got {detector!r}."
            )
        check_bool("shared", self.shared)
        if self.top_share is not None:
            check_share("top_share", self.top_share, closed=True)
        X, _ = read_normal_rows(self, X, y, reset=True, at_least=3)
        self._groups = group_by_cell(getattr(self, "feature_names_in_", None))
        if not self._groups:
            raise ValueError(
                "CellwiseDetector takes columns such as 'level7__g3r0c2__0013': a frame of "
                "DeepFeatureTransformer(grid=3), or of tiles=256."
            )
        self.cells_ = list(self._groups)
        self._top_share, self._is_shared = self.top_share, self.shared
        distances = self._fit_shared(X, detector) if self.shared else self._fit_each(X, detector)
        self.center_, self.scale_ = distances.mean(axis=0), distances.std(axis=0)
        self._check_scales()
        self.offset_ = float(self._aggregate(distances).min())
        return self

    def score_samples(self, X):
        """Return minus the largest standardised distance of any cell: higher is more normal.

        Parameters
        ----------
        X : frame of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        X, _ = read_columns(self, X, reset=False)
        scores = [one.score_samples(part) for one, part in zip(self.detectors_, self._split(X), strict=True)]
        return self._aggregate(-np.column_stack(scores))

    def _fit_each(self, X, detector):
        """Fit a clone on each cell, and return the distances of the rows, each left out, (n_samples, n_cells)."""
        self.detectors_ = [clone(detector) for _ in self.cells_]
        fold = np.arange(len(X))
        scores = [
            one.fit_score_out_of_fold(part, fold)[0] for one, part in zip(self.detectors_, self._split(X), strict=True)
        ]
        return -np.column_stack(scores)

    def _fit_shared(self, X, detector):
        """Fit one clone on the cells of all rows, and return their distances, each row's cells left out together."""
        parts = list(self._split(X))
        rows = frame(np.concatenate([part.to_numpy() for part in parts]), parts[0].columns)
        number = np.tile(np.arange(len(X)), len(parts))
        self.detectors_ = [clone(detector)] * len(self.cells_)
        found = self.detectors_[0].fit_score_out_of_fold(rows, number)
        if found is NotImplemented:
            scores = np.empty(len(rows))
            for fold in range(min(_FOLDS, len(X))):
                unseen = number % _FOLDS == fold
                scores[unseen] = clone(detector).fit(rows[~unseen]).score_samples(rows[unseen])
            self.detectors_[0].fit(rows)
        else:
            scores = found[0]
        return -scores.reshape(len(parts), len(X)).T

    def _split(self, X):
        """Yield the columns of each cell, under their names, which say the levels; under the first one's if shared."""
        names = [self.feature_names_in_[columns] for columns in self._groups.values()]
        if self._is_shared:
            forms = [_drop_cell(each) for each in names]
            if any(form != forms[0] for form in forms):
                raise ValueError(
                    "shared=True takes cells of the same features: one grid, such as grid=3, or tiles; not (1, 2)."
                )
            names = names[:1] * len(names)
        for columns, each in zip(self._groups.values(), names, strict=True):
            yield frame(X[:, columns], each)

    def _aggregate(self, distances):
        deviations = (distances - self.center_) / self.scale_
        if self._top_share is None:
            return -deviations.max(axis=1)
        count = max(1, round(float(self._top_share) * deviations.shape[1]))
        return -np.partition(deviations, -count, axis=1)[:, -count:].mean(axis=1)

    def _check_scales(self):
        flat = ~(np.isfinite(self.scale_) & (self.scale_ > 1e-12 * np.abs(self.center_)))
        if flat.any():
            raise ValueError(
                f"The distances in cell {self.cells_[int(np.argmax(flat))]} are all the same, or not finite: there is "
                "nothing to measure others by. Give more, and more different, images."
            )


def _drop_cell(names):
    """Return the names of a cell's columns without those of the cell, or of the tile."""
    parts = [split_name(name) for name in names]
    return [(level, cell[cell.find("g") :] if "g" in cell[1:] else "", rest) for level, cell, rest in parts]
