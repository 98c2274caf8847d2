"""The version of the package, which every saved estimator carries."""

__version__ = "0.1.0.dev0"
