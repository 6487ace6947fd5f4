"""Triton for CUDA and HIP, compiled without a GPU.

    backend.py     the Backend: what is asked while planning, what is done in a worker
    signature.py   declared signatures and rows -> a specialisation
    capture.py     a plain function's launches -> specialisations
    stand_in.py    a driver, and torch's device queries, that describe the target
    program.py     the functions that a kernel reaches, as data that compiles elsewhere
    values.py      constants as data
    compile.py     specialisation + program -> cubin or hsaco, and launch metadata

triton and torch are imported in workers alone.
"""

from aot_build.backends.triton.backend import BACKEND

__all__ = ["BACKEND"]
