"""The command ``skgad``: photographs in, a line, judgements, reports and exported files out.

What heavy libraries do is imported when a command does it: ``skgad --help`` answers at once.
"""

from ._entry import main

__all__ = ["main"]
