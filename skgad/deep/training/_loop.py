"""The loop: epochs of steps on an objective, examined after each; the best state is kept, and a killed run goes on."""

import logging
import math
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from ..._conventions._warnings import warn
from ...exceptions import DeviceMemoryError, TrainingWarning

_LOGGER = logging.getLogger("skgad")


class Plan(NamedTuple):
    """How long, and in what steps."""

    batch_size: int
    learning_rate: float
    max_epochs: int
    patience: int | None  # epochs without a better criterion; None where there is none
    random_state: int


class Epoch(NamedTuple):
    """A row of the history."""

    epoch: int  # 0 is the frozen network
    loss: float  # mean over the training images, as they were seen during the epoch; NaN for the frozen network
    criterion: float  # higher is better; NaN where nothing is examined


class NotFiniteError(ArithmeticError):
    """A loss is NaN or infinite."""


class Loop:
    """A training.

    Parameters
    ----------
    network : TunedNetwork
    objective : Objective
        Settled.
    squares : Squares
        Of the training images.
    alter : callable
        From a square and (epoch, index) to an altered one; for objectives that want them.
    anomalous : ndarray of bool of shape (n_images,), default=None
        Which training images are anomalous, where they have labels.
    examine : callable or None
        Returns the criterion of the network as it is.
    plan : Plan
    checkpoint : Checkpoint or None
    advance : callable
        Is told of each finished epoch.

    Attributes
    ----------
    history : list of Epoch
    best : int
        The epoch whose state the network has in the end.
    """

    def __init__(
        self, network, objective, squares, *, alter, examine, plan, anomalous=None, checkpoint=None, advance=None
    ):
        self._network, self._objective, self._squares, self._plan = network, objective, squares, plan
        self._anomalous = np.zeros(len(squares), dtype=bool) if anomalous is None else anomalous
        self._alter, self._examine, self._checkpoint, self._advance = alter, examine, checkpoint, advance
        self._optimizer = torch.optim.Adam(
            network.model.parameters(), lr=plan.learning_rate, weight_decay=objective.weight_decay
        )
        self._micro_batch = plan.batch_size  # images that go through the network together
        self.history: list[Epoch] = []
        self.best = 0
        self._best_state: dict[str, Any] = {}

    def run(self):
        """Train until the criterion has not risen for `patience` epochs, or to the last epoch; leave the best state.

        An interrupt (Ctrl-C) ends it after the best state so far, with a warning; so does a loss that is not finite,
        once there is a better state to return to.

        Raises
        ------
        NotFiniteError
            If a loss is not finite, and no state was examined that could be returned to.
        DeviceMemoryError
            If the memory of the device does not suffice for a single image.
        """
        try:
            if not self._resume():
                self._finish_epoch(0, math.nan)
            while not self._is_over():
                number = len(self.history)
                self._finish_epoch(number, self._train_epoch(number))
        except KeyboardInterrupt:
            self._stop("The training was interrupted")
        except NotFiniteError as error:
            if self._examine is None:
                raise
            self._stop(str(error))
        if self._best_state:
            self._network.restore(self._best_state)

    def _is_over(self):
        number, patience = len(self.history) - 1, self._plan.patience
        return number >= self._plan.max_epochs or (patience is not None and number - self.best >= patience)

    def _stop(self, reason):
        if not self.history:
            raise KeyboardInterrupt
        warn(f"{reason}. The state of epoch {self.best} is kept, of {len(self.history) - 1} epochs.", TrainingWarning)

    def _train_epoch(self, number):
        rng = np.random.default_rng([self._plan.random_state, 0, number])
        total = 0.0
        for index, squares in self._squares.batches(rng.permutation(len(self._squares)), self._plan.batch_size):
            altered = torch.from_numpy(rng.random(len(index)) < self._objective.n_altered)
            if altered.any():
                squares = squares.clone()
                for place in np.flatnonzero(altered.numpy()):
                    squares[place] = self._alter(squares[place], (number, int(index[place])))
            loss = self._step(squares, altered | torch.from_numpy(self._anomalous[index]))
            if not math.isfinite(loss):
                rows = self._squares.rows[index].tolist()
                raise NotFiniteError(
                    f"The loss is {loss} in epoch {number}, in the batch of images {rows}: a learning_rate below "
                    f"{self._plan.learning_rate:g} may help"
                )
            self._optimizer.step()
            total += loss
        return total / len(self._squares)

    def _step(self, squares, altered):
        """Set the gradient of the mean loss of a batch, in as many parts as memory asks for; return the summed loss."""
        while True:
            try:
                return self._accumulate(squares, altered)
            except torch.OutOfMemoryError:
                pass  # only when the exception is gone, so are the activations that its traceback holds
            self._halve()

    def _accumulate(self, squares, altered):
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(squares), self._micro_batch):
            part = slice(start, start + self._micro_batch)
            with self._network.at_work():
                outputs = self._network(squares[part], self._objective.take)
            losses = self._objective.losses(outputs, altered[part].to(self._network.device))
            (losses.sum() / len(squares)).backward()
            total += losses.sum().item()
        return total

    def _halve(self):
        self._optimizer.zero_grad(set_to_none=True)
        if self._micro_batch == 1:
            raise DeviceMemoryError(
                f"The memory of {self._network.device} does not suffice to train on a single image. Take a smaller "
                "image_size or backbone, or device='cpu'."
            )
        self._micro_batch //= 2
        torch.cuda.empty_cache()  # does nothing without CUDA
        _LOGGER.warning(
            "Out of memory on %s: going on with %d images at a time, in batches of %d as before.",
            self._network.device,
            self._micro_batch,
            self._plan.batch_size,
        )

    def _finish_epoch(self, number, loss):
        criterion = math.nan if self._examine is None else self._examine()
        self.history.append(Epoch(number, loss, criterion))
        if self._examine is None or number == 0 or criterion > self.history[self.best].criterion:
            self.best, self._best_state = number, self._network.state()
        if self._checkpoint is not None:
            self._checkpoint.write(
                {
                    "model": self._network.state(),
                    "best_state": self._best_state,
                    "optimizer": self._optimizer.state_dict(),
                    "history": [tuple(row) for row in self.history],
                    "best": self.best,
                }
            )
        if self._advance is not None:
            self._advance(self.history[-1], self.best)

    def _resume(self):
        """Go on from the checkpoint, if there is one; return whether there is."""
        found = None if self._checkpoint is None else self._checkpoint.read()
        if found is None:
            return False
        self._network.restore(found["model"])
        self._optimizer.load_state_dict(found["optimizer"])
        self.history = [Epoch(*row) for row in found["history"]]
        self.best, self._best_state = found["best"], found["best_state"]
        return True


@contextmanager
def repeatable(device):
    """Let CUDA take no convolution whose sums come in another order each time; the caller's setting comes back."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        if device.type == "cuda":
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
