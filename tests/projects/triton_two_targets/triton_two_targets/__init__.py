"""Triton kernels, built for two makers of GPUs."""
