"""The training of an autoencoder, and its maps."""

from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load

from .._network import choose_device, find_device
from .._resizing import resize
from ._autoencoder_network import AutoencoderNetwork, ReconstructionObjective, error_maps
from ._checkpoint import Checkpoint, digest_training
from ._examination import examine_by_loss
from ._loop import Loop, NotFiniteError, Plan, repeatable
from ._progress import show_epochs
from ._squares import Squares, divide


class Trained(NamedTuple):
    """What a training gives."""

    network: AutoencoderNetwork
    loop: Loop
    rows: np.ndarray
    validation_rows: np.ndarray


def train(images, rows, parameters):
    """Train an autoencoder.

    Parameters
    ----------
    images : sequence of images
        What `check_images` returned.
    rows : ndarray of int
        Positions of the normal ones.
    parameters : dict
        Those of an `AutoencoderDetector`, checked.

    Returns
    -------
    Trained
    """
    device, seed, size = find_device(parameters["device"]), parameters["random_state"], parameters["image_size"]
    trained, held_out = divide(rows, parameters["validation_fraction"], seed)
    network, objective = AutoencoderNetwork(size, device, seed), ReconstructionObjective()
    squares, others = (_read(images, part, size, parameters["num_workers"]) for part in (trained, held_out))
    checkpoint = None
    if parameters["checkpoint"] is not None:
        names = ("image_size", "learning_rate", "batch_size", "max_epochs", "patience", "random_state")
        settings = {"kind": "autoencoder", **{name: parameters[name] for name in names}}
        checkpoint = Checkpoint(parameters["checkpoint"], digest_training(settings, squares, others))
    with show_epochs(parameters["verbose"], parameters["max_epochs"]) as advance, repeatable(device):
        loop = Loop(
            network,
            objective,
            squares,
            alter=None,
            examine=examine_by_loss(network, objective, others),
            plan=Plan(
                parameters["batch_size"],
                parameters["learning_rate"],
                parameters["max_epochs"],
                parameters["patience"],
                seed,
            ),
            checkpoint=checkpoint,
            advance=advance,
        )
        try:
            loop.run()
        except NotFiniteError as error:
            raise ValueError(f"{error}.") from error
    return Trained(network, loop, trained, held_out)


def rebuild(state, image_size, device):
    """Return the network of stored weights, safetensors bytes."""
    network = AutoencoderNetwork(image_size, find_device(choose_device(device, may_be_absent=True)), 0)
    network.restore(load(state))
    return network


def iter_maps(network, images, rows, image_size, num_workers, batch_size):
    """Yield the maps of the images at the positions `rows`, (n, size, size), float32, in batches."""
    squares = Squares(images, rows, resize_to(image_size), image_size, num_workers, held=False)
    for _, part in squares.batches(np.arange(len(rows)), batch_size):
        with torch.no_grad(), network.at_work():
            yield error_maps(network(part)).cpu().numpy()


def resize_to(image_size):
    """Return a function from a decoded image to a square."""
    return lambda image: resize(image, image_size)


def _read(images, rows, image_size, num_workers):
    return Squares(images, rows, resize_to(image_size), image_size, num_workers)
