"""Metadata of a fit, such as sample weights: where they go, by scikit-learn's routing."""

from sklearn import get_config
from sklearn.utils.metadata_routing import process_routing

from ._sklearn import raise_for_params


def route_fit(owner, **metadata):
    """Return the metadata of ``owner.fit`` by receiver and method, as scikit-learn's ``process_routing`` does.

    Raises
    ------
    ValueError
        If there are metadata, and routing is not enabled.
    """
    if not get_config()["enable_metadata_routing"]:
        raise_for_params(metadata, owner, "fit")
    return process_routing(owner, "fit", **metadata)
