"""What every FlyDSL action imports, imported once for all of them.

For the names of its entries FlyDSL digests its own sources and libraries in each process: 0.1 s.
Forks take what was digested here, and add what depends on their target.
"""

import logging
import os

from aot_build.backends.flydsl.environment import UNSET_ENV

# As in a fresh interpreter, where they are taken away first. Other actions see them as they are.
_hidden = {name: os.environ.pop(name) for name in UNSET_ENV if name in os.environ}
try:
    import flydsl
    import flydsl.compiler
    import flydsl.expr

    # Kernels import it when they first name it: half a second of compiling, as workers use no
    # bytecode that others have written.
    import flydsl.expr.rocdl
    from flydsl.compiler import backends, jit_function

    from aot_build.backends.flydsl import entries
finally:
    os.environ.update(_hidden)

__all__ = ["entries", "share_digest"]


def share_digest() -> None:
    """Have `_flydsl_key_cached` say what it would for whatever target, and read files no more.

    It asks which GPU there is, and starts a logger by variables: neither is for this process.
    """
    original = jit_function._flydsl_key_cached
    first = backends.get_backend("rocm", arch="gfx942")
    asked, log = jit_function.get_backend, jit_function.log
    jit_function.get_backend = lambda: first
    jit_function.log = lambda: logging.getLogger("aot_build.quiet")
    try:
        text: str = original.__wrapped__(False, "", ())
    finally:
        jit_function.get_backend, jit_function.log = asked, log
    head, rest = text[: len(_head(first))], text[len(_head(first)) :]
    if head != _head(first):
        return

    def shared(external: bool, llvm_dir: str, extra: tuple[str, ...] = ()) -> str:
        backend = jit_function.get_backend()
        if external or llvm_dir or extra or type(backend) is not type(first):
            found: str = original(external, llvm_dir, extra)
            return found
        return _head(backend) + rest

    jit_function._flydsl_key_cached = shared


def _head(backend: object) -> str:
    return f"flydsl:{flydsl.__version__}:{backend.hash()}-"  # type: ignore[attr-defined]


share_digest()
