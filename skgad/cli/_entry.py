"""The command and what holds for each of its parts: errors in a line, warnings in a line, the exit status."""

import logging
import os
import signal
import sys
import warnings
from contextlib import contextmanager

import click

from .._version import __version__
from ..exceptions import SkgadError
from ._doctor import doctor
from ._export import export
from ._fit import fit
from ._inspect import inspect
from ._predict import predict
from ._report import report
from ._settings import FAILED, INTERRUPTED, Settings
from ._update import update
from ._watch import watch

_EXPECTED = (SkgadError, OSError, ValueError, TypeError, MemoryError)  # whose message says what to do


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="skgad")
def cli():
    r"""Learn what normal things look like from photographs of them, and find the anomalous ones.

    \b
    skgad fit PHOTOGRAPHS -o line.skgad     learns from a folder of normal photographs
    skgad predict line.skgad NEW...         judges others

    Exit status: 0 all is well, and all images are normal; 1 an image is anomalous; 2 something could not be done;
    130 interrupted.
    """


for _command in (fit, predict, report, watch, update, export, inspect, doctor):
    cli.add_command(_command)


def main(arguments=None):
    """Run the command ``skgad``.

    Parameters
    ----------
    arguments : list of str, default=None
        Those of the command line; None for ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status: 0 all is well, and all images are normal; 1 an image is anomalous; 2 something could not be
        done; 130 interrupted.

    Examples
    --------
    >>> from skgad.cli import main
    >>> main(["predict"])
    2
    """
    settings = Settings()
    with _warnings_in_a_line(), _terminated_like_interrupted():
        try:
            found = cli.main(arguments, prog_name="skgad", standalone_mode=False, obj=settings)
            return found or 0
        except click.ClickException as error:  # wrong arguments
            error.show()
            return FAILED
        except (click.Abort, KeyboardInterrupt):
            _say("interrupted; nothing half-written is left")
            return INTERRUPTED
        except BrokenPipeError:  # whoever read the output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            if settings.debug:
                raise
            _say(_describe(error))
            return FAILED


def _describe(error):
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, _EXPECTED):
        return f"error: {text}"
    return f"error: {type(error).__name__}: {text} This was not foreseen: --debug shows where it happened."


def _say(text):
    click.echo(f"skgad: {text}", err=True)


@contextmanager
def _warnings_in_a_line():
    """Show warnings for users as one line each, and no others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        logging.basicConfig(format="skgad: %(message)s", level=logging.WARNING)
        yield


@contextmanager
def _terminated_like_interrupted():
    """Let SIGTERM clean up as Ctrl-C does."""

    def interrupt(*_):
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread, where signals arrive
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
