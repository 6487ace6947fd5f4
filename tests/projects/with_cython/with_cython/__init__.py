"""A Cython module and kernels in one wheel."""
