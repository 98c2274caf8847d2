"""Gaussians of all levels at once: what is learnt of their maps, and what measures them."""

import numpy as np
import psutil

from .._gaussian._place_gaussians import estimate_places
from .._gaussian._places import PlaceSums, count_bytes


class MapSums:
    """The sums of all levels: a memory of images that others join and leave."""

    def __init__(self, sums):
        self.sums = sums

    @classmethod
    def begin(cls, maps, kind):
        """Return the sums of no images, about the mean of these maps."""
        return cls([PlaceSums.begin(level, kind) for level in maps])

    @property
    def n_images(self):
        return self.sums[0].n_images

    def add(self, maps, rows):
        """Take the maps of some images in."""
        for sums, level in zip(self.sums, maps, strict=True):
            sums.add(level)

    def empty(self):
        """Return the sums of no images, to be merged with these or removed from them."""
        return MapSums([sums.empty() for sums in self.sums])

    def to_float32(self):
        """Return them as they are kept."""
        return MapSums([sums.to_float32() for sums in self.sums])

    def merge(self, other):
        """Return these sums with others."""
        return MapSums([one.merge(two) for one, two in zip(self.sums, other.sums, strict=True)])

    def remove(self, other):
        """Return these sums without some of theirs."""
        return MapSums([one.remove(two) for one, two in zip(self.sums, other.sums, strict=True)])


class MapGaussians:
    """The Gaussians of all levels, which measure their maps."""

    def __init__(self, gaussians):
        self.gaussians = gaussians

    def __call__(self, maps):
        return [gaussian.distances(level) for gaussian, level in zip(self.gaussians, maps, strict=True)]


def estimate_levels(memory, levels, n_components):
    """Return the Gaussians of all levels from their sums; raise ValueError that names the level."""
    if memory.n_images < 2:
        raise ValueError(
            f"A Gaussian needs at least two normal images to learn from; got n_samples = {memory.n_images}."
        )
    pairs = zip(levels, memory.sums, strict=True)
    return MapGaussians([_estimate_level(level, sums, n_components) for level, sums in pairs])


def check_room(maps, levels, kind, n_copies):
    """Return whether there is memory for so many copies of the sums; raise ValueError if there is not for one."""
    shapes = [level.shape[1:] for level in maps]
    parts = [count_bytes(kind, shape[:2], shape[2], n_copies) for shape in shapes]
    free = psutil.virtual_memory().available
    if sum(parts) > free and n_copies == 1:
        worst = int(np.argmax(parts))
        height, width, n_channels = shapes[worst]
        raise ValueError(
            f"gaussian={kind!r} on these levels takes {_write(sum(parts))} of memory, and {_write(free)} "
            f"are free. The most, {_write(parts[worst])}, goes to level {levels[worst]}: {height} x {width} "
            f"locations of {n_channels} channels. Leave that level out, take a smaller image_size, or another "
            "gaussian: 'tied' takes less than 'local', and 'global' the least."
        )
    return sum(parts) <= free


NOTHING_LEFT = (
    "Level {} has no location that lies in the region of interest for the better part. Take a larger region or "
    "image_size, or leave the level out."
)


def _estimate_level(level, sums, n_components):
    if not sums.n_rows.any():
        raise ValueError(NOTHING_LEFT.format(level))
    try:
        return estimate_places(sums, n_components)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"The covariance of level {level} is singular over {sums.n_images} normal images: they are all the "
            "same there, or only two different ones. Give more, and more different, images; or leave it out."
        ) from error
    except ValueError as error:
        raise ValueError(f"Level {level}: {error}.") from error


def _write(n_bytes):
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"
