"""The version of the distribution: setup reads it without importing anything."""

VERSION = "0.1.0"
