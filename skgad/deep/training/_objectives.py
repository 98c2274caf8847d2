r"""What tuning minimises: a loss for each image, from what the levels of the network give.

An objective is *settled* once, by the frozen network's answers to the training images, and fixed from then on: that the
Gaussians do not follow the features is what keeps these from collapsing. Then it gives a loss for each image, and an
anomaly score, by which normal images are told from altered ones.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import psutil
import torch

from ..._gaussian._place_gaussians import factor_places
from ..._gaussian._places import PIVOT_IMAGES, PlaceSums, count_bytes
from .._forward import lay_out_map, pool_locations

GAUSSIANS = ("tied", "local", "global")
AGGREGATES = ("max", "mean")


class Objective(Protocol):
    """A loss and a score for each image, from the outputs of the levels."""

    n_altered: float  # the share of the training images that are altered, and count as anomalous
    weight_decay: float

    def take(self, level, output, size=None) -> Any:
        """Return what is kept of a level's output: the argument `take` of `run_levels`."""

    def settle(self, batches: Iterable) -> None:
        """Fix the parameters by what the frozen network gives of the training images, some at a time."""

    def losses(self, outputs, altered) -> torch.Tensor:
        """Return the loss of each image, (n,); `altered` is a mask of those that count as anomalous."""

    def scores(self, outputs) -> torch.Tensor:
        """Return the anomaly score of each image, (n,): higher is more anomalous."""

    def maps(self, levels) -> list:
        """Return the anomaly at each location, of maps of all levels: a list of (n, height, width)."""

    def to_arrays(self) -> list:
        """Return what was settled, as arrays."""

    def take_arrays(self, arrays: list) -> None:
        """Take what `to_arrays` has returned, in place of a settling."""


class GaussianObjective:
    """The Mahalanobis distance at each location of each level, its maximum over the map, averaged over the levels.

    Equation 5 of Rippel, Chavan, Lei and Merhof, "Transfer Learning Gaussian Anomaly Detection by Fine-tuning
    Representations". Means and covariances are those of the frozen network, shrunk by Ledoit and Wolf's rule.

    Parameters
    ----------
    numbers : list of int
        Of the levels, for messages.
    gaussian : {"tied", "local", "global"}
    aggregate : {"max", "mean"}
        Over the locations of a level.
    """

    n_altered = 0.0
    weight_decay = 0.0

    def __init__(self, numbers, gaussian="tied", aggregate="max"):
        self._numbers = numbers
        self._gaussian = gaussian
        self._aggregate = aggregate

    def take(self, level, output, size=None):
        return lay_out_map(output, level, size)

    def settle(self, batches):
        sums: list = []
        waiting: list = []
        for maps in batches:
            maps = [level.cpu().numpy() for level in maps]
            if not sums:
                waiting.append(maps)
                if sum(len(held[0]) for held in waiting) < PIVOT_IMAGES:
                    continue
                sums, maps = self._begin(waiting), [np.concatenate(level) for level in zip(*waiting, strict=True)]
            self._add(sums, maps)
        if not sums:
            maps = [np.concatenate(level) for level in zip(*waiting, strict=True)]
            sums = self._begin(waiting)
            self._add(sums, maps)
        pairs = [_factor(number, one) for number, one in zip(self._numbers, sums, strict=True)]
        means, factors = zip(*pairs, strict=True)
        self.take_arrays([array.astype(np.float32) for array in (*means, *factors)])

    def losses(self, outputs, altered=None):
        return self.scores(outputs)

    def scores(self, outputs):
        total = 0.0
        for distances in self.maps(outputs):
            flat = distances.flatten(1)
            total = total + (flat.amax(dim=1) if self._aggregate == "max" else flat.mean(dim=1))
        return total / len(outputs)

    def maps(self, levels):
        return [self._measure(index, level) for index, level in enumerate(levels)]

    def to_arrays(self):
        return [tensor.cpu().numpy() for tensor in (*self._means, *self._factors)]

    def take_arrays(self, arrays):
        tensors = list(map(torch.from_numpy, arrays))
        self._means, self._factors = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]

    def _begin(self, waiting):
        first = [np.concatenate(level)[:PIVOT_IMAGES] for level in zip(*waiting, strict=True)]
        needed = sum(count_bytes(self._gaussian, level.shape[1:3], level.shape[3]) for level in first)
        free = psutil.virtual_memory().available
        if needed > free:
            raise ValueError(
                f"gaussian={self._gaussian!r} on these levels takes {needed / 1e9:.3g} GB of memory, and "
                f"{free / 1e9:.3g} GB are free. Take gaussian='tied', fewer levels, or a smaller image_size."
            )
        return [PlaceSums.begin(level, self._gaussian) for level in first]

    def _add(self, sums, maps):
        for one, level in zip(sums, maps, strict=True):
            one.add(level)

    def _measure(self, index, maps):
        mean, factor = self._to(maps.device, index)
        n, height, width, channels = maps.shape
        places = maps.reshape(n, height * width, channels) - mean
        is_local = len(factor) > 1
        rows = places.permute(1, 2, 0) if is_local else places.reshape(1, -1, channels).transpose(1, 2)
        whitened = torch.linalg.solve_triangular(factor, rows, upper=False)
        distances = torch.linalg.vector_norm(whitened, dim=1)  # its gradient at 0 is 0, a square root's is none
        return (distances.T if is_local else distances).reshape(n, height, width)

    def _to(self, device, index):
        self._means[index], self._factors[index] = self._means[index].to(device), self._factors[index].to(device)
        return self._means[index], self._factors[index]


