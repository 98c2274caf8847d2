"""How many modes there are, and which rows are of which: a mixture of scikit-learn's on the leading directions."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold

FEWEST = 5  # rows of a mode: a mean of fewer says little
_MOST_MODES = 8  # that are tried
_MOST_DIRECTIONS = 20
_ROWS_A_DIRECTION = 10
_STARTS = 3
_FOLDS = 5


class ModeFinder:
    """The mode of a row, by its leading principal components over all levels, each brought to the same variance.

    What products, cameras or shifts differ in is among the directions of most variance; anomalies are not, and the
    Gaussians behind this look elsewhere as well.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    columns : dict of str to (slice or ndarray of int)
        Of each level.
    n_modes : int or None
        None for as many as rows that a mixture has not seen are most likely under: the fewest within one standard error
        of the best.
    random_state : int, RandomState instance or None

    Attributes
    ----------
    n_modes : int
    log_likelihoods : ndarray of shape (n_tried,) or None
        Mean of rows out of fold, for one mode, two, and so on; None where the number was given.

    Raises
    ------
    ValueError
        If a mode has too few rows.
    """

    def __init__(self, X, columns, n_modes, random_state):
        self._scales = np.ones(X.shape[1])
        for level in columns.values():
            self._scales[level] = np.sqrt(max(X[:, level].var(axis=0).sum(), np.finfo(float).tiny))
        n_directions = max(1, min(_MOST_DIRECTIONS, len(X) // _ROWS_A_DIRECTION, X.shape[1]))
        self._pca = PCA(n_directions, svd_solver="full").fit(X / self._scales)
        rows = self._embed(X)
        self.log_likelihoods = None
        if n_modes is None:
            n_modes, self.log_likelihoods = _choose(rows, random_state)
        self.n_modes = n_modes
        self._mixture = _mixture(n_modes, random_state).fit(rows)
        sizes = np.bincount(self._mixture.predict(rows), minlength=n_modes)
        if sizes.min() < FEWEST:
            few = int(np.argmin(sizes))
            raise ValueError(
                f"mode {few} of {n_modes} has {sizes[few]} of {len(X)} images, and a mode takes {FEWEST} at least: "
                "take fewer modes, or give more of its images. Are these images normal?"
            )

    def find(self, X):
        """Return the number of the mode of each row."""
        return self._mixture.predict(self._embed(X))

    def same(self, other):
        """Return whether another finds the same modes."""
        return self.n_modes == other.n_modes and np.array_equal(self._mixture.means_, other._mixture.means_)

    def _embed(self, X):
        return self._pca.transform(X / self._scales)


def _mixture(n_modes, random_state):
    return GaussianMixture(n_modes, covariance_type="tied", n_init=_STARTS, random_state=random_state)


def _choose(rows, random_state):
    """Return the number of modes, and the log-likelihood out of fold of each number that was tried."""
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    tried = []
    for n_modes in range(1, min(_MOST_MODES, len(rows) // (2 * FEWEST)) + 1):
        values = np.empty(len(rows))
        fewest = len(rows)
        for train, test in folds.split(rows):
            mixture = _mixture(n_modes, random_state).fit(rows[train])
            values[test] = mixture.score_samples(rows[test])
            fewest = min(fewest, np.bincount(mixture.predict(rows[train]), minlength=n_modes).min())
        if fewest < FEWEST // 2 and n_modes > 1:
            break  # more modes have fewer images still
        tried.append(values)
    likelihoods = np.array([values.mean() for values in tried])
    best = int(np.argmax(likelihoods))
    for number, values in enumerate(tried):
        gain = tried[best] - values
        if number == best or gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
            return number + 1, likelihoods
    return best + 1, likelihoods
