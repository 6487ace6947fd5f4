"""Variables that say how many threads a library starts in each process."""

VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""A worker has one CPU token, and each of these is 1 there, whatever the caller's environment says:
two workers of 64 threads each would be 128. What a kernel declares in its `env` comes after."""
