"""What every estimator of skgad is: scikit-learn's base, and a stamp of skgad's version in what it is saved to.

scikit-learn stamps its own classes only.
"""

from sklearn.base import BaseEstimator

from .._version import __version__
from ..exceptions import VersionWarning
from ._warnings import warn


class StampedEstimator(BaseEstimator):
    """A `sklearn.base.BaseEstimator` whose pickles and skops files carry the version of skgad."""

    # Where the diagram of an estimator, in a notebook, links to. Empty: there is no published reference to link to, and
    # scikit-learn's has no page for these classes. docs/conf.py sets it for the examples; a site of your own can.
    _doc_link_module = "skgad"
    _doc_link_template = ""

    def __getstate__(self):
        return {**super().__getstate__(), "_skgad_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_skgad_version", "unknown")
        if saved != __version__:
            warn(
                f"This {type(self).__name__} was saved by skgad {saved} and is loaded by skgad {__version__}: it may "
                "give other results, or fail. Fit it anew, or install the version that saved it.",
                VersionWarning,
            )
        super().__setstate__(state)
