"""`python -m aot_kernels.<family>`: compile the kernels of one family of operators.

Thin: the project's own declaration, engine, settings and cache. Only running one as a program
imports more than the standard library or sets a variable.
"""
