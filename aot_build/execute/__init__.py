"""Runs jobs in processes of their own; knows nothing of kernels, keys or caches."""
