"""The arithmetic of Gaussians: moments, shrinkage, factors, leave-one-out, laws. NumPy and SciPy only, a leaf."""
