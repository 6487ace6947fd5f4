"""Keyed actions: the one key function, the state of what a trace names, and what has to run."""
