"""Kernels that a pool of the project's own used to compile."""
