"""Not a package of the wheel: it serves the build alone."""
