"""FlyDSL for AMD GPUs, compiled without one.

    backend.py      the Backend: what is asked while planning, what is done in a worker
    environment.py  variables: which shape what it makes, which are ours, which are taken away
    entries.py      the files of its cache: watched while they come to be, made the same anywhere
    preloaded.py    what every action imports

flydsl and torch are imported in workers alone.
"""

from aot_build.backends.flydsl.backend import BACKEND

__all__ = ["BACKEND"]
