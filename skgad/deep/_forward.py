"""One pass through a network that hands over its levels on the way and stops after the deepest one asked for.

A level is the output of a module, watched by a forward hook. Networks lay their outputs out in three ways: maps with
the channels first (NCHW), maps with the channels last (NHWC), and tokens (NLC), of which the first few may stand for no
place in the image: class tokens, registers.
"""

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from ..exceptions import BackboneError
from ._architecture import Level


def run_levels(model, x, levels, take: Callable, *, stops=True):
    """Run a batch through the network as far as the deepest of these levels.

    Parameters
    ----------
    model : torch.nn.Module
    x : Tensor of shape (n, 3, height, width)
    levels : sequence of Level
        In the order in which the forward pass reaches them.
    take : callable
        ``take(level, output)`` is called as soon as a level is there: a later module may change it in place. What it
        returns is kept.
    stops : bool, default=True
        Whether the pass ends at the last of them, by an exception, which torch's tracers do not take.

    Returns
    -------
    list
        What `take` returned, in the order of `levels`.

    Raises
    ------
    BackboneError
        If the forward pass does not reach one of them.
    """
    found: dict[str, object] = {}
    missing = {level.module for level in levels}

    def watch(level):
        def hook(_module, _inputs, output):
            if level.module not in missing:  # a module that is called again: its first output counts
                return
            found[level.module] = take(level, output)
            missing.discard(level.module)
            if not missing and stops:
                raise _LastLevel

        return hook

    handles = [find_module(model, level.module).register_forward_hook(watch(level)) for level in levels]
    try:
        model(x)
    except _LastLevel:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if missing:
        raise BackboneError(f"The forward pass never calls the module {min(missing)!r}; name one that it does.")
    return [found[level.module] for level in levels]


def normalise(x, mean, std):
    """Return images on the scale 0..255 as a network wants them; mean and deviation are on that scale."""
    return x.sub(mean).div_(std).contiguous(memory_format=torch.channels_last)


def measure_levels(model, modules, input_size, device, channels=None, n_prefix_tokens=0, channels_last=False):
    """Return the levels that the outputs of these modules make, read off one pass over an empty image.

    Parameters
    ----------
    model : torch.nn.Module
    modules : list of str
        Dotted names, in the order in which the forward pass reaches them.
    input_size : tuple of int
        Channels, height and width of the image.
    device : str
        Where the network lies.
    channels : list of int, default=None
        How many channels each level has, where that is known: it tells maps with the channels last.
    n_prefix_tokens : int, default=0
        How many tokens stand in front of the patches, where they are there at all.
    channels_last : bool, default=False
        Whether all maps have their channels last.

    Raises
    ------
    BackboneError
        If a module is missing or never called, its output is neither maps nor tokens, or it has other channels.
    """
    wanted = [Level(number, module, 0, 0) for number, module in enumerate(modules, start=1)]
    with torch.inference_mode():
        dtype = next((weight.dtype for weight in model.parameters()), torch.float32)
        x = torch.zeros((1, *input_size), device=device, dtype=dtype)
        shapes = run_levels(model, x, wanted, lambda level, output: tuple(getattr(output, "shape", ())))
    expected = channels or [None] * len(modules)
    levels = tuple(
        _describe(level, shape, _find_layout(shape, width, channels_last), input_size[-1], n_prefix_tokens)
        for level, shape, width in zip(wanted, shapes, expected, strict=True)
    )
    for level, width in zip(levels, expected, strict=True):
        if width not in (None, level.channels):
            raise BackboneError(f"the module {level.module!r} gives {level.channels} channels where {width} are due.")
    return levels


def find_module(model, name):
    """Return a module by its dotted name, or raise BackboneError."""
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        known = ", ".join(child for child, _ in model.named_children())
        raise BackboneError(f"there is no module {name!r}; at the top there are {known}.") from error


def pool_locations(output, level, how):
    """Return a level's output (n, ...), averaged over its locations or at their maximum, as float32 (n, channels)."""
    axes = {"NCHW": (2, 3), "NHWC": (1, 2), "NLC": (1,), "NC": ()}[level.layout]
    places = output[:, level.n_prefix_tokens :] if level.layout == "NLC" else output
    if not axes:
        return places.float()
    return places.float().mean(dim=axes) if how == "mean" else places.amax(dim=axes).float()


def pool_cells(output, level, how, sides, size=None, shares=None):
    """Return the same for each cell of grids, one cell after the other, as float32 (n, cells * channels).

    A cell holds the locations that it touches, so that cells overlap where they do not divide the map.

    Parameters
    ----------
    sides : tuple of int
        Of the grids; (1,) is the whole map, as `pool_locations` has it.
    size : (height, width), default=None
        Of the images, as `lay_out_map` takes it.
    shares : Tensor of shape (n, 1, height, width), default=None
        How much of each pixel is of interest, from 0 to 1. A location counts in a mean by its share, and takes part in
        a maximum if it has one.

    Raises
    ------
    BackboneError
        If the level has no locations.
    ValueError
        If a grid has more rows or columns than the level.
    """
    if sides == (1,) and shares is None:
        return pool_locations(output, level, how)
    maps = output if level.layout == "NCHW" else lay_out_map(output, level, size).permute(0, 3, 1, 2)
    height, width = maps.shape[2:]
    if max(sides) > min(height, width):
        raise ValueError(
            f"grid={max(sides)} has more cells along a side than level {level.number} ({level.module!r}) has "
            f"locations: {height} x {width}. Take a smaller grid, a larger image_size, or leave the level out."
        )
    cells = []
    for side in sides:
        if side == 1 and shares is None:
            cells.append(pool_locations(output, level, how))
        else:
            pooled = _pool(maps.float(), side, how, shares)
            cells.append(pooled.permute(0, 2, 3, 1).flatten(1))
    return torch.cat(cells, dim=1)


