"""Specs: rows of configs, read and multiplied into variants."""

from aot_build.specs.row import RawRow
from aot_build.specs.rows import config_files, read_rows, rows_from_code
from aot_build.specs.variants import Skipped, row_targets, variants

__all__ = [
    "RawRow",
    "Skipped",
    "config_files",
    "read_rows",
    "row_targets",
    "rows_from_code",
    "variants",
]
