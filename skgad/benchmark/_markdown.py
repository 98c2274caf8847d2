"""Numbers and tables as Markdown."""

import math


def number(value):
    """Return a percentage with one decimal; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.1f}"


def pair(mean, error):
    """Return a mean and its standard error; the mean alone where there is no error."""
    return number(mean) if math.isnan(error) else f"{mean:.1f} ± {error:.1f}"


def signed(value):
    """Return a difference with its sign."""
    return "–" if math.isnan(value) else f"{value:+.1f}"


def interval(mean, low, high):
    """Return a mean with its interval."""
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def signed_interval(mean, low, high):
    """Return a difference with its interval."""
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def table(header, rows, n_texts=1):
    """Return a Markdown table; the first columns are texts, the others are numbers."""
    rule = ["---"] * n_texts + ["---:"] * (len(header) - n_texts)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows]) + "\n"
