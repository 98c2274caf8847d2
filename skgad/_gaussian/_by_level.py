"""What is made of each level in turn, and errors that name the level."""


def by_level(levels, make):
    """Return a dict of what ``make(level)`` gives for each level; a ValueError of it is given the level's name."""
    result = {}
    for level in levels:
        try:
            result[level] = make(level)
        except ValueError as error:
            raise type(error)(f"{level}: {error}" if level else str(error)) from error
    return result
