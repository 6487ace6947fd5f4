"""Imported by the rows: a part of what they are made from."""

BLOCKS = (64, 128)
