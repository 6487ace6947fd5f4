"""Kernels that are declared in every way that data can say them."""
