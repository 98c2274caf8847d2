"""The conventions as code: labels, levels, named columns, scores and decisions, the version stamp."""
