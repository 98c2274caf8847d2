"""``skgad export``: a line becomes one ONNX graph."""

import click

from ._settings import count, line_argument, open_line, with_debug


@click.command(short_help="Write a line as one ONNX graph.")
@line_argument
@click.argument("photographs", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The graph's file, LINE.onnx.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Of the network. In a lower one the line is learnt anew from PHOTOGRAPHS.",
)
@click.option("--category", default=None, help="The object, where PHOTOGRAPHS holds several in folders.")
@with_debug
def export(line, photographs, output, precision, category):
    """Write LINE.skgad as one ONNX graph, and run it beside the line on PHOTOGRAPHS, normal ones, before.

    What differs from the line is not written. The graph takes photographs, and runs without torch and skgad.
    """
    from ..deploy import export_onnx
    from ._photographs import find_normals

    paths, _ = find_normals(photographs, category)
    agreement = export_onnx(open_line(line), output, images=paths, precision=precision)
    click.echo(
        f"Run beside the line on {count(agreement.n_images, 'photograph')}: scores differ by "
        f"{agreement.largest_difference:.1g} of themselves at most, {agreement.n_other_labels} labels differ.\n"
        f"Written to {output} ({agreement.n_bytes / 1e6:.1f} MB)."
    )
