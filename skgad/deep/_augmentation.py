"""The papers' augmentation: whole images altered so that a normal one stays normal, category by category.

OpenCV has every operation on bytes, and the papers' numbers are on its scales (hue on 0..180); what is drawn, how
often and in which order stands here. Whatever is drawn for an image comes from its own generator, so that neither
workers nor batches nor other images change it.

Source: Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
Detection", ICPR 2020, Figure 2.
"""

from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from .._images._decoding import decode
from ..exceptions import DependencyError
from ._resizing import resize

VERSION = 1  # of what is drawn; features of augmented images that were stored under another one are not used


class Recipe(NamedTuple):
    """What may be done to the images of a category without making an anomaly of them."""

    flip: bool = True
    quarter_turns: bool = True
    rotation: float = 45.0  # degrees, either way
    shift: float = 0.05  # share of the side, either way
    scale: tuple = (-0.05, 0.1)


_LITTLE = Recipe(rotation=15.0)
_RECIPES = {
    "bottle": _LITTLE,
    "cable": _LITTLE,
    "capsule": _LITTLE._replace(flip=False),
    "grid": Recipe(rotation=0.0, shift=0.0, scale=(-0.05, 0.0)),
    "metal_nut": _LITTLE._replace(flip=False),
    "pill": _LITTLE._replace(flip=False),
    "screw": _LITTLE._replace(flip=False),
    "toothbrush": _LITTLE,
    "transistor": _LITTLE._replace(quarter_turns=False),
    "wood": _LITTLE,
    "zipper": _LITTLE,
}


def find_recipe(category=None):
    """Return the `Recipe` of a category of MVTec AD, and the general one for any other name."""
    return _RECIPES.get(category, Recipe())


