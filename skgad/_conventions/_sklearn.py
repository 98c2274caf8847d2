"""What skgad uses of scikit-learn beyond its public names, in one place. Checked against scikit-learn 1.9.1.

Nothing else in the package imports a name of scikit-learn that begins with an underscore. Where a new version moves
one, it is mended here.
"""

from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._set_output import _safe_set_output as safe_set_output
from sklearn.utils.metadata_routing import _raise_for_params as raise_for_params
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition
from sklearn.utils.validation import _check_method_params

__all__ = ["BaseComposition", "raise_for_params", "safe_indexing", "safe_set_output", "slice_metadata"]


def slice_metadata(X, metadata, rows):
    """Return metadata of a fit with what has a value for each row of `X` cut down to `rows`; the rest as it is."""
    return _check_method_params(X, metadata, rows)
