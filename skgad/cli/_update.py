"""``skgad update``: more normal photographs enter a line."""

import warnings

import click

from ..exceptions import WorkingPointWarning
from ._settings import count, device_option, line_argument, open_line, show_bar, with_debug

_LISTED = 10  # photographs that the line calls anomalous


@click.command(short_help="Learn more normal photographs.")
@line_argument
@click.argument("photographs", type=click.Path())
@click.option("-o", "--output", default=None, type=click.Path(dir_okay=False), help="By default LINE.skgad itself.")
@click.option("--category", default=None, help="The object, where PHOTOGRAPHS holds several in folders.")
@click.option(
    "--window",
    default=None,
    type=click.IntRange(1),
    help="Keep so many of the latest photographs, and forget older ones.",
)
@device_option
@with_debug
def update(line, photographs, output, category, window, device):
    """Learn PHOTOGRAPHS, which somebody has confirmed as normal: the result is that of a fit on all so far and these.

    Only for lines without maps: others are fitted anew, on the old and the new photographs.
    """
    from .._line_file import describe_line, read_manifest, save_line, split_line
    from ._photographs import find_normals

    stores_weights = read_manifest(line)["stores_weights"]
    paths, _ = find_normals(photographs, category)
    fitted = open_line(line, device)
    front, detector = split_line(fitted)
    if front is None or not hasattr(detector, "update"):
        raise ValueError(f"{line} takes no updates: fit a line on the old and the new photographs, with skgad fit.")
    front[0].set_params(verbose=show_bar())
    features = front.transform(paths)
    _warn_of_anomalous(detector, features, paths)
    detector.update(features)
    surplus = 0 if window is None else max(0, len(detector.out_of_fold_scores_) - window)
    if surplus:
        detector.forget(range(surplus))
    front[0].set_params(verbose=0)
    save_line(fitted, output or line, store_weights=stores_weights)
    said = describe_line(fitted)["summary"]
    forgotten = f" Forgotten: {count(surplus, 'older one')}." if surplus else ""
    click.echo(f"Learnt {count(len(paths), 'more photograph')}.{forgotten}\n{said}\nWritten to {output or line}.")


def _warn_of_anomalous(detector, features, paths):
    """Name the photographs that the line, as it was, calls anomalous."""
    labels, p_values = detector.judge_scores(detector.score_samples(features))
    rows = sorted((p, path) for label, p, path in zip(labels, p_values, paths, strict=True) if label == -1)
    if rows:
        listed = "".join(f"\n  p {p:.4g} {path}" for p, path in rows[:_LISTED])
        more = f"\n  and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
        warnings.warn(
            f"The line as it was calls {len(rows)} of {len(paths)} anomalous. They are learnt as normal; look at "
            f"them:{listed}{more}",
            WorkingPointWarning,
            stacklevel=1,
        )
