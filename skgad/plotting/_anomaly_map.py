"""An anomaly map over its image: colours on a fixed scale, a contour at the threshold, the ground truth.

The scale is never fitted to the image: a map that is stretched to its own range shows something bright on every image,
normal ones included.
"""

from numbers import Real
from typing import Any

import numpy as np

from .._images._geometry import whole_box
from .._images._interest import read_mask
from ._axes import check_axes, load_pyplot, make_axes
from ._pictures import check_box, check_map, read_image

_FOUND = "white"
_TRUTH = "#56B4E9"  # sky blue, of Okabe and Ito's colours
_PANELS = "an Axes for kind='overlay', an array of three for kind='panels'"
_FRAME: dict[str, Any] = {"color": "grey", "linestyle": "dotted", "linewidth": 1.5}
_KINDS = ("overlay", "panels")


class AnomalyMapDisplay:
    """An image and its anomaly map, with a contour at the threshold, and the outline of the ground truth.

    `from_estimator` and `from_predictions` make one and draw it. The parameters are kept as attributes, `image` as
    uint8 RGB of shape (height, width, 3), `mask` as booleans and `box` as four floats.

    Parameters
    ----------
    image : path, PIL image, tensor or array of shape (height, width) or (height, width, n_channels)
        One image.
    anomaly_map : array-like of shape (map_height, map_width)
        Distances, higher is more anomalous, as ``score_maps`` gives them. It covers `box`, whatever the sizes and the
        aspect ratios of both.
    threshold : float, default=None
        The distance beyond which a pixel is called anomalous: an estimator's ``pixel_threshold_``.
    mask : path or array-like of shape (mask_height, mask_width), default=None
        Where the image is anomalous: booleans, 0 and 1, or 0 and 255. It covers the whole image, of any size.
    box : (left, top, right, bottom), default=None
        What the map covers, in the image's own pixels: ``find_box`` of the detector. None for the whole image: right
        for every map but that of an extractor with ``resize="timm"``, which may cut the border away.

    Attributes
    ----------
    map_ : AxesImage
        The map in colours.
    contours_ : list of ContourSet
        Where the map crosses the threshold, in each axes that shows it. Empty if it does so nowhere.
    outlines_ : list of ContourSet
        The outline of the mask, in each axes that shows it. Empty without anomalous pixels.
    frames_ : list of Rectangle
        The border of the map, in each axes that shows something of it. Empty if it covers the whole image.
    colorbar_ : Colorbar or None
    legend_ : Legend or None
    ax_ : Axes, or ndarray of Axes for ``kind="panels"``
    figure_ : Figure

    Raises
    ------
    ImageError
        If `image` is not a single image, or cannot be read.
    ValueError
        If `anomaly_map` is no map of distances, `threshold` is not a positive number, `mask` is no mask, or `box` no
        box; if one of them is a masked array.

    See Also
    --------
    skgad.metrics.pixel_scores : How well maps find the anomalous pixels, in numbers.

    Notes
    -----
    Colours go from 0 to ``vmax``, by default twice the threshold, so that the middle of the scale is the threshold and
    pictures by one detector can be compared. Larger distances have the last colour. Without a threshold, `vmax` has to
    be given: the map's own maximum is no default, because the most normal image would then look as alarming as the
    worst. The map is interpolated linearly between its pixels, and so is the contour.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.plotting import AnomalyMapDisplay
    >>> image = np.full((60, 90), 128, dtype=np.uint8)
    >>> anomaly_map = np.ones((28, 28))
    >>> anomaly_map[10:15, 10:15] = 8
    >>> display = AnomalyMapDisplay.from_predictions(image, anomaly_map, threshold=3.0)
    >>> display.map_.get_clim()
    (0.0, 6.0)
    """

    def __init__(self, image, anomaly_map, *, threshold=None, mask=None, box=None):
        self.image = read_image(image)
        self.anomaly_map = check_map(anomaly_map)
        self.threshold = _check_positive("threshold", threshold)
        self.mask = None if mask is None else read_mask(mask, "mask")
        self.box = check_box(box, *self.image.shape[:2])

    @classmethod
    def from_estimator(
        cls,
        estimator,
        image,
        *,
        mask=None,
        threshold=None,
        kind="overlay",
        vmax=None,
        alpha=0.7,
        colorbar=True,
        ax=None,
    ):
        """Make the map of one image by a fitted detector, and draw it where the network has seen it.

        Parameters
        ----------
        estimator : fitted detector
            With ``score_maps``: one of `skgad.spatial`, or an `FPRThresholdCV` of one.
        image : path, PIL image, tensor or array of shape (height, width) or (height, width, n_channels)
            One image.
        mask
            As of `from_predictions`.
        threshold : float, default=None
            None takes ``pixel_threshold_`` of the estimator, or of the detector in it, where there is one.
        kind, vmax, alpha, colorbar, ax
            As of `from_predictions`.

        Returns
        -------
        AnomalyMapDisplay

        Raises
        ------
        ImageError
            If `image` is not a single image, or cannot be read.
        TypeError
            If `estimator` has no ``score_maps``.
        ValueError
            As `from_predictions` does.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_estimator")
        if not hasattr(estimator, "score_maps"):
            raise TypeError(
                f"{estimator!r} has no score_maps. Pass a detector of skgad.spatial, or a map of your own to "
                f"{cls.__name__}.from_predictions."
            )
        pixels = read_image(image)  # a bad image is refused before the network runs
        threshold = _find_threshold(estimator) if threshold is None else threshold
        box = _find_box(estimator, *pixels.shape[:2])
        display = cls(pixels, estimator.score_maps([image])[0], threshold=threshold, mask=mask, box=box)
        return display.plot(ax, kind=kind, vmax=vmax, alpha=alpha, colorbar=colorbar)

    @classmethod
    def from_predictions(
        cls,
        image,
        anomaly_map,
        *,
        mask=None,
        threshold=None,
        box=None,
        kind="overlay",
        vmax=None,
        alpha=0.7,
        colorbar=True,
        ax=None,
    ):
        """Draw an image and its map.

        Parameters
        ----------
        image, anomaly_map, mask, threshold, box
            As of the class.
        kind, vmax, alpha, colorbar, ax
            As of `plot`.

        Returns
        -------
        AnomalyMapDisplay

        Raises
        ------
        ImageError
            If `image` is not a single image, or cannot be read.
        ValueError
            As the class does, and if there is neither `threshold` nor `vmax`.
        DependencyError
            If matplotlib is not installed.
        """
        load_pyplot(f"{cls.__name__}.from_predictions")
        display = cls(image, anomaly_map, threshold=threshold, mask=mask, box=box)
        return display.plot(ax, kind=kind, vmax=vmax, alpha=alpha, colorbar=colorbar)

    def plot(self, ax=None, *, kind="overlay", vmax=None, alpha=0.7, colorbar=True):
        """Draw the image and its map.

        Parameters
        ----------
        ax : Axes, or array of Axes for ``kind="panels"``, default=None
            Where to draw; None makes a figure.
        kind : {"overlay", "panels"}, default="overlay"
            "overlay": all in one axes, the map the more opaque the larger the distance is. "panels": side by side, the
            image, the image with the outlines of what is there and what was found, and the map in full colour.
        vmax : float, default=None
            The distance of the last colour; None means twice the threshold. For pictures that are to be compared, give
            all the same.
        alpha : float in [0, 1], default=0.7
            How opaque the last colour of an overlay is; opacity grows with the square of the distance.
        colorbar : bool, default=True
            Whether to draw the scale.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is neither a threshold nor `vmax`, `kind` or `alpha` is none of the above, or the number of axes is
            not that of the panels.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {_KINDS}; got {kind!r}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be a share in [0, 1]; got {alpha!r}.")
        vmax = self._find_vmax(vmax)
        titles = ["image", "outlines", "anomaly map"] if kind == "panels" else [""]
        axes = make_axes(
            f"{type(self).__name__}.plot", ax, "compressed", ncols=len(titles), figsize=self._figure_size(len(titles))
        )
        panels = check_axes(axes, len(titles), _PANELS)
        self.ax_, self.figure_ = axes, panels[0].figure
        for panel, title in zip(panels, titles, strict=True):
            panel.imshow(self.image)
            panel.set_axis_off()
            if title:  # an overlay leaves the title to the caller
                panel.set_title(title)
        opaque = kind == "panels"
        self.map_ = self._draw_map(panels[-1], vmax, _colours() if opaque else _colours(0.3, fade_to=alpha))
        self.contours_, self.outlines_, self.frames_ = [], [], []
        for panel in panels[1:] if kind == "panels" else panels:
            self._draw_lines(panel)
        self.colorbar_ = self._draw_colorbar(panels[-1]) if colorbar else None
        self.legend_ = self._draw_legend(panels[len(panels) // 2])
        return self

    def _figure_size(self, n_panels):
        """Return inches: an image 3.6 high where it is not too wide, and room for the scale and the legend."""
        height, width = self.image.shape[:2]
        side = min(max(3.6 * width / height, 1.8), 6.5 if n_panels == 1 else 4)
        return n_panels * side + 1.2, min(side * height / width, 6) + 0.7

    def _find_vmax(self, vmax):
        vmax = _check_positive("vmax", vmax)
        if vmax is None and self.threshold is None:
            raise ValueError(
                "There is neither a threshold nor vmax, and a scale fitted to each image could not be compared. "
                "Calibrate the detector, FPRThresholdCV(detector).fit(normal_images); or give vmax=, the same for all "
                "images: twice the largest distance on normal ones, say."
            )
        return 2 * self.threshold if vmax is None else vmax

    def _draw_map(self, ax, vmax, colours):
        left, top, right, bottom = np.subtract(self.box, 0.5)  # matplotlib's pixels have their centres at integers
        drawn = ax.imshow(
            self.anomaly_map,
            cmap=colours,
            vmin=0,
            vmax=vmax,
            extent=(left, right, bottom, top),
            interpolation="bilinear",
            interpolation_stage="data",
        )
        height, width = self.image.shape[:2]
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))  # all of the image, not of the map
        return drawn

    def _draw_lines(self, ax):
        """Draw the contour at the threshold, the outline of the mask, and the border of the map."""
        whole = whole_box(*self.image.shape[:2])
        if self.threshold is not None and self.anomaly_map.min() < self.threshold <= self.anomaly_map.max():
            self.contours_.append(self._draw_contour(ax, self.anomaly_map, self.box, self.threshold, _FOUND, "solid"))
        if self.mask is not None and self.mask.any() and not self.mask.all():
            self.outlines_.append(self._draw_contour(ax, self.mask, whole, 0.5, _TRUTH, "dashed"))
        if self.box != whole:
            self.frames_.append(self._draw_frame(ax))

    def _draw_contour(self, ax, values, box, level, color, linestyle):
        """Draw where values that cover a box cross a level, with a dark rim to be seen on any image."""
        from matplotlib.patheffects import withStroke

        left, top, right, bottom = box
        y, x = _centres(values.shape[0], top, bottom), _centres(values.shape[1], left, right)
        values = np.pad(values.astype(float), 1, mode="edge")
        contour = ax.contour(x, y, values, [level], colors=color, linestyles=linestyle, linewidths=1.5)
        contour.set_path_effects([withStroke(linewidth=3, foreground="black")])
        return contour

    def _draw_frame(self, ax):
        from matplotlib.patches import Rectangle

        left, top, right, bottom = self.box
        frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, **_FRAME)
        return ax.add_patch(frame)

    def _draw_colorbar(self, ax):
        """Draw the scale beside the image, as high as it; colours that fade as they look over grey."""
        from matplotlib.cm import ScalarMappable

        height, width = self.image.shape[:2]
        place = ax.inset_axes((1 + 0.03 * height / width, 0, 0.05 * max(1, height / width), 1))
        shown = ScalarMappable(self.map_.norm, _over_grey(self.map_.cmap))
        bar = self.figure_.colorbar(shown, cax=place, extend="max", label="distance")
        if self.threshold is not None:
            bar.ax.axhline(self.threshold, color="black", linewidth=3)
            bar.ax.axhline(self.threshold, color=_FOUND, linewidth=1.5)
        return bar

    def _draw_legend(self, ax):
        """Draw a legend of the lines below the axes; None without lines."""
        from matplotlib.lines import Line2D
        from matplotlib.patheffects import withStroke

        rim = [withStroke(linewidth=3, foreground="black")]
        lines = []
        if self.contours_:
            lines.append(Line2D([], [], color=_FOUND, path_effects=rim, label=f"threshold {self.threshold:.3g}"))
        if self.outlines_:
            lines.append(Line2D([], [], color=_TRUTH, path_effects=rim, linestyle="dashed", label="ground truth"))
        if self.frames_:
            lines.append(Line2D([], [], **_FRAME, label="border of the map"))
        if not lines:
            return None
        height, width = self.image.shape[:2]
        ncols = 2 if width > 0.8 * height else 1
        return ax.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=ncols, frameon=False)


