"""Kernels for GPUs, in Triton, and the rows that they are compiled for.

Importing this package makes launches of its functions find what was shipped for them. Importing
`aot_kernels` alone does not: whoever works on a CPU has no use for it.
"""

from importlib import import_module

try:
    import_module("aot_kernels._aot").install("triton")
except ModuleNotFoundError as error:
    # A source tree in which nothing was built: Triton compiles.
    if error.name != "aot_kernels._aot":
        raise
