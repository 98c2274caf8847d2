"""What tells a better state of a network from a worse one, without any anomaly: normal images against altered ones."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ...exceptions import DeviceMemoryError
from ._squares import to_bytes, to_squares
from ._vicinity import draw_vicinity

_BATCH = 16  # images that go through the network together
_DRAWS = 10  # for each validation image


def examine_by_vicinity(network, objective, squares, *, scheme, severity, random_state):
    """Return a function to the AUROC by which the network tells validation images from altered ones.

    Ten times as many as there are validation images are drawn, once, so that epochs compare; 70 % of them are altered
    (section 4.2 of the paper). All of them are rounded to bytes, the normal ones too.

    Parameters
    ----------
    network : TunedNetwork
    objective : Objective
    squares : Squares
        Of the validation images.
    scheme, severity, random_state
        As in `draw_vicinity`.

    Returns
    -------
    callable
    """
    normal = np.concatenate([[to_bytes(one) for one in part] for _, part in squares.batches(_all(squares), _BATCH)])
    drawn, altered = draw_vicinity(
        normal, _DRAWS * len(normal), scheme=scheme, severity=severity, random_state=random_state
    )
    is_altered = np.array([image is not None for image in altered])
    images = np.concatenate([normal, [image for image in altered if image is not None]])

    def examine():
        scores = np.concatenate(
            [score(network, objective, to_squares(images[at : at + _BATCH])) for at in range(0, len(images), _BATCH)]
        )
        by_draw = scores[drawn]  # of those that are as they are, each image is scored once
        by_draw[is_altered] = scores[len(normal) :]
        return float(roc_auc_score(is_altered, by_draw)) if np.isfinite(by_draw).all() else 0.0

    return examine


def examine_by_loss(network, objective, squares):
    """Return a function to minus the mean score of validation images (Table 2 of the paper)."""

    def examine():
        batches = squares.batches(_all(squares), _BATCH)
        return -float(np.mean(np.concatenate([score(network, objective, part) for _, part in batches])))

    return examine


def score(network, objective, squares):
    """Return the anomaly scores of some images, without gradients: (n,)."""
    with torch.no_grad():
        parts = [objective.scores(outputs).float().cpu().numpy() for outputs in answer(network, objective, squares)]
    return np.concatenate(parts)


def answer(network, objective, squares):
    """Yield what the objective takes of some images, without gradients, in as many parts as memory asks for.

    Raises
    ------
    DeviceMemoryError
        If the memory of the device does not suffice for a single image.
    """
    with torch.no_grad():  # not inference mode, whose tensors no later step could go through
        try:
            with network.at_work():
                outputs = [network(squares, objective.take)]
        except torch.OutOfMemoryError:
            outputs = []  # only when the exception is gone, so are the activations that its traceback holds
    if outputs:
        yield from outputs
        return
    if len(squares) == 1:
        raise DeviceMemoryError(
            f"The memory of {network.device} does not suffice for a single image. Take a smaller image_size or "
            "backbone, or device='cpu'."
        )
    for part in squares.split(len(squares) // 2):
        yield from answer(network, objective, part)


def _all(squares):
    return np.arange(len(squares))
