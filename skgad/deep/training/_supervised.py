"""What labels would give: the network trained to tell normal from anomalous images. A bound for the papers' tables."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from ..._images._sequence import check_images
from .._forward import normalise, pool_locations, run_levels
from .._network import find_device
from .._threads import choose_workers
from .._torch import undisturbed
from ._examination import score
from ._loop import Loop, Plan, repeatable
from ._squares import Squares
from ._trained_network import TrainedNetwork

_BATCH = 16  # images that are judged together
_BATCH_SIZES = {"resnet": 64}  # the papers'; 16 for EfficientNets


class SupervisedNetwork(TrainedNetwork):
    """A pre-trained network with a linear classifier behind its deepest level, all of which is trained.

    Parameters
    ----------
    source : Source
    device : torch.device
    random_state : int
        Of the classifier's weights.
    """

    def __init__(self, source, device, random_state):
        architecture = source.architecture
        self._level = architecture.levels[-1]
        self.device = device
        with undisturbed():
            torch.default_generator.manual_seed(random_state)
            head = nn.Linear(self._level.channels, 1)
        self._backbone, self._head = source.load()[0].requires_grad_(True), head
        self.model = nn.ModuleList([self._backbone, self._head])
        self.model = self.model.to(device).to(memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).mul(255).reshape(1, 3, 1, 1)
            for values in (architecture.mean, architecture.std)
        )

    def __call__(self, squares, take=None):
        """Return the logits of anomaly, [(n,)], of images (n, 3, size, size) on the scale 0..255."""
        self.model.train(torch.is_grad_enabled())
        x = normalise(squares.to(self.device), self._mean, self._std)
        (pooled,) = run_levels(
            self._backbone, x, [self._level], lambda level, output: pool_locations(output, level, "mean")
        )
        return [self._head(pooled)[:, 0]]


class ClassificationObjective:
    """Binary cross-entropy, anomalous images being the positive class."""

    n_altered = 0.0
    weight_decay = 0.0
    take = None

    def losses(self, outputs, altered):
        return functional.binary_cross_entropy_with_logits(outputs[0], altered.float(), reduction="none")

    def scores(self, outputs):
        return outputs[0]


def score_supervised(extractor, images, y, train, validation, test, *, max_epochs, patience, random_state):
    """Train on some images with their labels, stop at the highest AUROC on others, and score yet others.

    Parameters
    ----------
    extractor : DeepFeatureTransformer
        Fitted: the network, the size of images, the device.
    images : sequence of images
    y : ndarray of int of shape (n_images,)
        +1 normal, -1 anomalous.
    train, validation, test : ndarray of int
        Positions.
    max_epochs, patience, random_state : int

    Returns
    -------
    ndarray of shape (n_test,)
        Logits: higher is more anomalous.
    """
    extraction, images = extractor._resolve(quiet=True), check_images(images)
    device, name = find_device(extractor.device), extraction.settings["backbone"]
    network, objective = SupervisedNetwork(extraction.source, device, random_state), ClassificationObjective()
    size = extraction.settings["image_size"]
    num_workers = choose_workers(extractor.num_workers, device.type)
    parts = [Squares(images, rows, extraction.resize, size, num_workers) for rows in (train, validation, test)]

    def judge(squares):
        batches = squares.batches(np.arange(len(squares)), _BATCH)
        return np.concatenate([score(network, objective, part) for _, part in batches])

    with repeatable(device):
        loop = Loop(
            network,
            objective,
            parts[0],
            alter=None,
            anomalous=np.asarray(y)[train] == -1,
            examine=lambda: float(roc_auc_score(np.asarray(y)[validation] == -1, judge(parts[1]))),
            plan=Plan(_BATCH_SIZES.get(name[:6], 16), 1e-4, max_epochs, patience, random_state),
        )
        loop.run()
        return judge(parts[2])
