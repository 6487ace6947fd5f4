"""A src layout, and artifacts in a package below the top."""
