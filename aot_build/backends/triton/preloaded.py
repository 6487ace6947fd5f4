"""What every Triton action imports, imported once for all of them.

For the keys of its cache Triton digests its own libraries, some 500 MB, in each process that
compiles: 0.4 s for what the toolchain's digest tells already.
"""

import os

from aot_build.backends.triton.environment import UNSET_ENV

# Triton's own functions are what the environment says while they are imported: with
# TRITON_INTERPRET none of them could be compiled. Other actions see the environment as it is.
_hidden = {name: os.environ.pop(name) for name in UNSET_ENV if name in os.environ}
try:
    import triton.backends.amd.compiler
    import triton.backends.nvidia.compiler
    import triton.compiler.code_generator
    import triton.language.extra.cuda.libdevice
    import triton.language.extra.hip.libdevice
    import triton.runtime.autotuner
    import triton.runtime.cache

    from aot_build.backends.triton import perform

    # Each action has an empty cache of its own: what its entries are called is of no account.
    triton.runtime.cache.triton_key = lambda: triton.__version__
finally:
    os.environ.update(_hidden)

__all__ = ["perform"]
