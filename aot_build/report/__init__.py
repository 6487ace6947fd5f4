"""Surfaces that tell a person how a build went; each consumes events."""
