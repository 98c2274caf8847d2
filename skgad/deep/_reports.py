"""What a run over images tells its user: a progress bar, and at the end the images that could not be used."""

from contextlib import contextmanager

from .._conventions._warnings import warn
from ..exceptions import ImageWarning

_LISTED = 20  # bad images in a warning


@contextmanager
def show_progress(verbose, name, n_images):
    """Give a function that is told how many more images are done; with `verbose` it moves a bar."""
    if not verbose:
        yield lambda n: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=n_images, unit="image", desc=name) as bar:
        yield bar.update


def report(errors, n_images, consequence="their rows are NaN"):
    """Warn of images that could not be used, given the texts of their errors."""
    if errors:
        listed = "".join(f"\n  {error}" for error in errors[:_LISTED])
        more = f"\n  and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
        message = f"{len(errors)} of {n_images} images cannot be used; {consequence}:{listed}{more}"
        warn(message, ImageWarning)
