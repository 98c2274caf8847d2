"""Preconditioned conjugate gradients for many systems at once, each of its own matrix (Hestenes and Stiefel, 1952)."""

import numpy as np

_ENOUGH = 1e-13  # of the first residual, in the norm of the preconditioner
_MOST_STEPS = 100


def solve(apply, precondition, b):
    """Return the solution of each of many symmetric positive definite systems, and which were solved.

    Parameters
    ----------
    apply, precondition : callable
        Of (x, which): multiply the rows of `x` by the matrix, or by an approximate inverse, of the systems with the
        numbers `which`. Both are symmetric and positive definite.
    b : ndarray of shape (n_systems, n_unknowns)

    Returns
    -------
    x : ndarray of shape (n_systems, n_unknowns)
    solved : ndarray of bool of shape (n_systems,)
        False for a system that has not converged after 100 steps.
    """
    which = np.arange(len(b))
    x, residual = np.zeros_like(b), b.copy()
    direction = precondition(b, which)
    size = _dots(residual, direction)
    enough = _ENOUGH**2 * size
    for _ in range(_MOST_STEPS):
        active = size > enough[which]
        if not active.all():
            which, residual, direction, size = which[active], residual[active], direction[active], size[active]
        if not len(which):
            break
        product = apply(direction, which)
        length = (size / _dots(direction, product))[:, np.newaxis]
        x[which] += length * direction
        residual = residual - length * product
        turned = precondition(residual, which)
        before, size = size, _dots(residual, turned)
        direction = turned + (size / before)[:, np.newaxis] * direction
    solved = np.ones(len(b), dtype=bool)
    solved[which] = False
    return x, solved


def _dots(one, other):
    return np.einsum("ij,ij->i", one, other)
