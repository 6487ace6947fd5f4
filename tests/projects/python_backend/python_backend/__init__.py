"""Kernels that a compiler of the project itself makes."""
