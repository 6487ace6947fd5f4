"""What every Triton action imports, imported once for all of them.

Triton digests its own libraries (some 500 MB) for the keys of its cache, in each process that
compiles: a fork inherits the digest.
"""

import triton.backends.amd.compiler
import triton.backends.nvidia.compiler
import triton.compiler.code_generator
import triton.language.extra.cuda.libdevice
import triton.language.extra.hip.libdevice
import triton.runtime.autotuner
import triton.runtime.cache

from aot_build.backends.triton import perform

triton.runtime.cache.triton_key()

__all__ = ["perform"]
