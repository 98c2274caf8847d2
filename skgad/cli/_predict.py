"""``skgad predict``: photographs are judged one after the other, in memory that does not grow with their number."""

import csv
import json
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from .._conventions._atomic import whole_file
from ._settings import ANOMALOUS, FAILED, NORMAL, count, device_option, line_argument, open_line, with_debug

_SIDE = 1024  # pixels, at most, of a drawn map
_COLUMNS = ("path", "label", "distance", "threshold", "p_value", "error")


@click.command(short_help="Judge photographs.")
@line_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option("--csv", "csv_path", default=None, metavar="FILE", help="Write a table; - for standard output.")
@click.option("--jsonl", "jsonl_path", default=None, metavar="FILE", help="Write JSON, a line an image; - as above.")
@click.option("--maps", "maps", default=None, metavar="DIR", help="Draw the map and boxes of each anomalous image.")
@click.option("--quiet", is_flag=True, help="Print no judgements.")
@device_option
@with_debug
def predict(line, images, csv_path, jsonl_path, maps, quiet, device):
    """Judge IMAGES: files, folders with all below them, or - for paths on standard input.

    A file that is written to is there when all images are judged, and not before. Exit status: 0 all are normal, 1 one
    is anomalous, 2 one could not be read, or something else went wrong.
    """
    from tqdm import tqdm

    from .._judge import CHUNK, Judge, in_chunks
    from ._photographs import iter_photographs

    if csv_path == jsonl_path == "-":
        raise click.UsageError("--csv - and --jsonl - would mix on standard output: give one of them a file.")
    judge = Judge(open_line(line, device))
    if maps is not None:
        _check_maps(judge, line)
    counts = dict.fromkeys(("normal", "anomalous", "unreadable"), 0)
    with ExitStack() as stack:
        writers = _open_writers(stack, csv_path, jsonl_path, quiet)
        bar = stack.enter_context(tqdm(unit="image", disable=None, leave=False))  # where somebody looks
        for chunk in in_chunks(iter_photographs(images), CHUNK):
            judged = judge.judge(chunk)
            for judgement in judged:
                counts[judgement.label] += 1
                for write in writers:
                    write(judgement)
            if maps is not None:
                _draw(judge, judged, Path(maps))
            bar.update(len(chunk))
    if not sum(counts.values()):
        raise ValueError(f"There is no image in {', '.join(images)}.")
    listed = ", ".join(f"{number} {label}" for label, number in counts.items() if number)
    click.echo(f"{count(sum(counts.values()), 'image')}: {listed}", err=True)
    return FAILED if counts["unreadable"] else ANOMALOUS if counts["anomalous"] else NORMAL


def _open_writers(stack, csv_path, jsonl_path, quiet):
    """Return functions that write a judgement each."""
    writers = []
    if csv_path is not None:
        table = csv.writer(_open(stack, csv_path))
        table.writerow(_COLUMNS)
        writers.append(lambda judgement: table.writerow([getattr(judgement, name) for name in _COLUMNS]))
    if jsonl_path is not None:
        file = _open(stack, jsonl_path)
        writers.append(lambda judgement: file.write(json.dumps(judgement.as_dict()) + "\n"))
    if "-" not in (csv_path, jsonl_path) and not quiet:
        writers.append(lambda judgement: click.echo(_in_words(judgement)))
    return writers


def _open(stack, path):
    if path == "-":
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="surrogateescape")  # names of files that are no UTF-8 come out as they are
        return sys.stdout
    return stack.enter_context(whole_file(Path(path), "w", newline="", encoding="utf-8", errors="surrogateescape"))


def _in_words(judgement):
    if judgement.error is not None:
        return f"unreadable  {click.format_filename(judgement.path)}: {judgement.error}"
    return f"{judgement.label:10}  p {judgement.p_value:<8.4g} {click.format_filename(judgement.path)}"


def _check_maps(judge, path):
    if not judge.makes_maps:
        raise ValueError(f"{path} makes no maps: fit a line with `skgad fit --maps`, or leave --maps out.")


def _draw(judge, judged, folder):
    """Draw the anomalous images of a chunk, each with its map and boxes."""
    from ..report._overlays import lay_map_over, read_small

    for judgement in judged:
        if judgement.label != "anomalous":
            continue
        picture, size = read_small(judgement.path, _SIDE)
        boxes = [(one["left"], one["top"], one["right"], one["bottom"]) for one in judgement.regions or ()]
        detector = judge.detector.estimator_
        box, threshold = detector.find_box(*size), detector.pixel_threshold_
        drawn = lay_map_over(picture, size, detector.score_maps([judgement.path])[0], box, threshold, boxes)
        with whole_file(_find_free(folder, judgement.path)) as file:
            drawn.save(file, format="PNG")


def _find_free(folder, path):
    """Return a path for the picture of an image, by the name of its folder and its own, that is not taken yet."""
    name, number = f"{Path(path).absolute().parent.name}_{Path(path).stem}", 1
    found = folder / f"{name}.png"
    while found.exists():
        number += 1
        found = folder / f"{name}_{number}.png"
    return found
