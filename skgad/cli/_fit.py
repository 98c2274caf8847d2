"""``skgad fit``: a folder of normal photographs becomes a line."""

import os
from pathlib import Path

import click

from ._settings import count, device_option, show_bar, with_debug


def _read_sides(context, parameter, value):
    """Return "256" as an int, "256,96" or "640x256" as a pair."""
    if value is None:
        return None
    try:
        sides = tuple(int(part) for part in value.replace("x", ",").split(","))
    except ValueError:
        raise click.BadParameter(f"a number, or two with a comma or an x between them; got {value!r}.") from None
    return sides[0] if len(sides) == 1 else sides


@click.command(short_help="Learn from normal photographs.")
@click.argument("photographs", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The line's file, LINE.skgad.")
@click.option(
    "--fpr", default=0.01, show_default=True, help="The share of normal photographs that may be called anomalous."
)
@click.option("--maps", is_flag=True, help="Show where an anomaly is: maps and boxes.")
@click.option("--backbone", default=None, help="The network, by timm's name.  [default: tf_efficientnet_lite2]")
@click.option("--grid", default=None, callback=_read_sides, help="Cells along a side, without --maps.  [default: 1,2]")
@click.option("--image-size", default=None, callback=_read_sides, help="Pixels: a side, or height x width.")
@click.option("--tiles", default=None, callback=_read_sides, help="Pixels of a tile's side, for small defects.")
@click.option("--category", default=None, help="The object, where PHOTOGRAPHS holds several in folders.")
@click.option("--store-weights", is_flag=True, help="Put the network's weights into the file.")
@device_option
@with_debug
def fit(photographs, output, fpr, maps, backbone, grid, image_size, tiles, category, store_weights, device):
    """Learn what is normal from PHOTOGRAPHS, and write a line.

    PHOTOGRAPHS is a folder of photographs of normal things; a folder with train/good in it, as MVTec AD's, or in one of
    nine other layouts; or a CSV table with the columns path and label.
    """
    from ._photographs import find_normals

    _check_output(output)
    paths, data = find_normals(photographs, category)
    line = _make(paths, fpr, maps or tiles is not None, backbone, grid, image_size, tiles, device)

    from .._line_file import save_line
    from ..deep._finding import find_extractor

    line.fit(paths)
    find_extractor(line).set_params(verbose=0)
    save_line(line, output, store_weights=store_weights)
    click.echo(_describe(line, output))
    if data is not None and len(data.X_test):
        click.echo(
            f"{count(len(data.X_test), 'photograph')} to judge by are there: skgad report {output} {photographs}"
        )


def _make(paths, fpr, maps, backbone, grid, image_size, tiles, device):
    """Return the line to fit; raise before any photograph is read if the rate cannot be reached."""
    from .._calibration._working_point import check_reachable
    from .._conventions._parameters import read_fpr
    from .._line import make_line

    check_reachable(fpr, read_fpr(fpr), len(paths), grouped=False)
    if grid is not None and maps:
        raise click.UsageError("--grid is for lines without maps: leave it out, or --maps and --tiles.")
    options = {} if backbone is None else {"backbone": backbone}
    line = make_line(fpr=fpr, maps=maps, image_size=image_size, tiles=tiles, **options)
    extractor = line.estimator.features if maps else line.named_steps["extractor"]
    extractor.set_params(verbose=show_bar(), **({} if grid is None else {"grid": grid}))
    if device is not None:
        extractor.set_params(device=device)
    return line


def _check_output(output):
    """Raise now what would be raised after minutes."""
    folder = Path(output).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder to write {Path(output).name} to.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder}: it may not be written to.")


def _describe(line, output):
    from .._line_file import describe_line

    found = describe_line(line)
    network = found["network"]
    size = " x ".join(map(str, network["image_size"]))
    how = f"{network['name']} sees them at {size} pixels, {'with' if found['makes_maps'] else 'without'} maps"
    return "\n".join(
        [
            f"Learnt {count(found['n_images'], 'photograph')}, as {how}.",
            found["summary"],
            f"Written to {output} ({Path(output).stat().st_size / 1e6:.1f} MB).",
        ]
    )
