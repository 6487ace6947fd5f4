"""Rows out of tuned tables: CSV files in which kernel libraries keep the fastest configuration of
each shape.

A module for each family reads its own tables; `table.py` says how. A module's functions are named
in `configs = ["aot_kernels.tuned.<family>:<function>"]`. They import the standard library alone.

The tables are those beside this file, or those that the variable `AOT_KERNELS_TABLES` names.
"""

VARIABLE = "AOT_KERNELS_TABLES"
"""Tables to read instead of the shipped ones, separated as in PATH."""