def augment(image, rng, *, category=None):
    """Return an image altered at random, as the papers alter their training images; half of them stay as they are.

    Parameters
    ----------
    image : ndarray of uint8 of shape (height, width, 3)
        RGB, on the size that the network sees, square. It is not written to.
    rng : numpy.random.Generator
        Where all chance comes from.
    category : str, default=None
        A category of MVTec AD, some of which have exceptions; the general rules for any other name.

    Returns
    -------
    ndarray of uint8 of shape (height, width, 3)

    Raises
    ------
    ValueError
        If `image` is none of that form.
    DependencyError
        If OpenCV is not installed.

    References
    ----------
    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
    Detection", ICPR 2020, Figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.deep import augment
    >>> image = np.zeros((32, 32, 3), dtype=np.uint8)
    >>> augment(image, np.random.default_rng(0), category="screw").shape
    (32, 32, 3)
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape[0] != image.shape[1]:
        raise ValueError(f"image must be uint8 of shape (side, side, 3); got {image.dtype} of shape {image.shape}.")
    cv2 = _find_cv2()
    recipe, image = find_recipe(category), image.copy()
    if rng.random() >= 0.5:
        return image
    steps = [
        (0.2, _blur),
        (0.3, _change_contrast),
        (0.3, _change_colour),
        (0.2, _add_noise),
        (0.5 * recipe.flip, lambda cv2, image, rng: image[:, ::-1]),
        (0.5 * recipe.quarter_turns, lambda cv2, image, rng: np.rot90(image, rng.integers(4))),
        (0.2, lambda cv2, image, rng: _move(cv2, image, rng, recipe)),
    ]
    for probability, change in steps:
        if rng.random() < probability:
            image = np.ascontiguousarray(change(cv2, image, rng))
    return image


class AugmentedImages(Dataset):
    """One pass over some images, each of them resized and altered when it is asked for: what the extractor takes.

    Parameters
    ----------
    images : sequence of paths or images
    image_size : int
        Side in pixels that images are resized to before they are altered, as the papers do.
    category : str, default=None
        As in `augment`.
    pass_number : int, default=0
        Another pass alters the same images in another way.
    random_state : int, default=0
        The same number, pass and position give the same image.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.deep import AugmentedImages
    >>> images = np.zeros((3, 50, 40, 3), dtype=np.uint8)
    >>> altered = AugmentedImages(images, 32)
    >>> len(altered), altered[0].shape
    (3, (32, 32, 3))
    """

    def __init__(self, images, image_size, *, category=None, pass_number=0, random_state=0):
        self.images = images
        self.image_size = image_size
        self.category = category
        self.pass_number = pass_number
        self.random_state = random_state

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        square = resize(decode(self.images[position], position), self.image_size)
        pixels = square.permute(1, 2, 0).round_().clamp_(0, 255).numpy().astype(np.uint8)
        rng = np.random.default_rng([self.random_state, self.pass_number, position])
        return augment(pixels, rng, category=self.category)


def _blur(cv2, image, rng):
    kind = rng.choice(3, p=[0.5, 0.25, 0.25])
    if kind == 0:
        return cv2.filter2D(image, -1, _motion_kernel(cv2, rng))
    return cv2.medianBlur(image, 3) if kind == 1 else cv2.blur(image, (3, 3))


def _motion_kernel(cv2, rng):
    """Return a line between two random points of a square of 3, 5 or 7 pixels, of sum 1."""
    side = int(rng.choice([3, 5, 7]))
    first, second = rng.choice(side * side, size=2, replace=False).tolist()
    kernel = np.zeros((side, side), dtype=np.uint8)
    cv2.line(kernel, divmod(first, side), divmod(second, side), 1)
    return kernel.astype(np.float32) / kernel.sum()


def _change_contrast(cv2, image, rng):
    kind = rng.integers(4)
    if kind == 0:
        lightness, *colours = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
        lightness = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lightness)
        return cv2.cvtColor(cv2.merge([lightness, *colours]), cv2.COLOR_LAB2RGB)
    if kind == 3:
        brightness, contrast = rng.uniform(-0.1, 0.2), rng.uniform(-0.2, 0.2)
        return _to_bytes(image * np.float32(1 + contrast) + np.float32(255 * brightness))
    kernel = _sharpening_kernel(rng) if kind == 1 else _embossing_kernel(rng)
    return cv2.filter2D(image, -1, kernel)


def _sharpening_kernel(rng):
    alpha, lightness = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)
    effect = np.full((3, 3), -1.0)
    effect[1, 1] = 8.0 + lightness
    return _blend(effect, alpha)


def _embossing_kernel(rng):
    alpha, strength = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.7)
    relief = np.array([[-1.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    return _blend(np.diag([-1.0, 1.0, 1.0]) + strength * relief, alpha)


def _blend(effect, alpha):
    unchanged = np.zeros((3, 3))
    unchanged[1, 1] = 1.0
    return ((1 - alpha) * unchanged + alpha * effect).astype(np.float32)


def _change_colour(cv2, image, rng):
    steps = np.rint([rng.uniform(-10, 10), rng.uniform(-30, 30), rng.uniform(-10, 20)]).astype(np.int16)
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2HSV) + steps
    colours[..., 0] %= 180  # OpenCV's hue in bytes counts in steps of two degrees
    return cv2.cvtColor(np.clip(colours, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)


def _add_noise(cv2, image, rng):
    scale = rng.uniform(2.55, 7.65)
    shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
    return _to_bytes(image + scale * rng.standard_normal(shape, dtype=np.float32))


def _move(cv2, image, rng, recipe):
    """Return the image shifted, scaled and rotated about its middle; what comes in at the border is reflected."""
    side = len(image)
    angle = rng.uniform(-recipe.rotation, recipe.rotation)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, angle, 1 + rng.uniform(*recipe.scale))
    matrix[:, 2] += side * rng.uniform(-recipe.shift, recipe.shift, size=2)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _to_bytes(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _find_cv2():
    try:
        import cv2
    except ImportError as error:
        raise DependencyError(
            f"Augmentation needs OpenCV, which cannot be imported ({error}): pip install opencv-python-headless, or "
            "'skgad[benchmark]'."
        ) from error
    return cv2
