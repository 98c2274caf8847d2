"""What the distance of one image is made of: a bar for each level, and a picture of the cells of the grid."""

import re

import numpy as np

from .._images._sequence import check_images, fetch
from ..inspection import explain
from ._axes import ANOMALOUS, NORMAL, REFERENCE, check_axes, load_pyplot, place_legend
from ._pictures import check_box, read_image
from ._steps import find_extractor

_CELL = re.compile(r"g(\d+)r(\d+)c(\d+)")


class ExplanationDisplay:
    """The contributions of levels and places to the distance of one image.

    `from_estimator` and `from_parts` make one and draw it. The parameters are kept as attributes.

    Parameters
    ----------
    parts : DataFrame
        Of one image, as `skgad.inspection.explain` gives it, by level, cell or channel.
    image : image, default=None
        What the cells are drawn over: a path, an array or a PIL image.
    box : (left, top, right, bottom), default=None
        What the grid covers, in the image's own pixels: ``find_box`` of the extractor. None for the whole image: right
        but for ``resize="timm"``, which may cut the border away.

    Attributes
    ----------
    bars_ : BarContainer
        A bar for each level; those of negative contributions point the other way, and are hatched.
    cells_ : AxesImage or None
        The contributions of the cells of the finest grid; None without a grid. Colours say shares of the distance, and
        are the same in all pictures: the last one is twice an even share, or more.
    legend_ : Legend
    ax_ : Axes, or ndarray of two Axes with a grid
    figure_ : Figure

    Raises
    ------
    ValueError
        If `parts` is not of one image, or `box` no box in it.

    See Also
    --------
    skgad.inspection.explain : The numbers, and what they mean.
    AnomalyMapDisplay : Where a detector in space finds the distance, location by location.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skgad import MahalanobisDetector
    >>> from skgad.plotting import ExplanationDisplay
    >>> names = [f"level{level}__g2r{r}c{c}__0000" for level in (1, 2) for r in (0, 1) for c in (0, 1)]
    >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 8)), columns=names)
    >>> odd = X[:1] + [0, 0, 0, 0, 0, 9, 0, 0]
    >>> display = ExplanationDisplay.from_estimator(MahalanobisDetector(levels="joint").fit(X), odd)
    >>> int(np.argmax([bar.get_width() for bar in display.bars_]))  # level2
    1
    """

    def __init__(self, parts, image=None, *, box=None):
        if parts["image"].nunique() != 1:
            raise ValueError(
                f"parts is of {parts['image'].nunique()} images, and one is drawn at a time, "
                "parts[parts['image'] == 0] say."
            )
        self.parts = parts
        self.image = self.box = None
        if image is not None:
            self.image = read_image(image)
            self.box = check_box(box, *self.image.shape[:2])

    @classmethod
    def from_estimator(cls, detector, X, *, ax=None):
        """Explain one image by a fitted detector, and draw it.

        Parameters
        ----------
        detector : estimator
            As `skgad.inspection.explain` takes it.
        X : array-like, frame or sequence of images
            Of length 1: ``images[3:4]``. Where `detector` takes images, the cells are drawn over it.
        ax : array-like of two Axes, default=None
            Where to draw: levels, and cells; of one where there is no grid. None makes a figure.

        Returns
        -------
        ExplanationDisplay

        Raises
        ------
        ValueError
            If `X` holds more than one image, and as `explain`.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        extractor = find_extractor(detector)
        if extractor is None:
            return cls(explain(detector, X)).plot(ax)
        image = read_image(fetch(check_images(X), 0))  # a bad one is refused before the network runs
        return cls(explain(detector, X), image, box=extractor.find_box(*image.shape[:2])).plot(ax)

    @classmethod
    def from_parts(cls, parts, image=None, *, box=None, ax=None):
        """Draw what `skgad.inspection.explain` has found of one image.

        Parameters
        ----------
        parts : DataFrame
            As of the class: ``parts[parts["image"] == 3]`` of several images.
        image, box
            As of the class.
        ax
            As of `from_estimator`.

        Returns
        -------
        ExplanationDisplay

        Raises
        ------
        ValueError
            If `parts` is not of one image.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_parts")
        return cls(parts, image, box=box).plot(ax)

    def plot(self, ax=None):
        """Draw the bars and the cells.

        Parameters
        ----------
        ax
            As of `from_estimator`.

        Returns
        -------
        self
        """
        plt = load_pyplot(f"{type(self).__name__}.plot")
        grid = self._find_grid()
        n_axes = 1 if grid is None else 2
        if ax is None:
            ax = plt.subplots(1, n_axes, figsize=(4.5 * n_axes, 3.6), layout="constrained", squeeze=False)[1]
        axes = check_axes(ax, n_axes, "an axes for the levels, and one for the cells of a grid")
        self._draw_levels(axes[0])
        self.cells_ = None if grid is None else self._draw_cells(axes[1], grid)
        self.ax_, self.figure_ = axes[0] if n_axes == 1 else axes, axes[0].figure
        return self

    def _draw_levels(self, ax):
        levels = self.parts.groupby("level", sort=False)["contribution"].sum()
        colours = [ANOMALOUS if value > 0 else NORMAL for value in levels]
        names = [name or "all columns" for name in levels.index]
        hatches = ["" if value > 0 else "///" for value in levels]
        label = f"distance {levels.sum():.3g}"
        self.bars_ = ax.barh(names, levels, color=colours, hatch=hatches, edgecolor="white", label=label)
        ax.invert_yaxis()
        ax.axvline(0, color=REFERENCE, linewidth=0.8)
        ax.set(xlabel="contribution to the distance")
        self.legend_ = place_legend(ax)

    def _draw_cells(self, ax, grid):
        side, values = grid
        left, top, right, bottom = self.box or (0.0, 0.0, side, side)
        if self.image is not None:
            height, width = self.image.shape[:2]
            ax.imshow(self.image.mean(axis=2), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        largest = 2 * abs(self.parts["contribution"].sum()) / values.size or 1.0
        drawn = ax.imshow(
            values,
            cmap="RdBu_r",
            vmin=-largest,
            vmax=largest,
            extent=(left, right, bottom, top),
            alpha=1.0 if self.image is None else 0.45,
        )
        if self.image is not None:
            ax.set(xlim=(0, width), ylim=(height, 0))  # all of the image, not of the grid
        for (row, column), value in np.ndenumerate(values):
            place = left + (column + 0.5) * (right - left) / side, top + (row + 0.5) * (bottom - top) / side
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
            ax.text(*place, f"{value:.3g}", ha="center", va="center", bbox=box)
        ax.set(xticks=[], yticks=[], title=f"contribution of {side} x {side} cells")
        return drawn

    def _find_grid(self):
        """Return the side of the finest grid and the contributions of its cells; None where there is none."""
        if "cell" not in self.parts:
            return None
        cells = self.parts.groupby("cell")["contribution"].sum()
        found = {name: tuple(map(int, match.groups())) for name in cells.index if (match := _CELL.fullmatch(name))}
        side = max((place[0] for place in found.values()), default=1)
        if side == 1:
            return None
        values = np.zeros((side, side))
        for name, (grid, row, column) in found.items():
            if grid == side:
                values[row, column] = cells[name]
        return side, values
