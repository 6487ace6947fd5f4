"""Declares a kernel of a compiler that it does not require."""
