"""What is known of a network before its weights are there: its levels, and the input that it wants."""

from typing import NamedTuple


class Level(NamedTuple):
    """One level of a network, and how its output is laid out."""

    number: int  # from 1
    module: str  # the module whose output it is, a dotted name; its first output, if it is called again
    channels: int
    reduction: int  # input pixels per location, along a side, at the network's nominal size
    layout: str = "NCHW"  # or "NHWC", "NLC" (tokens), "NC" (vectors)
    n_prefix_tokens: int = 0  # tokens in front that stand for no place in the image


class Architecture(NamedTuple):
    """A network without its weights."""

    name: str  # of timm, with the tag of its training; or what you call your own
    image_size: int  # nominal side of its square input, pixels
    mean: tuple[float, ...]  # of its input normalisation, on the scale 0..1
    std: tuple[float, ...]
    levels: tuple[Level, ...]
