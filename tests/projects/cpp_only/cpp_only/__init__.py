"""Kernels alone: neither setup.py nor an extension module."""