class SVDDObjective:
    """The L1 distance of the pooled features of all levels to their mean: Deep SVDD (Ruff et al., 2018), equation 1.

    The centre is the mean of the frozen network's features. The weight of the L2 penalty is not stated in the paper;
    here it is Deep SVDD's own, 1e-6.
    """

    n_altered = 0.0
    weight_decay = 1e-6

    def take(self, level, output, size=None):
        return pool_locations(output, level, "mean")

    def settle(self, batches):
        parts = [torch.cat(outputs, dim=1) for outputs in batches]
        self._centre = torch.cat(parts).double().mean(dim=0).float()

    def losses(self, outputs, altered=None):
        return self.scores(outputs)

    def scores(self, outputs):
        pooled = torch.cat(outputs, dim=1)
        self._centre = self._centre.to(pooled.device)
        return torch.linalg.vector_norm(pooled - self._centre, ord=1, dim=1)

    def maps(self, levels):
        """Return the L1 distance of each location to the level's part of the centre: our reading of the paper."""
        centres = self._centre.split([level.shape[-1] for level in levels])
        pairs = zip(levels, centres, strict=True)
        return [torch.linalg.vector_norm(level - centre, ord=1, dim=-1) for level, centre in pairs]

    def to_arrays(self):
        return [self._centre.cpu().numpy()]

    def take_arrays(self, arrays):
        self._centre = torch.from_numpy(arrays[0])


class FCDDObjective:
    r"""A hypersphere classifier on maps, with altered images as anomalies: FCDD (Liznerski et al., 2021), equation 2.

    The anomaly of a location is the pseudo-Huber norm :math:`\sqrt{\lVert d \rVert^2 / C + 1} - 1` of its deviation d
    from the level's mean, over C channels, in units of the channels' deviation; a level's is its mean over the map, the
    image's the mean over the levels. The papers leave open what a sphere on several levels is: this is our choice.
    """

    n_altered = 0.5
    weight_decay = 0.0

    def take(self, level, output, size=None):
        return lay_out_map(output, level, size)

    def settle(self, batches):
        sums: list = []
        for maps in batches:
            rows = [level.reshape(-1, level.shape[-1]).double() for level in maps]
            parts = [(len(part), part.sum(dim=0), part.square().sum(dim=0)) for part in rows]
            pairs = zip(sums, parts, strict=True) if sums else ((part,) for part in parts)
            sums = [tuple(map(sum, zip(*pair, strict=True))) for pair in pairs]
        self._centres, self._scales = [], []
        for n_rows, total, squares in sums:
            mean = total / n_rows
            variance = (squares / n_rows - mean.square()).clamp_min(0)
            floor = variance.mean() * 1e-4  # a channel that hardly varies is not blown up
            self._centres.append(mean.float())
            self._scales.append((variance + floor).clamp_min(torch.finfo(torch.float64).tiny).sqrt().float())

    def losses(self, outputs, altered):
        anomaly = self.scores(outputs)
        # -log(1 - exp(-a)), and its limit where a is 0, without an infinite slope
        against = -torch.log(-torch.expm1(-anomaly.clamp_min(1e-6)))
        return torch.where(altered, against, anomaly)

    def scores(self, outputs):
        return sum(level.flatten(1).mean(dim=1) for level in self.maps(outputs)) / len(outputs)

    def maps(self, levels):
        return [self._measure(index, level) for index, level in enumerate(levels)]

    def to_arrays(self):
        return [tensor.cpu().numpy() for tensor in (*self._centres, *self._scales)]

    def _measure(self, index, maps):
        centre, scale = (what[index].to(maps.device) for what in (self._centres, self._scales))
        squares = ((maps - centre) / scale).square().mean(dim=-1)
        return (squares + 1).sqrt() - 1

    def take_arrays(self, arrays):
        tensors = list(map(torch.from_numpy, arrays))
        self._centres, self._scales = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]


def make_objective(name, numbers, gaussian, aggregate):
    """Return the objective of a name: "gaussian", "svdd" or "fcdd"."""
    if name == "gaussian":
        return GaussianObjective(numbers, gaussian, aggregate)
    return {"svdd": SVDDObjective, "fcdd": FCDDObjective}[name]()


def _factor(number, sums):
    try:
        return factor_places(sums)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"The covariance of level {number} is singular over {sums.n_images} normal images: they are all the same "
            "there. Give more, and more different, images; or leave the level out."
        ) from error
    except ValueError as error:
        raise ValueError(f"Level {number}: {error}.") from error
