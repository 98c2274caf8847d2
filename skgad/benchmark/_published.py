"""The figures that the paper published, to be set beside ours. AUROC, standard errors and rates in percent.

Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
Detection", ICPR 2020. Tables I to V, VII and VIII, word for word; where its text and its tables disagree, the tables.
"""

from functools import cache

AUGMENTED = ", augmented"
_B = tuple(f"tf_efficientnet_b{index}.aa_in1k" for index in range(8))
EFFICIENTNETS = _B
RESNETS = ("resnet18.tv_in1k", "resnet34.tv_in1k", "resnet50.tv_in1k")

# level, then mean and SEM of each column
_TABLE_1 = """
1 44.5 4.8 51.6 5.7 60.3 6.1
2 47.3 5.3 48.1 5.1 62.0 6.4
3 58.1 5.9 59.2 6.3 71.1 5.4
4 59.7 4.7 61.5 5.1 75.6 5.5
5 62.6 4.8 66.1 5.0 82.1 4.6
6 71.7 4.4 74.3 4.3 89.1 3.1
7 82.9 4.3 85.1 4.0 96.7 1.0
8 83.2 3.7 85.2 3.4 95.5 1.1
9 83.3 3.7 87.8 3.0 93.1 1.7
Sum 75.3 4.5 79.5 6.6 94.8 1.6
"""
_TABLE_2 = """
1 56.8 6.0 56.7 6.0 59.9 6.1 60.1 6.3 60.3 6.1 61.5 6.2 61.3 6.3 60.4 6.2
2 62.3 5.7 58.2 6.0 59.5 5.7 62.0 6.2 62.0 6.4 63.7 6.5 63.2 6.4 61.6 7.0
3 68.4 6.0 67.8 6.1 68.4 5.9 70.1 6.2 71.1 5.4 69.5 6.2 70.6 5.7 71.2 5.8
4 73.8 5.4 73.6 5.7 75.2 5.2 73.5 5.6 75.6 5.5 76.5 5.4 75.1 5.9 76.8 5.2
5 79.1 5.3 81.0 4.8 82.7 4.9 82.1 5.1 82.1 4.6 83.9 4.3 81.7 4.8 82.4 4.8
6 86.1 4.1 87.1 3.9 89.1 3.6 91.2 2.8 89.1 3.1 89.0 3.0 88.1 3.1 87.5 3.6
7 92.5 2.3 95.3 1.4 95.5 1.4 96.4 1.2 96.7 1.0 96.9 1.2 96.7 1.1 96.3 1.6
8 92.2 2.5 94.7 1.5 94.7 1.6 94.8 1.7 95.5 1.1 96.2 1.2 95.7 1.0 95.7 1.3
9 91.3 3.0 93.4 2.0 93.1 2.0 92.8 2.1 93.1 1.7 93.0 1.9 93.4 1.5 92.2 1.8
Sum 90.6 3.2 93.3 2.2 93.6 2.1 94.0 2.2 94.8 1.6 95.2 1.6 95.3 1.2 94.2 1.8
"""
_TABLE_3 = """
1 60.3 6.1 50.8 6.1 45.8 5.4 64.1 6.4 67.8 6.6 69.9 6.2
2 62.0 6.4 53.3 5.9 48.6 5.7 67.6 6.3 68.0 5.9 67.3 5.7
3 71.1 5.4 65.5 6.5 59.7 6.2 71.6 4.9 68.1 4.2 65.7 3.7
4 75.6 5.5 69.5 6.1 63.2 6.4 76.1 5.1 73.1 4.6 69.4 4.0
5 82.1 4.6 76.2 5.3 66.6 6.5 82.5 4.0 78.7 3.6 72.3 3.7
6 89.1 3.1 83.3 4.8 77.3 5.7 90.2 2.5 88.2 2.4 83.6 2.9
7 96.7 1.0 93.4 2.1 87.1 4.0 96.1 1.0 94.5 1.3 89.6 2.5
8 95.5 1.1 91.9 2.1 88.6 3.1 94.8 1.2 93.8 1.4 90.6 2.3
9 93.1 1.7 91.3 2.1 88.6 2.9 93.3 1.6 91.2 2.1 86.3 3.0
Sum 94.8 1.6 89.6 3.4 82.2 6.0 95.6 1.3 95.5 1.2 94.0 1.6
"""
# n sigma, then FPR and TPR of each column; AUROC of each column
_TABLE_4 = """
1 17.9 77.8 30.4 89.1 47.4 94.0 66.1 98.4
2 10.1 71.2 19.3 84.2 29.8 88.9 56.0 97.3
3 5.8 66.1 13.5 80.2 18.9 83.2 44.7 95.9
4 1.9 61.3 9.3 76.3 11.3 78.5 35.7 94.0
5 0.7 57.0 6.5 72.7 6.8 74.4 28.2 91.6
AUROC 90.3 93.2 93.7 97.1
"""
_TABLE_7 = """
1 66.6 6.4 67.5 6.8 68.0 5.9
2 71.6 6.4 71.9 6.1 73.7 6.4
3 78.6 5.0 79.4 4.8 81.3 4.9
4 86.7 4.1 90.4 3.6 89.0 4.3
5 88.3 2.7 89.0 3.0 86.9 3.8
Sum 86.4 4.0 88.2 4.0 87.3 4.5
"""
# category, then AUROC of each column
_TABLE_8 = """
carpet 65.9 80.5 97.5 96.8 97.2 98.9 100.0 100.0 61.1 89.2
grid 80.9 92.9 90.2 89.3 97.8 98.4 81.7 89.7 23.7 44.7
leather 46.0 90.5 99.8 98.4 98.8 99.1 99.7 100.0 75.8 86.7
tile 55.4 75.7 97.7 99.1 99.2 97.8 99.8 99.8 91.6 95.7
wood 91.8 91.4 98.1 95.0 95.6 99.6 98.6 99.6 92.5 79.1
bottle 97.5 85.5 94.9 98.2 99.5 99.5 99.8 100.0 98.4 97.7
cable 79.5 58.3 91.1 90.8 92.2 92.0 95.5 95.0 78.3 81.0
capsule 74.5 76.7 92.4 93.0 89.0 96.3 93.8 95.1 66.1 73.0
hazelnut 90.0 91.1 98.6 98.8 98.4 99.8 99.6 99.1 83.5 81.7
metal_nut 58.2 64.6 95.6 95.4 94.6 96.8 94.7 94.7 73.4 77.3
pill 80.1 58.0 86.0 83.3 89.8 93.6 88.4 88.7 66.7 69.0
screw 95.7 93.7 85.0 88.8 90.3 95.2 85.4 85.2 19.5 31.0
toothbrush 94.2 100.0 82.0 86.9 80.7 85.4 96.4 96.9 90.5 86.3
transistor 85.9 79.1 92.4 89.7 90.0 94.1 96.3 95.5 82.0 83.8
zipper 86.8 88.8 97.9 98.3 98.8 97.9 97.8 97.9 91.7 94.7
mean 78.8 81.8 93.3 93.4 94.1 96.3 95.2 95.8 73.0 78.1
sem 4.1 3.4 1.4 1.3 1.4 1.0 1.5 1.2 6.1 4.7
"""
_COLUMNS_1 = [(_B[4], "L2"), (_B[4], "SED"), (_B[4], "Mahalanobis")]
_COLUMNS_2 = [(name, "Mahalanobis") for name in _B]
_COLUMNS_3 = [
    (_B[4], name) for name in ("Mahalanobis", "PCA 99 %", "PCA 95 %", "NPCA 1 %", "NPCA 0.1 %", "NPCA 0.01 %")
]
_COLUMNS_4 = [
    (_B[0], "PCA 99 %" + AUGMENTED),
    (_B[0], "Mahalanobis" + AUGMENTED),
    (_B[4], "NPCA 1 %" + AUGMENTED),
    (_B[4], "Mahalanobis" + AUGMENTED),
]
_COLUMNS_7 = [(name, "Mahalanobis") for name in RESNETS]
_COLUMNS_8 = [
    ("ResNet-18", "autoencoder, map mean"),
    ("ResNet-18", "autoencoder, CCA"),
    (RESNETS[0], "supervised"),
    (RESNETS[1], "supervised"),
    (_B[0], "supervised"),
    (_B[4], "supervised"),
    (_B[4], "Mahalanobis" + AUGMENTED),
    (_B[4], "NPCA 1 %" + AUGMENTED),
    (_B[0], "one-class SVM"),
    (_B[4], "one-class SVM"),
]

