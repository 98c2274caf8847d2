"""A bar that moves with each epoch."""

from contextlib import contextmanager


@contextmanager
def show_epochs(verbose, max_epochs):
    """Give a function that is told of each finished epoch and of the best one; None without `verbose`."""
    if not verbose:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=max_epochs, unit="epoch", desc="tuning") as bar:

        def advance(epoch, best):
            bar.update(epoch.epoch - bar.n)
            bar.set_postfix(loss=f"{epoch.loss:.4g}", criterion=f"{epoch.criterion:.4f}", best=best)

        yield advance
