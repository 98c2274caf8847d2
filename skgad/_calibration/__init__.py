"""From scores to a working point: folds, p-values, thresholds that hold a rate."""