def _pool(maps, side, how, shares):
    """Return maps (n, channels, height, width), pooled over the cells of a grid, (n, channels, side, side)."""
    if shares is None:
        pool = functional.adaptive_avg_pool2d if how == "mean" else functional.adaptive_max_pool2d
        return pool(maps, side)
    weights = functional.adaptive_avg_pool2d(shares, maps.shape[2:])
    if how == "max":
        return functional.adaptive_max_pool2d(maps.masked_fill(weights == 0, -torch.inf), side)
    return functional.adaptive_avg_pool2d(maps * weights, side) / functional.adaptive_avg_pool2d(weights, side)


def lay_out_map(output, level, size=None):
    """Return a level's output as maps with the channels last, (n, height, width, channels), a float32 copy.

    A copy, since later modules may change the output in place.

    Parameters
    ----------
    output : Tensor
    level : Level
    size : (height, width), default=None
        Of the images, by whose sides tokens are laid out; None for squares.

    Raises
    ------
    BackboneError
        If the level has no locations, or its tokens fill no rectangle of the images' shape.
    """
    if level.layout == "NC":
        raise BackboneError(f"level {level.number} ({level.module!r}) is a vector without locations: it has no map.")
    maps = output
    if level.layout == "NCHW":
        maps = output.permute(0, 2, 3, 1)
    elif level.layout == "NLC":
        n_prefix = level.n_prefix_tokens
        height, width = size or (1, 1)
        down = round(math.sqrt((output.shape[1] - n_prefix) * height / width))
        across = round(down * width / height)
        if not down or down * across != output.shape[1] - n_prefix:
            raise BackboneError(
                f"level {level.number} ({level.module!r}) gives {output.shape[1]} tokens, {n_prefix} of them in front: "
                "the others fill no rectangle of the images' shape, so their places are not known."
            )
        maps = output[:, n_prefix:].unflatten(1, (down, across))
    return maps.to(torch.float32, memory_format=torch.contiguous_format, copy=True)


def lay_out_interest(output, level, size, shares):
    """Return the same, NaN at locations of which less than half is of interest.

    Parameters
    ----------
    output, level, size
        As in `lay_out_map`.
    shares : Tensor of shape (n, 1, height, width), or None
        How much of each pixel is of interest, from 0 to 1; None for all.

    Raises
    ------
    BackboneError
        As `lay_out_map`, and if the network itself gives NaN, which would say something else.
    """
    maps = lay_out_map(output, level, size)
    if torch.isnan(maps[..., 0]).any():
        raise BackboneError(f"level {level.number} ({level.module!r}) gives NaN: are its weights those of a network?")
    if shares is not None:
        maps[functional.adaptive_avg_pool2d(shares, maps.shape[1:3])[:, 0] < 0.5] = torch.nan
    return maps


class _LastLevel(Exception):  # no error: it ends the forward pass
    """The deepest level is there."""


def _describe(level, shape, layout, side, n_prefix_tokens):
    if layout is None or 0 in shape:
        raise BackboneError(f"the module {level.module!r} gives {shape or 'no tensor'}, neither maps nor tokens.")
    n_channels = shape[1] if layout in ("NCHW", "NC") else shape[-1]
    n_prefix, across = 0, {"NC": 1, "NCHW": shape[-1], "NHWC": shape[-2]}.get(layout)
    if layout == "NLC":
        n_prefix, across = _split_tokens(shape[1], n_prefix_tokens)
    power = 2 ** round(math.log2(side / across))  # strides of two leave 8 locations of 240 pixels: a reduction of 32
    reduction = power if math.ceil(side / power) == across else round(side / across)
    return level._replace(channels=n_channels, reduction=reduction, layout=layout, n_prefix_tokens=n_prefix)


def _find_layout(shape, channels, channels_last):
    if len(shape) == 4:
        return "NHWC" if channels_last or (channels is not None and shape[1] != channels == shape[3]) else "NCHW"
    return {3: "NLC", 2: "NC"}.get(len(shape))


def _split_tokens(n_tokens, n_prefix_tokens):
    """Return how many tokens stand in front, and how many patches along a side: some blocks have the patches only."""
    if n_tokens <= n_prefix_tokens:
        raise BackboneError(f"there are {n_tokens} tokens, of which {n_prefix_tokens} are to be left out.")
    for n_prefix in (n_prefix_tokens, 0):
        across = round((n_tokens - n_prefix) ** 0.5)
        if across**2 == n_tokens - n_prefix:
            return n_prefix, across
    return n_prefix_tokens, (n_tokens - n_prefix_tokens) ** 0.5
