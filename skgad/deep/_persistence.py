"""What a file holds of an extractor: paths as text, no state dict, and the network only where that is asked for."""

import os
from collections.abc import Mapping

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


def as_text(value):
    """Return a path as text, so that a file loads on a system whose paths are of another kind; else the value."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def leave_out(state, *, store):
    """Return the state of an extractor as a file holds it.

    Parameters
    ----------
    state : dict
        What `vars` has of it.
    store : callable
        Without arguments, to ``(source, content)``: the `Source`, and a function that gives what a file holds of its
        network.
    """
    weights = state["weights"]
    if isinstance(weights, Mapping):
        from ._weights import refer

        weights = refer(weights)
    state = {**state, "weights": as_text(weights), "cache": as_text(state["cache"])}
    if state["store_weights"]:
        source, pack = store()
        if source.is_given or "settings_" in state:  # workers need at once what only this process has
            state["_stored"] = state["backbone"], state["weights"], pack()
    return state


def put_back(state):
    """Return the state that an extractor gets from a file: a network of your own goes back into its handle."""
    content = state["_stored"][-1] if "_stored" in state else b""
    if isinstance(content, bytes):  # the weights of a timm network, as safetensors
        return state
    kept = {key: value for key, value in state.items() if key != "_stored"}
    return {**kept, "backbone": state["backbone"].attach(content)}


def find_weights(extractor):
    """Return the weights that came with a file, as long as the parameters are those that it was saved with."""
    backbone, weights, content = getattr(extractor, "_stored", (None, None, None))
    given = extractor.weights
    is_same = content and backbone == extractor.backbone and not isinstance(given, Mapping)
    return content if is_same and weights == as_text(given) else given
