"""What the displays share on the side of the numbers: they are drawn as they are, or refused."""

import numpy as np


def refuse_masked(name, values):
    """Raise ValueError if these are a NumPy masked array: what is under its mask would be drawn like the rest."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, whose masked values would be drawn like the others. Fill them, "
            f"{name}.filled(value), or leave them out."
        )
