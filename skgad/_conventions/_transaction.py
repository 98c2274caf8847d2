"""A fit is a transaction: it sets all that it sets, or nothing."""

from functools import wraps


def all_or_nothing(method):
    """Decorate a method that fits: where it raises, the estimator is what it was before, fitted or not."""

    @wraps(method)
    def guarded(self, *args, **kwargs):
        before = vars(self).copy()
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return guarded