# Approach, architecture, mean, SEM: what the paper itself only quotes (Table V).
QUOTED = (
    ("GeoTrans", "Wide-ResNet", 67.2, 4.7),
    ("GANomaly", "DCGAN", 76.1, 1.6),
    ("ITAE", "custom", 83.9, 2.8),
    ("SPADE", "Wide-ResNet50-2", 85.5, None),
)

# Approach, architecture, mean, SEM: what is trained (Table V), by ``python -m skgad.benchmark tuning V``.
TRAINED = (
    ("Autoencoder, map mean", "ResNet-18", 78.8, 4.1),
    ("Autoencoder, CCA", "ResNet-18", 81.8, 3.4),
    ("Supervised bound", "resnet18.tv_in1k", 93.3, 1.4),
    ("Supervised bound", "resnet34.tv_in1k", 93.4, 1.3),
    ("Supervised bound", "tf_efficientnet_b0.aa_in1k", 94.1, 1.4),
    ("Supervised bound", "tf_efficientnet_b4.aa_in1k", 96.3, 1.0),
)
# From the second paper, image AUROC of its chapter on fine-tuning: after tuning, without a standard error here.
FINE_TUNED = ("Fine-tuned, Mahalanobis", "tf_efficientnet_b4.aa_in1k", 97.1, None)


