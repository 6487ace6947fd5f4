"""See what actions read: Python code in a worker, and the depfiles of compilers."""
