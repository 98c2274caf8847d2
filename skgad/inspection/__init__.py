"""Why an image is anomalous: which level, which place and which channels its distance comes from."""

from ._explain import explain

__all__ = ["explain"]
