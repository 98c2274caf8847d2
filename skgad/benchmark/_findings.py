"""Whether it is here as the paper found it: its claims as paired differences over the categories."""

from itertools import pairwise

import pandas as pd

from ._markdown import signed_interval, table
from ._methods import SUM
from ._protocol import COMPRESSIONS, GAUSSIANS
from ._statistics import TIE, Bootstrap
from ._tables import Table, short

_FULL = "Mahalanobis"
_DEEP = 8  # the level from which on the paper's AUROC declines


def build_findings(cells, n_draws=2000):
    """Return the differences that the paper's findings are about, with intervals, and the categories that disagree.

    Parameters
    ----------
    cells : list of Cell
        Of the families "gaussians" and, where there are some, "compressions".
    n_draws : int, default=2000
        Of the bootstrap.

    Returns
    -------
    Table
        ``categories`` holds each difference by category; ``folds`` is empty.
    """
    own = [cell for cell in cells if cell.family in (GAUSSIANS, COMPRESSIONS)]
    bootstrap = Bootstrap(own, n_draws)
    rows, by_category = [], []
    for claim, sign, place, other in _list_contrasts(bootstrap.values):
        mean, low, high, values = bootstrap.difference(place, other)
        against = {name: value for name, value in values.items() if (sign or mean) * value < 0 and abs(value) >= TIE}
        listed = ", ".join(f"{name} {value:+.1f}" for name, value in against.items())
        rows.append((claim, _describe(place), _describe(other), mean, low, high, listed))
        by_category += [(claim, _describe(place), _describe(other), *pair) for pair in values.items()]
    summary = pd.DataFrame(rows, columns=["claim", "this", "less", "difference", "low", "high", "exceptions"])
    categories = pd.DataFrame(by_category, columns=["claim", "this", "less", "category", "difference"])
    blocks = [
        (
            claim,
            table(
                ["This", "less this", "AUROC [95 %]", "Against it"],
                [_format(row) for row in group.itertuples()],
                n_texts=2,
            ),
        )
        for claim, group in summary.groupby("claim", sort=False)
    ]
    title = "The paper's findings, as mean paired differences of AUROC in points"
    return Table("findings", title, blocks, summary, categories, pd.DataFrame())


def _list_contrasts(places):
    """Yield claim, the sign that it claims (0 for none), place and other place, of those that are there."""
    backbones = list(dict.fromkeys(backbone for backbone, _, _ in places))
    for backbone in backbones:
        levels = [level for name, method, level in places if (name, method) == (backbone, _FULL) and level != SUM]
        for level, deeper in pairwise(levels):
            sign = 1 if int(deeper) <= _DEEP else -1
            yield "Deeper levels are better, up to 7 or 8", sign, (backbone, _FULL, deeper), (backbone, _FULL, level)
    for backbone in backbones:
        for better, worse in ((_FULL, "SED"), ("SED", "L2")):
            for level in ("7", SUM):
                if (backbone, better, level) in places:
                    yield "Mahalanobis ≫ SED > L2", 1, (backbone, better, level), (backbone, worse, level)
    for backbone in backbones:
        methods = dict.fromkeys(method for name, method, _ in places if name == backbone)
        for method in (method for method in methods if "PCA" in method):
            negated = method.startswith("N")
            claim = "NPCA keeps or improves the sum" if negated else "PCA lowers the sum"
            yield claim, 1 if negated else -1, (backbone, method, SUM), (backbone, _FULL, SUM)
    for smaller, larger in pairwise(backbones):
        yield "Larger networks are not always better", 0, (larger, _FULL, SUM), (smaller, _FULL, SUM)


def _describe(place):
    backbone, method, level = place
    return f"{short(backbone)}, {method}, {'sum' if level == SUM else f'level {level}'}"


def _format(row):
    return [row.this, row.less, signed_interval(row.difference, row.low, row.high), row.exceptions or "none"]
