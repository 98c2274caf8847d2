"""What a file holds of an extractor: paths as text, no state dict, and the network only where that is asked for."""

import copy
import os
from collections.abc import Mapping
from typing import Any

from .._conventions._base import StampedEstimator

# torch and timm are imported where a network is stored: a process that only pickles and unpickles stays light.


class StateDict(Mapping):
    """A state dict as a parameter: it prints in a few words, and `clone` does not copy its tensors.

    Parameters
    ----------
    tensors : dict of str to Tensor
    """

    def __init__(self, tensors):
        self._tensors = tensors

    def __getitem__(self, name):
        return self._tensors[name]

    def __iter__(self):
        return iter(self._tensors)

    def __len__(self):
        return len(self._tensors)

    def __repr__(self):
        return f"<state dict of {len(self)} tensors>"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


class PortableEstimator(StampedEstimator):
    """An estimator with a network, whose files load on other systems and hold the network only where that is asked for.

    A class of its parameters `backbone`, `weights`, `cache`, `device` and `store_weights`.
    """

    backbone: Any
    weights: Any
    device: Any
    store_weights: bool

    def get_params(self, deep=True):
        """Return the parameters, as in scikit-learn; a state dict comes as a `StateDict`.

        Parameters
        ----------
        deep : bool, default=True
            Of no effect: no parameter is an estimator.

        Returns
        -------
        dict
        """
        params = super().get_params(deep=deep)
        if isinstance(self.weights, Mapping) and not isinstance(self.weights, StateDict):
            params["weights"] = StateDict(self.weights)
        return params

    def __getstate__(self):
        state = super().__getstate__()
        state["weights"], state["cache"] = _refer(state["weights"]), _as_text(state["cache"])
        content = self._pack() if self.store_weights else None
        if content is not None:
            state["_stored"] = state["backbone"], state["weights"], content
        return state

    def __setstate__(self, state):
        content = state["_stored"][-1] if "_stored" in state else b""
        if not isinstance(content, bytes):  # a network of your own goes back into its handle
            state = {key: value for key, value in state.items() if key != "_stored"}
            state["backbone"] = state["backbone"].attach(content)
        super().__setstate__(state)

    def __copy__(self):
        new = type(self).__new__(type(self))
        new.__dict__.update(vars(self))
        return new

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))  # unlike a pickle, a copy keeps a state dict of weights
        new.__dict__.update(copy.deepcopy(vars(self), memo))
        return new

    def _pack(self):
        """Return what a file holds of the network; None before `fit`, if another process finds it by itself."""
        from ._network import choose_device, load_network
        from ._sources import find_source

        source, is_fitted = find_source(self.backbone, find_weights(self)), hasattr(self, "settings_")
        if not is_fitted and not source.is_given:
            return None
        return source.pack(lambda source: load_network(source, choose_device(self.device, may_be_absent=is_fitted)))


def find_weights(extractor):
    """Return the weights that came with a file, as long as the parameters are those that it was saved with."""
    backbone, weights, content = getattr(extractor, "_stored", (None, None, None))
    given = extractor.weights
    is_same = content and backbone == extractor.backbone and not isinstance(given, Mapping)
    return content if is_same and weights == _as_text(given) else given


def _refer(weights):
    """Return weights as a file names them: a state dict by its sha256, a path as text."""
    if not isinstance(weights, Mapping):
        return _as_text(weights)
    from ._weights import refer

    return refer(weights)


def _as_text(value):
    """Return a path as text, which loads on a system whose paths are of another kind; another value as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value
