"""NumPy's masked arrays are refused: scikit-learn and NumPy read through the mask without a word."""

import numpy as np


def refuse_masked(name, values):
    """Raise ValueError for a NumPy masked array: whatever reads it would learn from, or score, what the mask hides."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, and the values under its mask would count like all others. Leave these rows "
            f"out, and pass {name}.data; or fill them in, {name}.filled(...)."
        )
