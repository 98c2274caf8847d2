"""Where in a line, or a part of one, the extractor is."""

from sklearn.pipeline import Pipeline

from ._transformer import DeepFeatureTransformer


def find_extractor(line):
    """Return the fitted extractor of a line; None where there is none."""
    parts = [step for _, step in line.steps] if isinstance(line, Pipeline) else [line]
    for part in parts:
        if isinstance(part, DeepFeatureTransformer):
            return part
        for name in ("features_", "estimator_"):
            found = find_extractor(getattr(part, name)) if hasattr(part, name) else None
            if found is not None:
                return found
    return None
