"""Modes: named lists of pipelines, which are lists of passes; both can be printed."""
