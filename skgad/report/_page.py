"""The page: what was found, laid out by one template, with its style and its script inside."""

import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from .._conventions._atomic import write_atomically
from .._images._sequence import check_images, fetch
from .._judge import name_image
from .._version import __version__
from ..exceptions import ImageError
from ._findings import gather


def write_report(line, path, images, *, y=None, kinds=None, learnt=None, title=None, progress=iter):
    """Write one HTML page of a fitted line and of images that it scores. It loads nothing from elsewhere.

    The page has the histogram of the distances with a threshold that can be moved, which counts, rates and lists
    follow; the images, sorted and filtered, the most anomalous ones with maps, boxes and what their distance is made
    of; false alarms and misses where labels are known; the calibration; the learnt images that the others find most
    anomalous; settings and identities.

    Parameters
    ----------
    line : Pipeline or FPRThresholdCV
        Fitted, with the threshold of an `FPRThresholdCV`, as `make_line` or `load_line` returns it.
    path : path
        Of the page, by custom ``.html``; it is whole or not there.
    images : sequence of images
        Those to score. One that cannot be read is listed with its error.
    y : array-like of shape (n_samples,), default=None
        Their labels, +1 and -1, where they are known.
    kinds : array-like of str of shape (n_samples,), default=None
        The kinds of anomaly, where they are known.
    learnt : sequence of images, default=None
        Those of the fit, in their order, for the suspects among them.
    title : str, default=None
        Of the page.
    progress : callable, default=iter
        Goes through what it is given, and shows how far it is, as ``tqdm`` does.

    Raises
    ------
    ValueError
        If the line has no threshold of one rate, or `y` or `kinds` has another length.

    Notes
    -----
    Of up to 5,000 images there are thumbnails, and the page has less than 25 MB; of more, the others are listed by
    name. Pictures have their place in the page; whoever gets it sees them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skgad import make_line
    >>> from skgad.report import write_report
    >>> images = np.random.default_rng(0).integers(0, 256, size=(24, 64, 64, 3), dtype=np.uint8)
    >>> line = make_line("tf_efficientnet_lite0", fpr=0.05, image_size=64).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(line, Path(folder) / "report.html", images[:3])
    ...     page = (Path(folder) / "report.html").read_text()
    >>> page.startswith("<!doctype html>")
    True
    """
    import jinja2

    from .._conventions._labels import check_labels

    images = check_images(images, items=False)
    items, names = _fetch_all(images)
    for name, values in (("y", y), ("kinds", kinds)):
        if values is not None and len(values) != len(items):
            raise ValueError(f"{name} holds {len(values)} values, and there are {len(items)} images.")
    labels = None if y is None else check_labels(y)
    found = gather(line, items, names, labels, kinds, learnt, progress)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_read("page.html"))
    page = template.render(
        title=title or "Report of a line",
        found=found,
        data=_embed(found),
        style=_read("page.css"),
        script=_read("page.js"),
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    write_atomically(Path(path), lambda file: file.write(page.encode("utf-8", "replace")))


def _fetch_all(images):
    """Return the items of a sequence and their names; a Dataset's item that cannot be had is None."""
    items = []
    for at in range(len(images)):
        try:
            items.append(fetch(images, at))
        except ImageError:
            items.append(None)
    return items, [f"image {at}" if item is None else name_image(item, at) for at, item in enumerate(items)]


def _embed(found):
    """Return data as JSON that may stand in a script element: nothing in it ends the element."""
    text = json.dumps(found, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name):
    return files("skgad.report").joinpath(name).read_text(encoding="utf-8")
