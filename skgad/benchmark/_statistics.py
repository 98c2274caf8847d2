"""From distances to figures: AUROC by fold, means over folds and categories, working points, intervals over images."""

import numpy as np
import pandas as pd
from scipy.stats import sem
from sklearn.metrics import roc_auc_score

from .._gaussian._laws import chi_quantile, sigma_to_fpr

PLACE = ["backbone", "method", "level"]
TIE = 0.05  # points: a difference that the tables would round to none
_SHARE = 0.95  # of the intervals


def measure_aurocs(cells):
    """Return the AUROC of every fold, category, method and level.

    Parameters
    ----------
    cells : list of Cell

    Returns
    -------
    DataFrame
        With the columns backbone, category, fold, method, level, n_features and value, in percent.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.benchmark import Cell, Result, measure_aurocs
    >>> distances = np.array([[1.0, 2.0, 3.0, 2.5]])
    >>> result = Result(["mahalanobis"], ["7"], np.array([2]), distances, 0.0, 0.0)
    >>> cell = Cell("net", "cloth", 0, "gaussians", np.array([1, 1, -1, -1]), result)
    >>> measure_aurocs([cell])[["category", "level", "value"]].to_numpy().tolist()
    [['cloth', '7', 100.0]]
    """
    return pd.DataFrame(
        [
            (*place, n_features, 100 * roc_auc_score(cell.y_test == -1, distances))
            for cell in cells
            for place, n_features, distances in _read_rows(cell)
        ],
        columns=["backbone", "category", "fold", "method", "level", "n_features", "value"],
    )


def measure_working_points(cells, *, level="7", sigmas=(1, 2, 3, 4, 5)):
    """Return the rates that the chi-square threshold reaches on the test images, of every fold and category.

    Parameters
    ----------
    cells : list of Cell
    level : str, default="7"
    sigmas : sequence of int
        Multiples of a standard deviation; ``sigma_to_fpr`` makes the target of each.

    Returns
    -------
    DataFrame
        Like that of `measure_aurocs`, for the given level; ``level`` is "1 sigma fpr", "1 sigma tpr", ..., "auroc".

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.benchmark import Cell, Result, measure_working_points
    >>> distances = np.array([[1.0, 2.0, 3.0, 2.5]])
    >>> result = Result(["mahalanobis"], ["7"], np.array([2]), distances, 0.0, 0.0)
    >>> cell = Cell("net", "cloth", 0, "gaussians", np.array([1, 1, -1, -1]), result)
    >>> measure_working_points([cell], sigmas=[1])[["level", "value"]].to_numpy().tolist()
    [['1 sigma fpr', 50.0], ['1 sigma tpr', 100.0], ['auroc', 100.0]]
    """
    rows = []
    for cell in cells:
        for place, n_features, distances in _read_rows(cell):
            if place[-1] != level:
                continue
            figures = {}
            for n in sigmas:
                alarms = distances > chi_quantile(sigma_to_fpr(n), n_features)
                figures[f"{n} sigma fpr"] = alarms[cell.y_test == 1].mean()
                figures[f"{n} sigma tpr"] = alarms[cell.y_test == -1].mean()
            figures["auroc"] = roc_auc_score(cell.y_test == -1, distances)
            rows += [(*place[:-1], name, n_features, 100 * value) for name, value in figures.items()]
    return pd.DataFrame(rows, columns=["backbone", "category", "fold", "method", "level", "n_features", "value"])


def average_folds(figures):
    """Return the mean over the folds of each category.

    Parameters
    ----------
    figures : DataFrame
        Of `measure_aurocs` or `measure_working_points`.

    Returns
    -------
    DataFrame
        With the columns backbone, category, method, level, value and n_features.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.benchmark import Cell, Result, average_folds, measure_aurocs
    >>> distances = np.array([[1.0, 2.0, 3.0, 2.5]])
    >>> result = Result(["mahalanobis"], ["7"], np.array([2]), distances, 0.0, 0.0)
    >>> cell = Cell("net", "cloth", 0, "gaussians", np.array([1, 1, -1, -1]), result)
    >>> average_folds(measure_aurocs([cell, cell._replace(fold=1)])).shape
    (1, 6)
    """
    by = ["backbone", "category", "method", "level"]
    return figures.groupby(by, sort=False, as_index=False)[["value", "n_features"]].mean()


