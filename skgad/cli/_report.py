"""``skgad report``: a line and photographs become one page."""

from pathlib import Path

import click

from ._settings import device_option, line_argument, open_line, with_debug


@click.command(short_help="Write a page of a line and photographs.")
@line_argument
@click.argument("photographs", type=click.Path())
@click.option("-o", "--output", default=None, type=click.Path(dir_okay=False), help="By default LINE.html.")
@click.option("--category", default=None, help="The object, where PHOTOGRAPHS holds several in folders.")
@click.option("--title", default=None, help="Of the page.")
@device_option
@with_debug
def report(line, photographs, output, category, title, device):
    """Score PHOTOGRAPHS by LINE.skgad, and write one page that needs nothing beside it.

    PHOTOGRAPHS is a folder of photographs, with all below it; or a layout, or a table, with photographs to judge by:
    then false alarms and misses are told, and suspects among those to learn from.
    """
    from tqdm import tqdm

    from ..report import write_report
    from ._photographs import find_judged

    output = output or str(Path(line).with_suffix(".html"))
    paths, labels, kinds, learnt = find_judged(photographs, category)
    write_report(
        open_line(line, device),
        output,
        paths,
        y=labels,
        kinds=kinds,
        learnt=learnt,
        title=title or f"{Path(line).name} on {Path(photographs).name}",
        progress=lambda chunks: tqdm(chunks, unit="chunk", disable=None, leave=False),
    )
    click.echo(f"Written to {output} ({Path(output).stat().st_size / 1e6:.1f} MB).")
