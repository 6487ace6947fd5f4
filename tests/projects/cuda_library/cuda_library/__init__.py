"""Kernels with the code that launches them, behind a C ABI."""
