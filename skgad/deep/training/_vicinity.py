"""The vicinity of normal images: slightly altered ones, which a good representation still tells from normal ones.

AugMix (Hendrycks et al., ICLR 2020), CutOut (DeVries and Taylor, 2017) and Confetti (Liznerski et al., ICLR 2021), as
Rippel et al. (IN4PL 2022, section 3.1) use them to stop training. All chance comes from a seed for each image.
"""

import numpy as np
import torch
from scipy import ndimage
from torchvision.transforms import v2

SCHEMES = ("augmix", "cutout", "confetti")
_NOMINAL = 224  # pixels, the side that Confetti's sizes are stated for
_COLOURED, _BLACK = 1.8e-5, 1.2e-5  # blobs a pixel
_SIDES = (8, 54)  # pixels, of a blob
_HOLE = 0.25  # of the image's side: CutOut's hole, whose size the paper does not state


def alter(image, seed, *, scheme="all", severity=3):
    """Return an altered image.

    Parameters
    ----------
    image : ndarray of uint8 of shape (height, width, 3)
        It is not written to.
    seed : sequence of int
        The same one gives the same image.
    scheme : {"all", "augmix", "cutout", "confetti"}, default="all"
        "all" draws one of them evenly.
    severity : int in 1..10, default=3
        AugMix's. Three chains of one to three operations, none of them of colours.

    Returns
    -------
    ndarray of uint8 of shape (height, width, 3)
    """
    rng = np.random.default_rng(seed)
    chosen = SCHEMES[rng.integers(len(SCHEMES))] if scheme == "all" else scheme
    if chosen == "augmix":
        return _augmix(image, int(rng.integers(2**62)), severity)
    return _cutout(image, rng) if chosen == "cutout" else _confetti(image, rng)


def draw_vicinity(images, n_draws, *, share=0.7, scheme="all", severity=3, random_state=0):
    """Return images drawn from normal ones, and which of them are altered.

    Parameters
    ----------
    images : ndarray of uint8 of shape (n_images, height, width, 3)
    n_draws : int
    share : float, default=0.7
        Of the draws that are altered. All others are the images as they are, each of which counts as often as drawn.
    scheme, severity
        As in `alter`.
    random_state : int, default=0

    Returns
    -------
    drawn : ndarray of int of shape (n_draws,)
        Positions of the images.
    altered : list of ndarray of uint8, or None
        The altered image of each draw; None where the image is as it is.
    """
    rng = np.random.default_rng([random_state, 1])
    drawn = rng.integers(len(images), size=n_draws)
    is_altered = rng.permutation(n_draws) < round(share * n_draws)
    altered = [
        alter(images[position], [random_state, 2, number], scheme=scheme, severity=severity) if chosen else None
        for number, (position, chosen) in enumerate(zip(drawn, is_altered, strict=True))
    ]
    return drawn, altered


def _augmix(image, seed, severity):
    mix = v2.AugMix(severity=severity, mixture_width=3, chain_depth=-1, alpha=1.0, all_ops=False)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the process's own generator
        torch.default_generator.manual_seed(seed)
        mixed = mix(torch.from_numpy(image.copy()).permute(2, 0, 1))
    return np.ascontiguousarray(mixed.permute(1, 2, 0).numpy())


def _cutout(image, rng):
    """Return the image with a square of its mean colour somewhere; the middle of the square lies inside."""
    height, width = image.shape[:2]
    half = max(1, round(_HOLE * min(height, width) / 2))
    row, column = rng.integers(height), rng.integers(width)
    result = image.copy()
    hole = slice(max(0, row - half), row + half), slice(max(0, column - half), column + half)
    result[hole] = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    return result


def _confetti(image, rng):
    """Return the image with smooth blobs that darken it, some in one colour, some in all; one at least."""
    height, width = image.shape[:2]
    scale = min(height, width) / _NOMINAL
    n_pixels = height * width / scale**2  # the blobs grow with the image, and are no more
    n_coloured, n_black = rng.poisson(_COLOURED * n_pixels), rng.poisson(_BLACK * n_pixels)
    n_coloured += n_coloured + n_black == 0
    change = np.zeros(image.shape, dtype=np.float32)
    for number in range(n_coloured + n_black):
        colour = rng.uniform(0, 255, size=3) if number < n_coloured else np.full(3, 255.0)
        blob = _draw_blob(height, width, scale, rng)
        change = np.maximum(change, blob[..., np.newaxis] * colour.astype(np.float32))
    smooth = ndimage.gaussian_filter(change, (5 * scale, 5 * scale, 0))
    return np.clip(np.rint(image - smooth), 0, 255).astype(np.uint8)


def _draw_blob(height, width, scale, rng):
    """Return a rectangle, turned by up to 45 degrees, as a mask."""
    long, wide = rng.integers(_SIDES[0], _SIDES[1], size=2, endpoint=True) * scale / 2
    angle = np.deg2rad(rng.uniform(-45, 45))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows, columns = rows - rng.uniform(0, height), columns - rng.uniform(0, width)
    along, across = rows * np.cos(angle) + columns * np.sin(angle), columns * np.cos(angle) - rows * np.sin(angle)
    return ((np.abs(along) <= long) & (np.abs(across) <= wide)).astype(np.float32)
