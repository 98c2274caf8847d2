"""Estimators on columns of features: selections, reductions and detectors, level by level."""
