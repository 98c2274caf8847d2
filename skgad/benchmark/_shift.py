"""What becomes of a line when the photographs change and the parts do not: detection, and the rate that is reached.

Test images are altered, normal and anomalous ones alike, in ways and strengths that are stated; the line was fitted on
images as they are, or on copies in other light as well.
"""

from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from .._calibration._threshold_cv import FPRThresholdCV
from .._conventions._atomic import write_atomically
from .._detectors._mahalanobis import MahalanobisDetector
from .._images._relighting import relight
from ..deep import DeepFeatureTransformer

FPR = 0.05
_PLAIN = "as they are"


def _blur(image, deviation):
    return ndimage.gaussian_filter(image, (deviation, deviation, 0))


def _add_noise(image, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, size=image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _compress(image, quality):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _shift(image, share):
    """Return an image moved to the right and down by a share of its sides; what comes in is mirrored."""
    down, across = (round(share * side) for side in image.shape[:2])
    height, width = image.shape[:2]
    return np.pad(image, ((down, 0), (across, 0), (0, 0)), mode="symmetric")[:height, :width]


def _turn(image, angle):
    from ..deep._rotation import rotate  # it needs torch

    return np.rint(255 * rotate(image, angle)).astype(np.uint8)


# What is done to the test images, and how much; pixels are the photographs' own.
ALTERATIONS = {
    _PLAIN: (lambda image: image, ()),
    "5 % brighter": (relight, (1.05,)),
    "20 % brighter": (relight, (1.2,)),
    "20 % darker": (relight, (0.8,)),
    "10 % less contrast": (relight, (1.0, 0.9)),
    "30 % less contrast": (relight, (1.0, 0.7)),
    "blurred, 1 px": (_blur, (1.0,)),
    "blurred, 2 px": (_blur, (2.0,)),
    "noise, 5 of 255": (_add_noise, (5.0,)),
    "noise, 15 of 255": (_add_noise, (15.0,)),
    "JPEG, quality 50": (_compress, (50,)),
    "JPEG, quality 20": (_compress, (20,)),
    "shifted by 1 %": (_shift, (0.01,)),
    "shifted by 3 %": (_shift, (0.03,)),
    "turned by 1 degree": (_turn, (1.0,)),
    "turned by 5 degrees": (_turn, (5.0,)),
}


def run_shift(*, categories, out, backbone="tf_efficientnet_lite2", copies=(0, 2), fpr=FPR, cache=None, verbose=0):
    """Measure what a line finds, and which rate it reaches, when photographs are altered; write ``shift.csv``, ``.md``.

    Parameters
    ----------
    categories : list of Category
    out : path
        The folder that is written to; rows that are there are not measured again.
    backbone : str, default="tf_efficientnet_lite2"
    copies : tuple of int, default=(0, 2)
        How many copies in other light, `VariedImages`, are learnt beside each image: one line for each number.
    fpr : float in (0, 1), default=0.05
        The rate that is asked for.
    cache : None, True or path, default=None
        As in `DeepFeatureTransformer`.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    DataFrame
        Of category, backbone, copies, alteration, AUROC, the false alarms among the normal images and the share of the
        anomalous ones that was found, all in percent.

    Raises
    ------
    ValueError
        If there is no category.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skgad.benchmark import load_packaged, run_shift
    >>> (cells,) = load_packaged(["elpv_mono"])
    >>> few = cells._replace(
    ...     X_train=cells.X_train[:24],
    ...     X_test=cells.X_test[[0, 1, -2, -1]],
    ...     y_test=cells.y_test[[0, 1, -2, -1]],
    ... )
    >>> with tempfile.TemporaryDirectory() as out:
    ...     table = run_shift(categories=[few], out=Path(out), backbone="tf_efficientnet_lite0", copies=(0,))
    >>> table["alteration"].nunique()
    16
    """
    if not categories:
        raise ValueError("categories is empty: there is nothing to measure.")
    path = out / "shift.csv"
    done = (
        pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["category", "backbone", "copies", "alteration"])
    )
    for category in categories:
        for n_copies in copies:
            of_this = (
                (done["category"] == category.name) & (done["backbone"] == backbone) & (done["copies"] == n_copies)
            )
            if set(ALTERATIONS) <= set(done.loc[of_this, "alteration"]):
                continue
            rows = _measure(category, backbone, n_copies, fpr, cache, verbose)
            done = pd.concat([done[~of_this], pd.DataFrame(rows)], ignore_index=True)
            text = done.to_csv(index=False)
            write_atomically(path, lambda file, text=text: file.write(text.encode()))
    table = _lay_out(done, fpr)
    write_atomically(out / "shift.md", lambda file: file.write(table.encode()))
    return done


def _measure(category, backbone, n_copies, fpr, cache, verbose):
    from ..deep._variation import AlteredImages, VariedImages  # they need torch

    extractor = DeepFeatureTransformer(backbone, grid=(1, 2), cache=cache, verbose=verbose)
    varied = VariedImages(list(category.X_train), n_copies)
    features = extractor.fit_transform(varied)
    groups = varied.groups if n_copies else None
    inspector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=fpr).fit(features, groups=groups)
    normal, rows = np.asarray(category.y_test) == 1, []
    for alteration, (alter, strengths) in ALTERATIONS.items():
        test = extractor.transform(AlteredImages(list(category.X_test), alter, strengths))
        called = inspector.predict(test) == -1
        rows.append(
            {
                "category": category.name,
                "backbone": backbone,
                "copies": n_copies,
                "alteration": alteration,
                "AUROC": 100 * roc_auc_score(normal, inspector.score_samples(test)),
                "false alarms": 100 * called[normal].mean(),
                "found": 100 * called[~normal].mean(),
            }
        )
    return rows


def _lay_out(done, fpr):
    """Return a table in Markdown: means over the categories, a row an alteration."""
    means = done.groupby(["alteration", "copies"], sort=False)[["AUROC", "false alarms", "found"]].mean().unstack()
    copies = sorted(done["copies"].unique())
    head = [f"{what}, {n} copies" for n in copies for what in ("AUROC", "false alarms", "found")]
    lines = [
        f"Means over {done['category'].nunique()} categories, in %; {100 * fpr:g} % false alarms were asked for.\n",
        "| | " + " | ".join(head) + " |",
        "|---" * (1 + len(head)) + "|",
    ]
    for alteration in ALTERATIONS:
        cells = [means.loc[alteration, (what, n)] for n in copies for what in ("AUROC", "false alarms", "found")]
        lines.append(f"| {alteration} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"
