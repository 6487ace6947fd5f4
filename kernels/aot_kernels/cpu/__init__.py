"""Kernels for CPUs: sources, the rows that they are compiled for, and their launchers."""
