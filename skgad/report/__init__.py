"""One self-contained HTML page of a fitted line and the images that it scored."""

from ._page import write_report

__all__ = ["write_report"]
