"""What levels a network has, as a table."""

import pandas as pd

from ._sources import find_source


def level_table(backbone="tf_efficientnet_b4.aa_in1k"):
    """Return the levels of a backbone, known without its weights.

    Parameters
    ----------
    backbone : str or Backbone, default="tf_efficientnet_b4.aa_in1k"
        A timm name, or your own network.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``level``, from 1, with the columns ``module`` (whose output it is, a dotted name), ``channels`` (its
        features after pooling) and ``reduction`` (input pixels per location, along a side, at the nominal size).

    Raises
    ------
    BackboneError
        If the network or the training is unknown, or has no levels.

    Examples
    --------
    >>> from skgad.deep import level_table
    >>> level_table("resnet18").loc[3].to_dict()
    {'module': 'layer2', 'channels': 128, 'reduction': 8}
    """
    levels = find_source(backbone).architecture.levels
    rows = [(level.module, level.channels, level.reduction) for level in levels]
    index = pd.Index([level.number for level in levels], name="level")
    return pd.DataFrame(rows, columns=["module", "channels", "reduction"], index=index)
