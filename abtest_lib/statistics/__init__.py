"""Pure statistics on counts, moments and arrays: NumPy and SciPy only, nothing of the product."""
