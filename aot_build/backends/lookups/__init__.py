"""What ships, looked up the way production would, in a process where compiling is an error.

Apart from the backends' own folders, whose content is part of the keys of what they build.
"""
