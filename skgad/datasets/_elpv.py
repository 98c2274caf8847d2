"""The ELPV solar cells, from the package elpv-dataset."""

import importlib.util
from pathlib import Path

import numpy as np

_KINDS = ("mono", "poly", "all")


def load_elpv(kind="mono"):
    """Return electroluminescence photographs of solar cells, normal and defective.

    The images are licensed CC BY-NC-SA 4.0: **non-commercial use only**, with attribution, and under the same licence.

    Parameters
    ----------
    kind : {"mono", "poly", "all"}, default="mono"
        Monocrystalline cells (588 normal, 313 defective), polycrystalline ones (920, 402), or both.

    Returns
    -------
    paths : ndarray of str of shape (n_samples,)
        PNG files, 300 x 300 pixels, grey, in the order of the package's table.
    y : ndarray of int of shape (n_samples,)
        +1 for cells with defect probability 0, -1 for probability 1. The uncertain ones in between are left out.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    ModuleNotFoundError
        If the package elpv-dataset is not installed.

    References
    ----------
    Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence
    Imagery", EU PVSEC 2018. Deitsch et al., "Segmentation of Photovoltaic Module Cells in Uncalibrated
    Electroluminescence Images", Machine Vision and Applications 32, 2021.

    Examples
    --------
    >>> from skgad.datasets import load_elpv
    >>> paths, y = load_elpv(kind="poly")
    >>> paths.shape, int((y == -1).sum())
    ((1322,), 402)
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}; got {kind!r}.")
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "load_elpv needs the package elpv-dataset: pip install elpv-dataset, or 'skgad[demo]'."
        )
    root = Path(spec.origin).parent / "data"
    rows = [line.split() for line in (root / "labels.csv").read_text().splitlines()]
    labels = {0.0: 1, 1.0: -1}
    cells = [
        (str(root / path), labels[float(probability)])
        for path, probability, cell_kind in rows
        if float(probability) in labels and kind in (cell_kind, "all")
    ]
    paths, y = zip(*cells, strict=True)
    return np.array(paths), np.array(y)