def average_categories(figures):
    """Return mean and standard error over the categories, each of them a mean over its folds.

    Parameters
    ----------
    figures : DataFrame
        Of `measure_aurocs` or `measure_working_points`.

    Returns
    -------
    DataFrame
        With the columns backbone, method, level, mean, sem (``ddof=1``; NaN for one category), n_categories and
        n_features (a mean).

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.benchmark import Cell, Result, average_categories, measure_aurocs
    >>> distances = np.array([[1.0, 2.0, 3.0, 2.5]])
    >>> result = Result(["mahalanobis"], ["7"], np.array([2]), distances, 0.0, 0.0)
    >>> cell = Cell("net", "cloth", 0, "gaussians", np.array([1, 1, -1, -1]), result)
    >>> figures = measure_aurocs([cell, cell._replace(category="wood", y_test=np.array([1, -1, 1, -1]))])
    >>> average_categories(figures)[["mean", "sem", "n_categories"]].to_numpy().tolist()
    [[75.0, 25.0, 2.0]]
    """
    rows = []
    for place, group in average_folds(figures).groupby(PLACE, sort=False):
        values = group["value"].to_numpy()
        error = sem(values, ddof=1) if len(values) > 1 else np.nan
        rows.append((*place, values.mean(), error, len(values), group["n_features"].mean()))
    return pd.DataFrame(rows, columns=[*PLACE, "mean", "sem", "n_categories", "n_features"])


class Bootstrap:
    """Fold-mean AUROCs under draws of the test images, the same draws for every method: what differences rest on.

    Normal and anomalous images of each category are drawn with replacement apart (stratified). Categories stay as they
    are: an interval tells what other photographs of the same categories would give, not what other categories would.

    Parameters
    ----------
    cells : list of Cell
    n_draws : int, default=2000
    random_state : int, default=0

    Attributes
    ----------
    categories : list of str
    values : dict of (backbone, method, level) to ndarray of shape (n_categories, 1 + n_draws)
        In percent; the first column is of the images as they are. Only what all categories have.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.benchmark import Bootstrap, Cell, Result
    >>> distances = np.array([[1.0, 2.0, 3.0, 2.5]])
    >>> result = Result(["mahalanobis"], ["7"], np.array([2]), distances, 0.0, 0.0)
    >>> cell = Cell("net", "cloth", 0, "gaussians", np.array([1, 1, -1, -1]), result)
    >>> Bootstrap([cell], n_draws=100).mean(("net", "mahalanobis", "7"))
    (100.0, 100.0, 100.0)
    """

    def __init__(self, cells, n_draws=2000, random_state=0):
        self.categories = list(dict.fromkeys(cell.category for cell in cells))
        drawn: dict[tuple, list] = {}
        for index, category in enumerate(self.categories):
            inside = [cell for cell in cells if cell.category == category]
            draws = _draw(inside[0].y_test, n_draws, np.random.default_rng([random_state, index]))
            for place, won in _compare_pairs(inside).items():
                drawn.setdefault(place, []).append(100 * _average_pairs(won, *draws))
        self.values = {place: np.array(rows) for place, rows in drawn.items() if len(rows) == len(self.categories)}

    def mean(self, place):
        """Return the mean over categories and its interval.

        Parameters
        ----------
        place : tuple of (backbone, method, level)

        Returns
        -------
        tuple of (mean, low, high)
        """
        return _with_interval(self.values[place])

    def difference(self, place, other):
        """Return the mean paired difference of two places and its interval, and the differences by category.

        Parameters
        ----------
        place, other : tuple of (backbone, method, level)

        Returns
        -------
        tuple of (mean, low, high, dict of category to difference)
        """
        values = self.values[place] - self.values[other]
        return *_with_interval(values), dict(zip(self.categories, values[:, 0], strict=True))


def _with_interval(values):
    means = values.mean(axis=0)
    low, high = np.quantile(means[1:], [(1 - _SHARE) / 2, (1 + _SHARE) / 2])
    return float(means[0]), float(low), float(high)


def _draw(y, n_draws, rng):
    """Return how often each normal and each anomalous image is drawn, as shares; the first row is each once."""
    shares = []
    for n_images in ((y == 1).sum(), (y == -1).sum()):
        drawn = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=n_draws)
        shares.append(np.vstack([np.ones(n_images), drawn]) / n_images)
    return shares


def _compare_pairs(cells):
    """Return for each place which anomalous images lie beyond which normal ones, a mean over the folds.

    Ties count half. The AUROC of any weighting of the images is linear in it: shape (n_normal, n_anomalous).
    """
    sums: dict[tuple, np.ndarray] = {}
    counts: dict[tuple, int] = {}
    for cell in cells:
        normal, anomalous = cell.y_test == 1, cell.y_test == -1
        for (backbone, _, _, method, level), _, distances in _read_rows(cell):
            low, high = distances[normal][:, np.newaxis], distances[anomalous]
            won = (high > low) + 0.5 * (high == low)
            place = (backbone, method, level)
            sums[place] = sums.get(place, 0.0) + won
            counts[place] = counts.get(place, 0) + 1
    return {place: sums[place] / counts[place] for place in sums}


def _average_pairs(won, normal, anomalous):
    return np.einsum("ij,ij->i", normal @ won, anomalous)


def _read_rows(cell):
    """Yield (backbone, category, fold, method, level), number of features and distances of each row of a cell."""
    result = cell.result
    for method, level, n_features, distances in zip(
        result.methods, result.levels, result.n_features, result.distances, strict=True
    ):
        yield (cell.backbone, cell.category, cell.fold, method, level), int(n_features), distances
