"""Images beside copies of them in other light, so that a detector learns what may change without being a defect."""

from numbers import Real

import numpy as np
from torch.utils.data import Dataset

from .._conventions._parameters import check_int
from .._images._decoding import decode
from .._images._interest import MaskedImage, split
from .._images._relighting import relight
from .._images._sequence import check_images, fetch


class VariedImages(Dataset):
    """Images, each followed by copies whose brightness and contrast are altered at random.

    A detector that is fitted on them takes light within the range for normal. `FPRThresholdCV` must be told which
    copies are of one photograph, ``groups=varied.groups``: a photograph then counts once, by the copy that deviates
    most, so that the rate holds for light in the range, and is kept by a margin for light that does not change.

    Parameters
    ----------
    images : sequence of images
        As `DeepFeatureTransformer` takes them.
    n_copies : int, default=2
        Altered copies of each.
    brightness, contrast : float in [0, 1), default=0.2
        By so much, as a share, either may change: 0.2 for factors drawn evenly from 0.8 to 1.2. Contrast is that about
        the image's own mean.
    random_state : int, default=0
        The same number and position give the same copies.

    Attributes
    ----------
    groups : ndarray of int of shape (n_images * (1 + n_copies),)
        The position in `images` of each.

    Raises
    ------
    ImageError
        If `images` are none.
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad.deep import VariedImages
    >>> images = np.full((2, 8, 8, 3), 100, dtype=np.uint8)
    >>> varied = VariedImages(images, n_copies=1)
    >>> len(varied), varied.groups.tolist()
    (4, [0, 0, 1, 1])
    """

    def __init__(self, images, n_copies=2, *, brightness=0.2, contrast=0.2, random_state=0):
        check_int("n_copies", n_copies, 0)
        check_int("random_state", random_state, 0)
        for name, value in (("brightness", brightness), ("contrast", contrast)):
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < 1:
                raise ValueError(f"{name} must be a share in [0, 1); got {value!r}.")
        self.images = check_images(images)
        self.n_copies = n_copies
        self.brightness = brightness
        self.contrast = contrast
        self.random_state = random_state

    @property
    def groups(self):
        return np.repeat(np.arange(len(self.images)), 1 + self.n_copies)

    def __len__(self):
        return len(self.images) * (1 + self.n_copies)

    def __getitem__(self, position):
        image, copy = divmod(position, 1 + self.n_copies)
        item = fetch(self.images, image)
        if not copy:
            return item
        pixels, roi = split(item)
        rng = np.random.default_rng([self.random_state, image, copy])
        factors = 1 + rng.uniform(-1, 1, size=2) * (self.brightness, self.contrast)
        altered = relight(decode(pixels, image), *factors)
        return altered if roi is None else MaskedImage(altered, roi)


class AlteredImages(Dataset):
    """Images, each altered when it is asked for.

    Parameters
    ----------
    images : sequence of paths or images
    alter : callable
        From an image of bytes (height, width, 3), and the strengths, to another one.
    strengths : tuple
    """

    def __init__(self, images, alter, strengths=()):
        self.images, self.alter, self.strengths = images, alter, strengths

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        image = np.rint(decode(self.images[position], position)).astype(np.uint8)
        return self.alter(image, *self.strengths)