def published(table, backbone, method, level, category=""):
    """Return the published mean and SEM of a cell, in percent, or None where there is none.

    Parameters
    ----------
    table : int
        1 to 4, 7 or 8; V holds the means of VIII.
    backbone, method : str
    level : str
        "1" to "9" or "sum"; in table 4 "1 sigma fpr", "1 sigma tpr", ..., "auroc".
    category : str, default=""
        Of table 8; the mean over all fifteen where it is empty.

    Returns
    -------
    tuple of (float, float or None), or None

    Examples
    --------
    >>> from skgad.benchmark import published
    >>> published(1, "tf_efficientnet_b4.aa_in1k", "Mahalanobis", "7")
    (96.7, 1.0)
    """
    return _read().get((table, backbone, method, level, category))


@cache
def _read():
    figures = {}
    levels = [
        (1, _TABLE_1, _COLUMNS_1),
        (2, _TABLE_2, _COLUMNS_2),
        (3, _TABLE_3, _COLUMNS_3),
        (7, _TABLE_7, _COLUMNS_7),
    ]
    for table, text, columns in levels:
        for level, *values in _split(text):
            for column, pair in zip(columns, zip(values[::2], values[1::2], strict=True), strict=True):
                figures[table, *column, level.lower(), ""] = pair
    for n, *values in _split(_TABLE_4):
        for index, value in enumerate(values):
            row = "auroc" if n == "AUROC" else f"{n} sigma {('fpr', 'tpr')[index % 2]}"
            figures[4, *_COLUMNS_4[index if n == "AUROC" else index // 2], row, ""] = (value, None)
    *categories, means, errors = _split(_TABLE_8)
    for category, *values in categories:
        for column, value in zip(_COLUMNS_8, values, strict=True):
            figures[8, *column, "sum", category] = (value, None)
    for column, mean, error in zip(_COLUMNS_8, means[1:], errors[1:], strict=True):
        figures[8, *column, "sum", ""] = (mean, error)
    return figures


def _split(text):
    return [[name, *map(float, values)] for name, *values in map(str.split, text.strip().splitlines())]
