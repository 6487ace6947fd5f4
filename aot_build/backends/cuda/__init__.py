"""CUDA C++: each variant a cubin a source, or a shared library of host and device code."""

from aot_build.backends.cuda.backend import BACKEND

__all__ = ["BACKEND"]
