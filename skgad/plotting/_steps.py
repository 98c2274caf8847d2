"""What the displays share on the side of the estimators: what stands at the end of a pipeline, and what reaches it."""

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline


def last_step(estimator):
    """Return the last step of a pipeline, or the estimator itself."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def reach_last_step(estimator, X):
    """Return the last step of a pipeline, and `X` as the steps before make it; both as they are elsewhere."""
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator), X


def find_extractor(estimator):
    """Return the extractor that a fitted estimator sends images through first, inside others too; None without one."""
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        return find_extractor(steps[0]) if steps else None
    if isinstance(estimator, FrozenEstimator):
        return find_extractor(estimator.estimator)
    if hasattr(estimator, "estimator_"):
        return find_extractor(estimator.estimator_)
    return estimator if hasattr(estimator, "find_box") and hasattr(estimator, "transform") else None
