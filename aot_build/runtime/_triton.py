"""Serves ordinary Triton launches from what is shipped: Triton 3.7 and later.

A launch of a specialisation that its function has not seen in this process goes to
`JITFunction._do_compile`. A hook there looks it up among the shipped variants and hands back a
kernel made of the shipped binary. Triton keeps that as it keeps its own, so that each launch is
looked up once; nothing is compiled, hashed or cached on disk. What is not found goes on to Triton.

The hook is one for all packages that ship kernels; it asks each in the order of installation.
"""

from __future__ import annotations

import _imp
import contextlib
import functools
import importlib
import importlib.machinery
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from . import _state, strict
from ._artifact import KernelNotFound
from ._kernel import Kernel, unlaunchable
from ._specialization import Variant, Variants, name_of, text_of

_LAST = "triton.runtime.autotuner"
"""The later one of the two modules with a hook; `import triton` imports both."""
_ASKED = "_aot_asked"
"""Attribute of a hook: a list of what it asks, one function of each package. On no more than this
do the runtimes of several packages, which may be of several versions, agree."""
_OWNER = str(__package__).rpartition(".")[0]
_LIMIT = re.compile(
    r"out of resource: (.+?), (?:Required: )?(\d+)\b.*?, (?:Hardware limit: )?(\d+)\b"
)
"""As a build puts it, or Triton itself."""
_variants = Variants([])


def install(kernels: list[Kernel]) -> None:
    """Serve launches of the functions that these are made of. Idempotent.

    Imports nothing of Triton: where it is not imported yet, this waits until it is.
    """
    global _variants
    with _state.lock:
        if _variants.kernels:
            return
        _variants = Variants(kernels)
    waiter = _Waiter()
    sys.meta_path.insert(0, waiter)
    if _LAST in sys.modules:
        importlib.import_module(_LAST)  # another thread may be at it
        waiter.leave()
        _hook()


class _Waiter:
    """A finder that lets another one find the awaited module, to learn when it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See importlib.abc.MetaPathFinder."""
        finders: list[Any] = list(sys.meta_path)
        if name != _LAST or self not in finders:
            return None
        # Those before have found nothing; one that waits for another package asks on likewise.
        for finder in finders[finders.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                spec.loader = _Loader(spec.loader, self)
                return spec
        return None

    def leave(self) -> None:
        """Find nothing any more."""
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)


class _Loader:
    """The real loader, and what is to be done when it has finished."""

    def __init__(self, loader: Any, waiter: _Waiter) -> None:
        self._loader = loader
        self._waiter = waiter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        """See importlib.abc.Loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """See importlib.abc.Loader."""
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._waiter.leave()
        _hook()


def _hook() -> None:
    """Have Triton ask this package, too."""
    jit, tuner = sys.modules["triton.runtime.jit"], sys.modules[_LAST]
    _join(jit.JITFunction, "_do_compile", _serving, _serve)
    _join(tuner.Autotuner, "prune_configs", _choosing, _choose)


def _join(
    owner: Any, method: str, hook: Callable[..., Callable[..., Any]], own: Callable[..., Any]
) -> None:
    # The runtimes of two packages share no other lock.
    _imp.acquire_lock()
    try:
        original = getattr(owner, method)
        if not hasattr(original, _ASKED):
            asked: list[Callable[..., Any]] = []
            hooked = functools.wraps(original)(hook(original, asked))
            setattr(hooked, _ASKED, asked)
            setattr(owner, method, hooked)
        asked = getattr(getattr(owner, method), _ASKED)
        if own not in asked:
            asked.append(own)
    finally:
        _imp.release_lock()


def _serving(compile: Callable[..., Any], asked: list[Callable[..., Any]]) -> Callable[..., Any]:
    """`JITFunction._do_compile`: a kernel from the first package that ships it."""

    def serving(fn: Any, *launch: Any, **more: Any) -> Any:
        refused = None
        for serve in asked:
            answer = serve(fn, *launch[:6])
            if isinstance(answer, Exception):
                refused = refused or answer
            elif answer is not None:
                return answer
        if refused is not None:
            raise refused
        return compile(fn, *launch, **more)

    return serving


def _serve(
    fn: Any, key: Any, signature: Any, device: Any, constants: Any, options: Any, attrs: Any
) -> Any:
    """The kernel of a launch; None where Triton is to compile it; else an error to raise."""
    if not _variants.of(fn) and _OWNER not in (fn.module, *_parents(fn.module)):
        return None  # somebody else's
    cache, target = fn.device_caches[device][0], fn.device_caches[device][2]
    found: Variant | str = _asked_for_compiler()
    found = found or _variants.find(fn, target, signature, constants, options, attrs)
    if isinstance(found, Variant):
        why = unlaunchable(found.artifact)
        if why:
            return _out_of_resources(why)
        try:
            cache[key] = found.kernel(fn, fn.ASTSource(fn, signature, constants, attrs))
            return cache[key]
        except OSError as error:
            found = f"the shipped file cannot be read ({error})"
    text = f"a launch of {name_of(fn)} would compile anew: {found}"
    return KernelNotFound(text) if strict() else None


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def _asked_for_compiler() -> str:
    """Why a kernel must not come from anywhere but the compiler; else empty."""
    from triton import knobs

    for name in ("always_compile", "override", "dump_ir"):
        if getattr(knobs.compilation, name, False):
            return f"Triton's knob compilation.{name} is set"
    hook = getattr(knobs.runtime, "add_stages_inspection_hook", None)
    return "a hook changes the compiler's stages" if hook is not None else ""


def _choosing(prune: Callable[..., Any], asked: list[Callable[..., Any]]) -> Callable[..., Any]:
    """`Autotuner.prune_configs`: called before a tuning, with all the configurations there are."""

    def choosing(tuner: Any, *args: Any, **more: Any) -> Any:
        for choose in asked:
            choose(tuner)
        return prune(tuner, *args, **more)

    return choosing


def _choose(tuner: Any) -> None:
    """Leave an Autotuner the configurations that are shipped, where others are not on purpose."""
    fn = tuner.fn
    while fn is not None and not hasattr(fn, "device_caches"):
        fn = getattr(fn, "fn", None)
    if fn is None or _asked_for_compiler():
        return
    from triton.runtime.driver import driver

    there = _variants.current(fn, driver.active.get_current_target())
    kept = {
        text_of(variant.triton["config"])
        for variant in (() if isinstance(there, str) else there)
        if variant.triton.get("kept") and not unlaunchable(variant.artifact)
    }
    chosen = [config for config in tuner.configs if text_of(config.all_kwargs()) in kept]
    if chosen:
        tuner.configs = chosen


def _out_of_resources(why: str) -> Exception:
    """What Triton raises where it has compiled such a kernel; an Autotuner passes it over."""
    from triton.runtime.errors import OutOfResources

    found = _LIMIT.search(why)
    needed, there, name = (int(found[2]), int(found[3]), found[1]) if found else ("?", "?", why)
    error: Exception = OutOfResources(needed, there, name)
    return error
