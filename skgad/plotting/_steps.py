"""What the displays share on the side of the estimators: what stands at the end of a pipeline, and what reaches it."""

from sklearn.pipeline import Pipeline


def last_step(estimator):
    """Return the last step of a pipeline, or the estimator itself."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def reach_last_step(estimator, X):
    """Return the last step of a pipeline, and `X` as the steps before make it; both as they are elsewhere."""
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator), X
