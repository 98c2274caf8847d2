"""What a store of features knows of networks: where their weights came from, and the probes of their features.

A warm store gives the features of images without loading a network, so it must know which network made them: it notes
the `Identity` of what it was filled by, under its origin, and the identities of all networks that share their weights.
The digest of the *noted* probe is part of the key of an entry: a network whose own probe agrees with it, within
rounding, finds the entries; another one does not.
"""

import hashlib
import json

from .._conventions._warnings import warn
from ..exceptions import WeightsWarning
from ._identity import Identity, agree

_KEPT = 8  # identities that share their weights


def recall(store, origin):
    """Return the identity that was noted of the network from an origin, None if there is none."""
    note = store.get_weights(origin)
    return note and Identity.from_text(note)


def note(store, origin, identity):
    """Note the identity of the network from an origin, so that a warm store needs no network."""
    store.put_weights(origin, identity.to_text())


def recognise(store, name, settings, identity):
    """Return the digest of the noted probe that this network agrees with; its own is noted where there is none.

    Parameters
    ----------
    store : FeatureStore
    name : str
        Of the network, for the warning.
    settings : tuple
        What its probe depends on besides the network.
    identity : Identity

    Warns
    -----
    WeightsWarning
        If the store has features of the same weights that this network does not give.
    """
    place = f"probes {identity.sha256} {settings!r}"
    known = _read(store.get_weights(place))
    for other in known:
        if agree(identity.probe, other.probe):
            return _digest(other)
    if known:
        warn(
            f"The cache holds features of {name} that the same weights do not give here: they were made with "
            f"{known[-1].libraries}, here is {identity.libraries}; or an attribute, or its code, is another. Features "
            "are computed anew.",
            WeightsWarning,
        )
    store.put_weights(place, json.dumps([each.to_text() for each in (*known, identity)[-_KEPT:]]))
    return _digest(identity)


def _read(text):
    try:
        found = map(Identity.from_text, json.loads(text or "[]"))
    except (ValueError, TypeError):
        return []
    return [identity for identity in found if identity is not None]


def _digest(identity):
    return hashlib.sha256(identity.to_text().encode()).hexdigest()
