"""The history of a training as a frame."""

import pandas as pd

_COLUMNS = ["epoch", "loss", "criterion"]


def to_frame(loop):
    """Return a row for each epoch of a `Loop`, and which state was kept."""
    table = pd.DataFrame(list(loop.history), columns=_COLUMNS)
    return table.assign(kept=table["epoch"] == loop.best)
