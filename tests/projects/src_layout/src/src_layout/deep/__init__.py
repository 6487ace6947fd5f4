"""Carries the artifacts."""
