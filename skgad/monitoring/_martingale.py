"""Whether new images are exchangeable with those of the calibration: a conformal test martingale."""

import math
from bisect import bisect_left, bisect_right, insort

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._parameters import check_share
from .._conventions._transaction import all_or_nothing
from ._bets import count_experts, left_to_start, log_gains, starting_at

_MOST = 100_000  # scores that are remembered, of each category
_MOST_POINTS = 1000  # of the history


class ConformalTestMartingale(StampedEstimator):
    r"""Watch whether scores are still exchangeable with those of the calibration, with an alarm that may be trusted.

    Each new score is ranked among the calibration's *and all that came since*. If all of them are exchangeable, these
    ranks, as p-values, are independent and uniform. The martingale is the capital of somebody who bets against that, at
    fair odds: it grows if lamps age, batches change or a lens gets dirty, and hardly ever otherwise.

    Parameters
    ----------
    alpha : float in (0, 1), default=0.01
        The probability that a line which does not change ever raises an alarm, however long it is watched.
    run_length : int, default=None
        In place of `alpha`: how many images pass between false alarms, on average, at least. An alarm comes sooner
        after a change, and a false one comes for certain, sooner or later.
    defect_share : float in [0, 0.5), default=0.02
        Up to which share of the images single defects raise no alarm: nothing is bet on p-values up to it, or only
        against their coming twice as often. With 0, an alarm tells of them too.
    random_state : int, RandomState instance or None, default=None
        Ties are broken at random.

    Attributes
    ----------
    n_seen_ : int
        New scores so far.
    p_values_ : ndarray of shape (n_samples,)
        Those of the scores that came last.
    log_values_ : ndarray of shape (n_samples,)
        The logarithm of the martingale (with `run_length`, of the Shiryaev-Roberts statistic) after each of them.
    alarm_at_ : int or None
        The number of the score, from 0, at which the alarm was raised; None as long as there is none.
    change_at_ : int or None
        The number of the score at which the change most likely began, by those bets that gained most; None before the
        first score.

    See Also
    --------
    LineMonitor : Watches a line, and says what moved.

    Notes
    -----
    *What is guaranteed.* Let the calibration's scores and the new ones be exchangeable, as those of a detector that was
    fitted on other images are (``FPRThresholdCV(FrozenEstimator(detector))``). Then the martingale starts at 1 and its
    mean never grows, so that P(it ever reaches 1/alpha) <= alpha (Ville); with `run_length`, the mean number of images
    to the first alarm is `run_length` at least (Shin, Ramdas and Rinaldo). Out-of-fold and leave-one-out scores with a
    refit on all images are exchangeable with new ones nearly, so the guarantee is approximate; ``docs/monitoring.md``
    has what was measured. Up to `defect_share` of defects there is no theorem either, and measurements there too.

    *Why ranks among new scores, too.* Ranked among the calibration's alone, p-values share the luck of that draw: seven
    in a hundred images may lie below the fifth percentile of 200, for ever, and any martingale takes that for a change.

    *Memory.* 100,000 scores of each category are remembered. From then on, one of them and the new one, drawn at
    random, is dropped for each that comes: the p-values stay independent and uniform, and changes slower than that
    number of images are not seen.

    The bets are a mixture of ten densities (scores lower, higher, spread or crowded), of rates of the lowest p-values,
    and of both, each starting at every image.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2nd edition, 2022, chapter 8. Vovk, Petej,
    Nouretdinov, Ahlberg, Carlsson and Gammerman, "Retrain or not retrain: conformal test martingales for change-point
    detection", COPA 2021. Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change
    detection", New England Journal of Statistics in Data Science 2, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.monitoring import ConformalTestMartingale
    >>> rng = np.random.default_rng(0)
    >>> martingale = ConformalTestMartingale(random_state=0).fit(rng.normal(size=300))
    >>> martingale.observe(rng.normal(size=1000)).alarm_at_ is None
    True
    >>> martingale.observe(rng.normal(loc=-1, size=200)).alarm_at_
    1058
    """

    def __init__(self, *, alpha=0.01, run_length=None, defect_share=0.02, random_state=None):
        self.alpha = alpha
        self.run_length = run_length
        self.defect_share = defect_share
        self.random_state = random_state

    @all_or_nothing
    def fit(self, scores, y=None, *, categories=None):
        """Take the scores of the calibration, and begin anew.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Of normal images, by a detector that has not seen them: ``out_of_fold_scores_`` of `FPRThresholdCV`.
            Higher is more normal: defects are among the lowest.
        y : ignored
            Here for scikit-learn's convention.
        categories : array-like of shape (n_samples,), default=None
            What each image shows: a score is ranked among those of its category.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, or a score is not finite, or there is none.
        """
        self._check_parameters()
        scores = _read_scores(scores)
        if not len(scores):
            raise ValueError("There are no scores of the calibration.")
        random = np.random.RandomState(check_random_state(self.random_state).randint(2**31))
        pools = {}
        for category, rows in _by_category(len(scores), categories).items():
            some = scores[rows] if len(rows) <= _MOST else random.choice(scores[rows], _MOST, replace=False)
            pools[category] = sorted(some.tolist())
        n_experts = count_experts(self.defect_share)
        self._random, self._pools, self._has_categories = random, pools, categories is not None
        self._log_capital = np.full(n_experts, -np.inf)
        self._log_best, self._best_start = np.full(n_experts, -np.inf), np.zeros(n_experts, dtype=int)
        self._reference = (float(self.alpha), self.run_length, float(self.defect_share))
        self.n_seen_, self.alarm_at_, self.change_at_ = 0, None, None
        self._trace = np.empty((2, 0))
        self.p_values_, self.log_values_ = np.empty(0), np.empty(0)
        return self

    @all_or_nothing
    def observe(self, scores, *, categories=None):
        """Take new scores, in the order in which they came.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            As of the calibration.
        categories : array-like of shape (n_samples,), default=None
            As in `fit`; where that had them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a score is not finite, categories are missing or come first now, or one of them is new. Nothing is
            changed then.
        """
        check_is_fitted(self)
        scores = _read_scores(scores)
        if (categories is not None) != self._has_categories:
            raise ValueError(
                "categories came, and fit had none." if categories is not None else "fit had categories: give them."
            )
        names = np.full(len(scores), None) if categories is None else np.asarray(categories)
        _by_category(len(scores), categories)
        unknown = sorted(set(names.tolist()) - set(self._pools), key=str)
        if unknown:
            raise ValueError(f"category {unknown[0]!r} had no images in the calibration: calibrate with some of it.")
        self.p_values_ = np.array([self._rank(*one) for one in zip(scores.tolist(), names.tolist(), strict=True)])
        self.log_values_ = self._bet(self.p_values_)
        points = np.vstack([self.n_seen_ - len(scores) + 1 + np.arange(len(scores)), self.log_values_])
        self._trace = _thin(np.hstack([self._trace, points]))
        return self

    @property
    def log_threshold_(self):
        """The logarithm of the value at which the alarm is raised."""
        check_is_fitted(self)
        alpha, run_length, _ = self._reference
        return math.log(run_length) if run_length else -math.log(alpha)

    def history(self):
        """Return how the statistic went, at a thousand numbers at most.

        Returns
        -------
        DataFrame of shape (n_points, 2)
            ``n_seen``, how many scores had come, and ``log_value``, the largest logarithm since the point before.
        """
        check_is_fitted(self)
        return pd.DataFrame({"n_seen": self._trace[0].astype(int), "log_value": self._trace[1]})

    def get_state(self):
        """Return what was observed, as arrays of numbers and texts: for `set_state` of one that was fitted alike.

        Returns
        -------
        dict of str to ndarray
        """
        check_is_fitted(self)
        _, keys, position, _, _ = self._random.get_state()
        names = list(self._pools)
        state: dict = {f"pool{at}": np.array(self._pools[name]) for at, name in enumerate(names)}
        state |= {"names": np.array(names if self._has_categories else ["all"]), "keys": keys}
        state |= {"capital": self._log_capital, "best": self._log_best, "best_start": self._best_start}
        alarm, change = (-1 if one is None else one for one in (self.alarm_at_, self.change_at_))
        return state | {"trace": self._trace, "counts": np.array([self.n_seen_, alarm, change, position])}

    def set_state(self, state):
        """Go on from what another has observed, whose `get_state` this is.

        Parameters
        ----------
        state : dict of str to ndarray

        Returns
        -------
        self
        """
        check_is_fitted(self)
        names = state["names"].tolist() if self._has_categories else [None]
        self._pools = {name: state[f"pool{at}"].tolist() for at, name in enumerate(names)}
        self._trace = state["trace"]
        n_seen, alarm, change, position = state["counts"].tolist()
        self._random.set_state(("MT19937", state["keys"], position, 0, 0.0))
        self._log_capital, self._log_best, self._best_start = (state[key] for key in ("capital", "best", "best_start"))
        self.n_seen_, self.alarm_at_, self.change_at_ = n_seen, *(None if at < 0 else at for at in (alarm, change))
        self.p_values_, self.log_values_ = np.empty(0), np.empty(0)
        return self

    def _rank(self, score, category):
        """Return the smoothed p-value of a score among those before it, and let it join them."""
        pool = self._pools[category]
        below, up_to = bisect_left(pool, score), bisect_right(pool, score)
        p_value = (below + (1.0 - self._random.random_sample()) * (up_to - below + 1)) / (len(pool) + 1)
        insort(pool, score)
        if len(pool) > _MOST:
            del pool[self._random.randint(len(pool))]  # the new one as likely as any: p-values stay independent
        return p_value

    def _bet(self, p_values):
        """Return the logarithm of the statistic after each p-value."""
        _, run_length, defect_share = self._reference
        gains, capital = log_gains(p_values, defect_share), self._log_capital
        log_experts = math.log(len(capital))
        values, numbers = np.empty(len(p_values)), self.n_seen_ + np.arange(len(p_values))
        starts = np.zeros(len(numbers)) if run_length else np.log(starting_at(numbers))
        left = np.full(len(numbers), -np.inf) if run_length else np.log(left_to_start(numbers + 1))
        best, best_start = self._log_best, self._best_start
        for at, number in enumerate(numbers):
            capital = np.logaddexp(capital, starts[at]) + gains[at]
            begins = best <= starts[at]
            best = np.where(begins, starts[at], best) + gains[at]
            best_start = np.where(begins, number, best_start)
            values[at] = np.logaddexp(np.logaddexp.reduce(capital) - log_experts, left[at])
            if self.alarm_at_ is None and values[at] >= self.log_threshold_:
                self.alarm_at_ = int(number)
        self._log_capital, self._log_best, self._best_start = capital, best, best_start
        self.n_seen_ += len(numbers)
        if self.n_seen_:
            self.change_at_ = int(best_start[np.argmax(best)])
        return values

    def _check_parameters(self):
        check_share("alpha", self.alpha)
        if self.run_length is not None and not (isinstance(self.run_length, (int, np.integer)) and self.run_length > 1):
            raise ValueError(
                f"run_length must be a number of images, an int of at least 2, or None; got {self.run_length!r}."
            )
        if self.defect_share != 0:
            check_share("defect_share", self.defect_share)
        if self.defect_share >= 0.5:
            raise ValueError(
                f"defect_share must be below 0.5, beyond which defects are normal; got {self.defect_share!r}."
            )


def _thin(trace):
    """Return a thousand points at most: of two neighbours the later number, and the larger value."""
    while trace.shape[1] > _MOST_POINTS:
        pairs = trace[:, trace.shape[1] % 2 :].reshape(2, -1, 2)
        trace = np.hstack([trace[:, : trace.shape[1] % 2], pairs.max(axis=2)])
    return trace


def _read_scores(scores):
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"scores must be of shape (n_samples,); got {scores.shape}.")
    odd = np.flatnonzero(~np.isfinite(scores))
    if len(odd):
        raise ValueError(f"score {odd[0]} is {scores[odd[0]]}: leave out images that have none.")
    return scores


def _by_category(n_samples, categories):
    """Return the rows of each category; all of them under None where there are none."""
    if categories is None:
        return {None: np.arange(n_samples)}
    categories = np.asarray(categories)
    if categories.shape != (n_samples,):
        raise ValueError(f"categories must be one for each of the {n_samples} scores; got shape {categories.shape}.")
    return {name: np.flatnonzero(categories == name) for name in np.unique(categories).tolist()}
