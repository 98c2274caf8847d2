"""A symmetric matrix kept once: its lower triangle, row by row, of one matrix or of a stack of them."""

import numpy as np


def pack(matrices):
    """Return the lower triangles of symmetric matrices (..., n, n) as an array (..., n (n + 1) / 2)."""
    lower = np.tril_indices(matrices.shape[-1])
    return matrices[..., lower[0], lower[1]]


def unpack(packed, size):
    """Return the symmetric matrices (..., size, size) of packed triangles (..., size (size + 1) / 2)."""
    lower = np.tril_indices(size)
    full = np.empty((*packed.shape[:-1], size, size), dtype=packed.dtype)
    full[..., lower[0], lower[1]] = packed
    full[..., lower[1], lower[0]] = packed
    return full
