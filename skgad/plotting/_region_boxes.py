"""The anomalous regions of one image as boxes, in its own pixels, with what is found in each."""

import numpy as np

from .._images._sequence import check_images, fetch
from ._axes import ANOMALOUS, load_pyplot, make_axes
from ._pictures import read_image

_NEEDED = ("left", "top", "right", "bottom", "peak", "p_value")


class RegionsDisplay:
    """An image, and a box around each of its anomalous regions, with the p-value beside it.

    `from_estimator` and `from_regions` make one and draw it. The parameters are kept as attributes, `image` as uint8
    RGB of shape (height, width, 3).

    Parameters
    ----------
    image : path, PIL image, tensor or array of shape (height, width) or (height, width, n_channels)
        One image.
    regions : DataFrame
        Of this image, as the ``regions`` of a detector returns them.

    Attributes
    ----------
    boxes_ : list of Rectangle
        In the order of the rows.
    labels_ : list of Text
        Beside the boxes.
    legend_ : Legend or None
        None without regions.
    ax_, figure_ : Axes, Figure

    Raises
    ------
    ImageError
        If `image` is not a single image, or cannot be read.
    ValueError
        If `regions` is no such frame, is of more than one image, or reaches beyond the image.

    See Also
    --------
    AnomalyMapDisplay : The map that they are cut out of.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skgad.plotting import RegionsDisplay
    >>> row = {"image": 0, "left": 8.0, "top": 2.0, "right": 20.0, "bottom": 6.0, "x": 14.0, "y": 4.0, "area": 40.0,
    ...        "peak": 9.5, "p_value": 0.01}
    >>> display = RegionsDisplay.from_regions(np.zeros((32, 48), dtype=np.uint8), pd.DataFrame([row]))
    >>> display.labels_[0].get_text()
    'p = 0.01'
    """

    def __init__(self, image, regions):
        self.image = read_image(image)
        self.regions = _check_regions(regions, *self.image.shape[:2])

    @classmethod
    def from_estimator(cls, estimator, image, *, min_area=0.0, ax=None):
        """Find the regions of one image by a fitted detector, and draw them.

        Parameters
        ----------
        estimator : fitted detector
            With ``regions``: one of `skgad.spatial`, or an `FPRThresholdCV` of one.
        image : path, PIL image, tensor or array of shape (height, width) or (height, width, n_channels)
            One image.
        min_area : float, default=0
            In pixels of the photograph.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        RegionsDisplay

        Raises
        ------
        ImageError
            If `image` is not a single image, or cannot be read.
        TypeError
            If `estimator` has no ``regions``.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        if not hasattr(estimator, "regions"):
            raise TypeError(
                f"{estimator!r} has no regions. Pass a detector of skgad.spatial, or an FPRThresholdCV of one."
            )
        pixels = read_image(fetch(check_images([image]), 0))  # a bad image is refused before the network runs
        return cls(pixels, estimator.regions([image], min_area=min_area)).plot(ax)

    @classmethod
    def from_regions(cls, image, regions, *, ax=None):
        """Draw regions that are known.

        Parameters
        ----------
        image, regions
            As of the class.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        RegionsDisplay

        Raises
        ------
        ImageError, ValueError
            As the class does.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_regions")
        return cls(image, regions).plot(ax)

    def plot(self, ax=None):
        """Draw the image and the boxes.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        height, width = self.image.shape[:2]
        side = min(max(3.6 * width / height, 1.8), 6.5)
        size = side + 0.4, min(side * height / width, 6) + 0.9
        self.ax_ = make_axes(f"{type(self).__name__}.plot", ax, "compressed", figsize=size)
        self.figure_ = self.ax_.figure
        self.ax_.imshow(self.image)
        self.ax_.set_axis_off()
        self.boxes_: list = []
        self.labels_: list = []
        for region in self.regions.itertuples():
            self._draw_box(region, margin=max(height, width) / 100)
        self.legend_ = self._draw_legend() if self.boxes_ else None
        return self

    def _draw_legend(self):
        from matplotlib.lines import Line2D

        line = Line2D([], [], color=ANOMALOUS, label="p: how often a normal image\nhas as large a distance")
        return self.ax_.legend(handles=[line], loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False)

    def _draw_box(self, region, margin):
        """Draw a box, a little around what may be a few pixels of many, and its p-value where there is room."""
        from matplotlib.patches import Rectangle
        from matplotlib.patheffects import withStroke

        left, top = region.left - margin - 0.5, region.top - margin - 0.5  # pixels have their centres at integers
        across, down = region.right - region.left + 2 * margin, region.bottom - region.top + 2 * margin
        rim = [withStroke(linewidth=3.5, foreground="white")]
        box = Rectangle((left, top), across, down, fill=False, edgecolor=ANOMALOUS, linewidth=1.8, path_effects=rim)
        self.boxes_.append(self.ax_.add_patch(box))
        above, to_the_left = top > 0.06 * self.image.shape[0], left + across / 2 > 0.6 * self.image.shape[1]
        label = self.ax_.annotate(
            f"p = {region.p_value:.2g}",
            (left + across if to_the_left else left, top if above else top + down),
            xytext=(0, 3 if above else -3),
            textcoords="offset points",
            ha="right" if to_the_left else "left",
            va="bottom" if above else "top",
            color=ANOMALOUS,
            path_effects=rim,
        )
        self.labels_.append(label)


def _check_regions(regions, height, width):
    lacking = [name for name in _NEEDED if name not in getattr(regions, "columns", ())]
    if lacking:
        raise ValueError(f"regions must be what a detector's regions returned; it lacks {', '.join(lacking)}.")
    if "image" in regions and regions["image"].nunique() > 1:
        raise ValueError(
            f"regions is of {regions['image'].nunique()} images, and one is drawn at a time: "
            "regions[regions['image'] == 0], say."
        )
    reach = np.array([regions["right"].max(), regions["bottom"].max()]) if len(regions) else np.zeros(2)
    if (reach > (width + 0.5, height + 0.5)).any():
        raise ValueError(
            f"regions reach to ({reach[0]:.6g}, {reach[1]:.6g}), and the image has {width} x {height} pixels: pass the "
            "photograph that they were found in."
        )
    return regions
