"""What each command has: --debug, the exit status, and how a line is opened."""

import sys
from dataclasses import dataclass

import click

NORMAL, ANOMALOUS, FAILED, INTERRUPTED = 0, 1, 2, 130


@dataclass
class Settings:
    """What holds for one run of the command."""

    debug: bool = False


def with_debug(command):
    """Give a command ``--debug``."""

    def set_debug(context, _, value):
        context.find_object(Settings).debug |= value

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=set_debug, help="Show the trace of an error."
    )(command)


line_argument = click.argument("line", type=click.Path(dir_okay=False), metavar="LINE.skgad")
device_option = click.option("--device", default=None, help="cpu, cuda, cuda:1; by default CUDA where there is one.")


def open_line(path, device=None):
    """Return the line of a file, to be used on a device."""
    from .._line_file import load_line
    from ..deep._finding import find_extractor

    line = load_line(path)
    extractor = find_extractor(line)
    if device is not None and extractor is not None:
        extractor.set_params(device=device)
    return line


def show_bar():
    """Return whether somebody looks at a progress bar, as the extractor's ``verbose``."""
    return int(sys.stderr.isatty())


def count(number, what):
    """Return a number and what it counts: "1 photograph", "2 photographs"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
