"""The names of the distances to Gaussians: they say what law a distance follows, for whoever sets a threshold on it."""

from .._conventions._levels import join
from .._gaussian._estimate import DIAGONAL_KINDS
from ._joint import is_behind_npca


def distance_names(fitted, feature_names):
    """Return a name for each level's distance: ``level7__chi112``, ``level7__npca_chi112`` or ``level7__dist112``.

    Parameters
    ----------
    fitted : LevelGaussians
    feature_names : ndarray of str, or None
        Of all columns.
    """
    sizes = [len(location) for location in fitted.locations]
    if fitted.kind in DIAGONAL_KINDS:
        return [join(level, f"dist{size}") for level, size in zip(fitted.columns, sizes, strict=True)]

    def behind(columns):
        return is_behind_npca(None if feature_names is None else feature_names[columns])

    triples = zip(fitted.columns, fitted.columns.values(), sizes, strict=True)
    return [join(level, f"npca_chi{size}" if behind(columns) else f"chi{size}") for level, columns, size in triples]
