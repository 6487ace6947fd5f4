"""A torch extension and kernels in one wheel."""
