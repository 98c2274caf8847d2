"""Things that tasks need and that are as large as what they are made of: worked out where and when they are used."""


class Derived:
    """A thing that is worked out when it is needed; the last one is kept."""

    _last: tuple = (None, None)

    def __init__(self, make, arguments):
        self._make, self._arguments = make, arguments

    def get(self):
        """Return it."""
        owner, thing = Derived._last
        if owner is not self:
            self.forget()
            thing = self._make(*self._arguments)
            Derived._last = (self, thing)
        return thing

    @staticmethod
    def forget():
        """Drop the one that is kept."""
        Derived._last = (None, None)


def find(thing):
    """Return what an engine derived, in a task."""
    return thing.get() if isinstance(thing, Derived) else thing
