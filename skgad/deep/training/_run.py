"""A whole tuning: images divided, the objective settled by the frozen network, the network trained."""

from typing import NamedTuple

import numpy as np
import torch

from ._checkpoint import Checkpoint, digest_training
from ._examination import answer, examine_by_loss, examine_by_vicinity
from ._loop import Loop, NotFiniteError, Plan, repeatable
from ._objectives import make_objective
from ._squares import Squares, divide, to_bytes, to_squares
from ._tuned_network import TunedNetwork
from ._vicinity import alter

_SETTLING = 8  # images that go through the frozen network together


class Tuned(NamedTuple):
    """What a tuning gives."""

    model: torch.nn.Module  # on the CPU
    loop: Loop
    settled: list  # the objective's arrays
    rows: np.ndarray  # of the images that were trained on
    validation_rows: np.ndarray


def tune(extraction, images, rows, device, parameters, num_workers, advance=None):
    """Tune the network of an extraction on normal images.

    Parameters
    ----------
    extraction : Extraction
    images : sequence of images
        What `check_images` returned.
    rows : ndarray of int
        Positions of the normal ones.
    device : torch.device
    parameters : dict
        Those of a `FineTuner`, checked.
    num_workers : int
        Threads that read images.
    advance : callable, default=None
        Is told of each epoch, and of the best one so far.

    Returns
    -------
    Tuned
    """
    levels = extraction.settings["levels"]
    network = TunedNetwork(extraction.source, levels, device, extraction.settings["precision"])
    objective = make_objective(parameters["objective"], levels, parameters["gaussian"], parameters["aggregate"])
    seed = parameters["random_state"]
    fraction = parameters["validation_fraction"] if parameters["validation"] else 0.0
    trained, held_out = divide(rows, fraction, seed)
    size = extraction.settings["image_size"]
    squares, others = (Squares(images, part, extraction.resize, size, num_workers) for part in (trained, held_out))
    checkpoint = None
    if parameters["checkpoint"] is not None:
        settings = {**extraction.settings, **parameters, "checkpoint": "", "sha256": network.sha256}
        checkpoint = Checkpoint(parameters["checkpoint"], digest_training(settings, squares, others))
    scheme, severity = parameters["vicinity"], parameters["severity"]

    def alter_square(square, seeds):
        image = alter(to_bytes(square), [seed, 3, *seeds], scheme=scheme, severity=severity)
        return to_squares([image])[0]

    with repeatable(device):
        objective.settle(_answers(network, objective, squares))
        examine = None
        if parameters["validation"] == "vicinity":
            options = {"scheme": scheme, "severity": severity, "random_state": seed}
            examine = examine_by_vicinity(network, objective, others, **options)
        elif parameters["validation"] == "loss":
            examine = examine_by_loss(network, objective, others)
        loop = Loop(
            network,
            objective,
            squares,
            alter=alter_square,
            examine=examine,
            plan=Plan(
                parameters["batch_size"],
                parameters["learning_rate"],
                parameters["max_epochs"],
                None if examine is None else parameters["patience"],
                seed,
            ),
            checkpoint=checkpoint,
            advance=advance,
        )
        try:
            loop.run()
        except NotFiniteError as error:
            raise ValueError(f"{error}.") from error
    model = network.model.requires_grad_(False).cpu()
    return Tuned(model, loop, objective.to_arrays(), trained, held_out)


def _answers(network, objective, squares):
    """Yield what the frozen network gives of the training images."""
    for _, part in squares.batches(np.arange(len(squares)), _SETTLING):
        yield from answer(network, objective, part)
