"""Rows that code computes."""
