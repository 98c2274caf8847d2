"""What an entry of the cache is found by: the image's content, and all else that its features depend on."""

import hashlib

import numpy as np

from .._images._interest import digest_mask

_FORMAT = 2  # of the values and their meaning: features that an older skgad computed otherwise are not found


def fingerprint_features(*parts):
    """Return the digest of all that the features of an image depend on, besides the image."""
    return hashlib.sha256(repr((_FORMAT, *parts)).encode()).digest()


def make_key(fingerprint, content, own=None):
    """Return the key of an image: of its file's bytes, or of its decoded pixels, with the fingerprint of the rest.

    Where the image has a region of interest of its own, a mask, of that as well.
    """
    digest = hashlib.sha256(fingerprint)
    if isinstance(content, np.ndarray):
        digest.update(repr((content.shape, content.dtype.str)).encode())
        digest.update(np.ascontiguousarray(content).data)
    else:
        digest.update(content)
    if own is not None:
        digest.update(digest_mask(own).encode())
    return digest.digest()
