"""CIFAR-10, one class against the rest: the binary version, which holds pixels and nothing that could be run."""

from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIDE = 32
_RECORD = 1 + 3 * _SIDE**2  # a label, and red, green and blue, row by row


def load_cifar10(root, normal):
    """Return CIFAR-10 with one class as the normal one, the others as anomalies.

    Parameters
    ----------
    root : path
        The folder of the binary version, ``cifar-10-batches-bin``, with ``data_batch_1.bin`` to ``data_batch_5.bin``
        and ``test_batch.bin``, or the one that holds it. The Python version is pickled, and could run code.
    normal : int or str
        The normal class, 0 to 9, or its name, such as "ship".

    Returns
    -------
    Bunch
        - ``X_train`` : ndarray of uint8 of shape (n_train, 32, 32, 3), the training images of the normal class;
        - ``X_test`` : ndarray of uint8 of shape (n_test, 32, 32, 3), all test images;
        - ``y_test`` : ndarray of int, +1 for the normal class, -1 for the others;
        - ``kind_test`` : ndarray of str, the names of the classes, "good" for the normal one;
        - ``mask_test`` : ndarray of None.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the class is unknown, or a file has another size or label than CIFAR-10's.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skgad.datasets import load_cifar10
    >>> record = np.zeros((2, 3073), dtype=np.uint8)
    >>> record[1, 0] = 8
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
    ...         _ = (Path(root) / f"{name}.bin").write_bytes(record.tobytes())
    ...     data = load_cifar10(root, normal="ship")
    >>> data.X_train.shape, data.kind_test.tolist()
    ((5, 32, 32, 3), ['airplane', 'good'])
    """
    number = CIFAR10.index(normal) if normal in CIFAR10 else normal
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < 10:
        raise ValueError(f"normal must be 0 to 9, or one of {', '.join(CIFAR10)}; got {normal!r}.")
    root = Path(root)
    root = root / "cifar-10-batches-bin" if (root / "cifar-10-batches-bin").is_dir() else root
    parts = [_read(root / f"data_batch_{batch}.bin") for batch in range(1, 6)]
    train, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    test, of_test = _read(root / "test_batch.bin")
    kinds = np.array([CIFAR10[label] if label != number else "good" for label in of_test], dtype=str)
    return Bunch(
        X_train=train[labels == number],
        X_test=test,
        y_test=np.where(of_test == number, 1, -1),
        kind_test=kinds,
        mask_test=np.full(len(test), None, dtype=object),
    )


def has_cifar10(root):
    """Return whether a folder holds the binary version, or the folder of it."""
    return (root / "cifar-10-batches-bin").is_dir() or (root / "data_batch_1.bin").is_file()


def _read(path):
    """Return the images (n, 32, 32, 3) and labels of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it belongs to the binary version of CIFAR-10.")
    records = np.fromfile(path, dtype=np.uint8)
    if not records.size or records.size % _RECORD or records[::_RECORD].max() > 9:
        raise ValueError(f"{path} is no file of the binary version of CIFAR-10: records of {_RECORD} bytes are due.")
    records = records.reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1).copy(), records[:, 0]
