"""``skgad inspect``: what a file holds, without loading it."""

import json

import click

from ._settings import line_argument, with_debug


@click.command(short_help="Say what a file holds.")
@line_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@with_debug
def inspect(line, as_json):
    """Say what LINE.skgad was learnt from, with what network, and what rate it keeps."""
    from .._line_file import read_manifest

    manifest = read_manifest(line)
    click.echo(json.dumps(manifest, indent=1) if as_json else "\n".join(_describe(manifest)))


def _describe(manifest):
    yield f"{manifest.get('line')} of {manifest.get('detector', 'no detector')}, written by skgad {manifest['skgad']}."
    network = manifest.get("network")
    if network:
        size = " x ".join(map(str, network["image_size"]))
        tiles = f", in tiles of {network['tiles']}" if network["tiles"] else ""
        yield f"Network: {network['name']} at {size} pixels{tiles}, levels {', '.join(map(str, network['levels']))};"
        weights = "in this file" if manifest["stores_weights"] else "not in this file"
        yield f"weights {network['weights_sha256'][:12]}..., {weights}; {network['libraries']} when it was fitted."
    if "summary" in manifest:
        yield "Maps: " + ("yes." if manifest["makes_maps"] else "no.")
        yield manifest["summary"]
