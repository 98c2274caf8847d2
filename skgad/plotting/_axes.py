"""What the displays share on the side of matplotlib, which is loaded here and only when something is drawn.

The colours are those of Okabe and Ito, which colour-blind readers tell apart; line styles and hatches do so as well.
"""

import numpy as np

from ..exceptions import DependencyError

NORMAL = "#0072B2"  # blue
ANOMALOUS = "#D55E00"  # vermillion
REFERENCE = "#595959"


def load_pyplot(caller):
    """Return ``matplotlib.pyplot``, or raise DependencyError that names `caller` and what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise DependencyError(f"{caller} needs matplotlib, which is not installed: pip install matplotlib") from error
    return plt


def make_axes(caller, ax, layout="constrained", **figure_options):
    """Return `ax`, or the axes of a new figure where it is None."""
    plt = load_pyplot(caller)
    return plt.subplots(layout=layout, **figure_options)[1] if ax is None else ax


def place_legend(ax, **options):
    """Draw the legend above the axes, where it hides nothing."""
    return ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, frameon=False, **options)


def check_axes(ax, n_axes, wanted):
    """Return axes as a flat array, or raise ValueError unless there are so many; `wanted` says what is to be passed."""
    axes = np.ravel(ax)
    if len(axes) != n_axes:
        raise ValueError(
            f"{n_axes} axes are drawn, but ax holds {len(axes)}. Pass {wanted}, or None for a figure of its own."
        )
    return axes