def _find_threshold(estimator):
    """Return ``pixel_threshold_`` of an estimator, or of the one in it, or None."""
    inner = getattr(estimator, "estimator_", None)
    return getattr(estimator, "pixel_threshold_", getattr(inner, "pixel_threshold_", None))


def _find_box(estimator, height, width):
    """Return what the maps of an estimator, or of the one in it, cover of such an image; None where neither says."""
    inner = getattr(estimator, "estimator_", None)
    find_box = getattr(estimator, "find_box", getattr(inner, "find_box", None))
    return None if find_box is None else find_box(height, width)


def _check_positive(name, value):
    if value is not None and not (isinstance(value, Real) and 0 < float(value) < np.inf):
        raise ValueError(f"{name} must be a positive distance, or None; got {value!r}.")
    return value


def _centres(n, first, last):
    """Return where n pixels that cover the image from `first` to `last` have their centres, and these two edges."""
    return np.concatenate([[first], first + (np.arange(n) + 0.5) * (last - first) / n, [last]]) - 0.5


def _colours(first=0.0, fade_to=None):
    """Return colours from dark to light, from a share of their range on; where they fade, from clear to `fade_to`."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colours = colormaps["inferno"](np.linspace(first, 1, 256))
    if fade_to is not None:
        # distances in many dimensions are far from 0 on normal pixels too: a linear ramp would tint the whole image
        colours[:, 3] = fade_to * np.linspace(0, 1, 256) ** 2
    return ListedColormap(colours)


def _over_grey(colours):
    """Return the colours as they look over mid-grey."""
    from matplotlib.colors import ListedColormap

    colours = colours(np.arange(colours.N))
    opacity = colours[:, 3:]
    return ListedColormap(opacity * colours[:, :3] + (1 - opacity) * 0.5)
