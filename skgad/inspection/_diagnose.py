"""What a training set is worth: how many images it amounts to, and which of them repeat, or outweigh, others."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from .._conventions._levels import group_columns, name_part
from .._conventions._normals import read_normals
from .._gaussian._shrinkage import ledoit_wolf_intensity

_ALIKE = 0.1  # of the squared distance to the nearest tenth of all images: that much of what differs elsewhere
_OUTWEIGHS = 10.0  # times the mean of squared deviations
_NOISE = 0.9  # shrinkage intensity: the covariance is hardly told from that of noise
_MOST_NAMED = 8
_BLOCK = 512  # rows whose distances are held at a time


@dataclass(eq=False)
class Diagnosis:
    """What `diagnose` has found; ``print`` it for plain words.

    Parameters
    ----------
    n_samples : int
        Normal images.
    effective_number : float
        How many images that repeat no other they amount to: the sum of 1 over the number that each is alike to, itself
        included.
    levels : DataFrame of shape (n_levels, 5)
        ``level``; ``n_features``; ``n_constant``, those that do not vary; ``shrinkage``, Ledoit and Wolf's intensity;
        ``effective_number``, how many Gaussian images would tell the covariance as well, fewer for heavy tails.
    repeats : list of ndarray of int
        The positions of images that are nearly the same, the largest group first.
    dominating : DataFrame of shape (n_found, 3)
        ``image``, ``level``, and ``share`` of the level's variance that it alone makes up.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.inspection import diagnose
    >>> print(diagnose(np.random.default_rng(0).normal(size=(100, 20))))
    100 images: none repeats or outweighs others, and every level tells something.
    """

    n_samples: int
    effective_number: float
    levels: pd.DataFrame
    repeats: list = field(default_factory=list)
    dominating: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def sentences(self):
        """The findings, a sentence each; a single one if there is nothing to say."""
        found = [*self._say_repeats(), *self._say_dominating(), *self._say_levels()]
        return found or [f"{self.n_samples} images: none repeats or outweighs others, and every level tells something."]

    def __str__(self):
        return "\n".join(self.sentences)

    def _say_repeats(self):
        if not self.repeats:
            return
        count = sum(len(group) for group in self.repeats)
        largest = _list(self.repeats[0])
        groups = f"{len(self.repeats)} group{'' if len(self.repeats) == 1 else 's'}"
        yield (
            f"{count} of {self.n_samples} images are nearly the same as another, in {groups} (the largest: images "
            f"{largest}). All of them amount to about {self.effective_number:.0f} images. Photographs of one part "
            "are a group: give groups= to the threshold, or take one of each."
        )

    def _say_dominating(self):
        if not len(self.dominating):
            return
        first = self.dominating.iloc[0]
        images = self.dominating["image"].unique()
        subject = f"Image {images[0]} outweighs" if len(images) == 1 else f"Images {_list(images)} outweigh"
        yield (
            f"{subject} others: image {first['image']} makes up {100 * first['share']:.0f} % of the variance of "
            f"{_name(first['level'])}. Look at them: are they normal?"
        )

    def _say_levels(self):
        empty = self.levels[self.levels["n_constant"] == self.levels["n_features"]]
        for level in empty["level"]:
            yield f"{_capital(_name(level))} tells nothing: its features are the same for all images. Leave it out."
        part = self.levels[(self.levels["n_constant"] > 0) & ~self.levels.index.isin(empty.index)]
        if len(part):
            names = ", ".join(
                f"{row.n_constant} of {row.n_features} of {_name(row.level)}" for row in part.itertuples()
            )
            yield f"Features that are the same for all images: {names}."
        noisy = self.levels[self.levels["shrinkage"] > _NOISE]
        if len(noisy):
            names = ", ".join(_name(level) for level in noisy["level"])
            yield (
                f"The covariance of {names} can hardly be told from noise (shrinkage above {_NOISE}): more images "
                "would help."
            )
        heavy = self.levels[self.levels["effective_number"] < self.n_samples / 4]
        if len(heavy):
            worst = heavy.loc[heavy["effective_number"].idxmin()]
            yield (
                f"Heavy tails in {len(heavy)} of {len(self.levels)} levels: for the covariance of "
                f"{_name(worst['level'])} the images count as {worst['effective_number']:.0f} Gaussian ones. Several "
                "products, or images that are not normal, do that."
            )


def diagnose(X, y=None):
    r"""Say what a training set is worth, before or after a fit: repeats, images that outweigh others, heavy tails.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features)
        Features of the normal images; ``line[-1].learnt_rows()`` are those of a fitted line.
    y : array-like of shape (n_samples,), default=None
        Labels, if all are +1 (normal) or -1 (anomalous): rows at -1 are left out. Ignored otherwise.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        If there are fewer than three normal rows, or `X` is no table of finite numbers.

    Notes
    -----
    Distances are Euclidean, each level brought to the same total variance. Two images are nearly the same if the square
    of theirs is below a tenth of that to the nearest tenth of all images, of both: in products that differ much, it is
    told within the product. With the squared deviations t of the rows of a level from their mean, of covariance S,

    .. math:: n \, \frac{(\mathrm{tr} S)^2 + \lVert S \rVert^2}{\overline{t^2} - \lVert S \rVert^2}

    is n for Gaussian rows: what the numerator of Ledoit and Wolf's intensity is for those, over what it is for these.

    References
    ----------
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
    Analysis 88, 2004. Leinster and Cobbold, "Measuring diversity: the importance of species similarity", Ecology 93,
    2012 (an effective number).

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.inspection import diagnose
    >>> X = np.random.default_rng(0).normal(size=(100, 20))
    >>> X[40:44] = X[40] + 0.01 * X[40:44]
    >>> X[7] *= 5
    >>> found = diagnose(X)
    >>> [group.tolist() for group in found.repeats], round(found.effective_number)
    ([[40, 41, 42, 43]], 97)
    >>> print(found.sentences[1])
    Image 7 outweighs others: image 7 makes up 17 % of the variance of all features. Look at them: are they normal?
    """
    normals = read_normals(X, y)
    names = getattr(normals.X, "columns", None)
    values = np.asarray(normals.X, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError("X must be a table of finite numbers, (n_samples, n_features).")
    if len(values) < 3:
        raise ValueError(f"It takes three normal images at least; got n_samples = {len(values)}.")
    columns = group_columns(None if names is None else list(names), values.shape[1])
    centred = values - values.mean(axis=0)
    levels, shares = zip(*(_describe_level(name, centred[:, at]) for name, at in columns.items()), strict=True)
    for at in columns.values():
        total = np.sqrt(np.square(centred[:, at]).sum() / len(centred))
        centred[:, at] /= total if total > 0 else 1.0
    groups, effective = _find_repeats(centred)
    heavy = np.argwhere(np.array(shares) * len(values) > _OUTWEIGHS)
    dominating = pd.DataFrame(
        [(int(normals.rows[row]), list(columns)[level], shares[level][row]) for level, row in heavy],
        columns=["image", "level", "share"],
    )
    return Diagnosis(
        len(values),
        effective,
        pd.DataFrame(levels, columns=["level", "n_features", "n_constant", "shrinkage", "effective_number"]),
        [normals.rows[group] for group in groups],
        dominating.sort_values("share", ascending=False, kind="stable", ignore_index=True),
    )


def _describe_level(name, rows):
    """Return a level's line of the table, and each row's share of its variance."""
    n_samples, n_features = rows.shape
    squares = np.square(rows).sum(axis=1)
    spread = np.square(rows).mean(axis=0)
    constant = int((spread <= 1e-20 * max(spread.max(), np.finfo(float).tiny)).sum())
    if squares.sum() == 0:
        return (name, n_features, n_features, np.nan, np.nan), np.zeros(n_samples)
    gram = rows @ rows.T if n_samples < n_features else rows.T @ rows
    trace, norm = squares.mean(), np.vdot(gram, gram) / n_samples**2
    fourth = np.square(squares).sum()
    shrinkage = float(ledoit_wolf_intensity(n_samples, n_features, trace, norm, fourth))
    effective = n_samples * (trace**2 + norm) / max(fourth / n_samples - norm, np.finfo(float).tiny)
    return (name, n_features, constant, shrinkage, min(float(effective), float(n_samples))), squares / squares.sum()


def _find_repeats(rows):
    """Return the groups of rows that are nearly the same, and the number that all of them amount to."""
    n_samples = len(rows)
    parts = [slice(at, at + _BLOCK) for at in range(0, n_samples, _BLOCK)]
    near = np.concatenate([np.quantile(cdist(rows[part], rows, "sqeuclidean"), 0.1, axis=1) for part in parts])
    pairs = []
    for part in parts:
        distances = cdist(rows[part], rows, "sqeuclidean")
        alike = distances <= _ALIKE * np.sqrt(np.outer(near[part], near))
        first, second = np.nonzero(alike)
        pairs.append(np.column_stack([first + part.start, second]))
    first, second = np.concatenate(pairs).T
    counts = np.bincount(first, minlength=n_samples)  # itself included
    effective = float((1.0 / np.maximum(counts, 1)).sum())
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(n_samples, n_samples))
    labels = connected_components(graph, directed=False)[1]
    sizes = np.bincount(labels)
    groups = [np.flatnonzero(labels == label) for label in np.flatnonzero(sizes > 1)]
    return sorted(groups, key=lambda group: (-len(group), group[0])), effective


def _list(images):
    return ", ".join(map(str, images[:_MOST_NAMED])) + (", ..." if len(images) > _MOST_NAMED else "")


def _name(level):
    return name_part(level, "")


def _capital(text):
    return text[:1].upper() + text[1:]
