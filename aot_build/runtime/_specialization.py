"""Shipped Triton variants, and which of them a launch asks for.

A variant is that of a launch if it has
- the same version of Triton, and the same digest of the function's source and all that it reaches;
- the same target, types, constants and options, but for paths of the machine that compiled it and
  for `enable_fp_fusion`, which the declaration decides;
- no attribute that the launch lacks: code for any address also serves an aligned one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from ._artifact import Artifact
from ._kernel import Kernel

_MACHINES_OWN = ("extern_libs", "enable_fp_fusion")


class Variants:
    """The variants of some kernels, by the JIT function that they were compiled of."""

    def __init__(self, kernels: list[Kernel]) -> None:
        self.kernels = kernels
        self._of: dict[str, list[Variant]] = {}

    def of(self, fn: Any) -> list[Variant]:
        """All variants of a JIT function."""
        name = name_of(fn)
        found = self._of.get(name)
        if found is None:
            line = f'"function":{json.dumps(name)}'.encode()
            shipped = (artifact for kernel in self.kernels for artifact in kernel.holding(line))
            told = ((artifact, artifact.metadata.get("triton", {})) for artifact in shipped)
            found = self._of[name] = [
                Variant(artifact)
                for artifact, triton in told
                if triton.get("function") == name and "specialization" in triton
            ]
        return found

    def current(self, fn: Any, target: Any) -> list[Variant] | str:
        """Variants of the very function, compiler and target; else why there are none."""
        version = sys.modules["triton"].__version__
        found = self.of(fn)
        if not found:
            return "it is not shipped"
        told = ", ".join(sorted({v.triton["version"] for v in found}))
        found = [v for v in found if v.triton["version"] == version]
        if not found:
            return f"it was compiled by Triton {told}, this is {version}"
        found = [v for v in found if v.triton["source"] == fn.cache_key]
        if not found:
            return "its source, or a function that it calls, is not what was compiled"
        told = ", ".join(sorted({v.artifact.target for v in found}))
        found = [v for v in found if v.metadata["target"] == vars(target)]
        return found or f"it is shipped for {told}, this is {target.backend}:{target.arch}"

    def find(
        self, fn: Any, target: Any, signature: Any, constants: Any, options: Any, attrs: Any
    ) -> Variant | str:
        """The variant of a launch; else why there is none."""
        from triton.runtime.jit import serialize_specialization_data as serialize

        there = self.current(fn, target)
        if isinstance(there, str):
            return there
        launch = ("", signature, constants, attrs, options, "", target)
        try:
            text = serialize(*launch[: serialize.__code__.co_argcount])  # the target: since 3.7
        except TypeError as error:
            return f"an argument is of a kind that nothing is shipped for ({error})"
        parts, has = parts_of(json.loads(text))
        # What is passed as an argument is no part of the source of what it is passed to.
        functions = {
            name_of(value): value.cache_key
            for value in constants.values()
            if type(value).__name__ == "JITFunction"
        }
        fit = [v for v in there if v.parts == parts and v.attrs <= has]
        fresh = [v for v in fit if v.triton.get("functions", {}) == functions and v.bound_alike()]
        if fresh:
            fused = getattr(options, "enable_fp_fusion", None)
            return max(
                fresh, key=lambda v: (len(v.attrs), v.metadata.get("enable_fp_fusion") == fused)
            )
        if fit:
            return "a function that it is passed, or one of Triton's that it names, is another one"
        return _nearest(there, parts, has)


class Variant:
    """A shipped variant, in the words of the launch that it serves."""

    __slots__ = ("artifact", "attrs", "metadata", "parts", "triton")

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.triton: dict[str, Any] = artifact.metadata["triton"]
        # What cannot be launched may have failed before there was any metadata.
        self.metadata = self.triton.get("metadata") or self.triton["specialization"]
        self.parts, self.attrs = parts_of(self.triton["specialization"])

    def bound_alike(self) -> bool:
        """Whether its functions name the same functions of Triton: no digest tells of those."""
        from triton.runtime.jit import _triton_jit_function_registry as registry

        return all(
            _named(registry.get(function), name) == told
            for function, names in self.triton.get("builtins", {}).items()
            for name, told in names.items()
        )

    def kernel(self, fn: Any, source: Any) -> Any:
        """What `triton.compile` gives for a source."""
        (name,), (path,) = self.artifact.digests, self.artifact.files.values()
        if not self.artifact.intact():
            raise OSError(f"{path} is not what was shipped: see verify()")
        digest = self.artifact.digests[name]
        # CompiledKernel reads its metadata from a file.
        with _file({**self.metadata, "hash": digest}) as metadata:
            binary = {os.path.basename(path): path}
            kernel = fn.CompiledKernel(source, {f"{name}.json": metadata, **binary}, digest)
        kernel.metadata_group = binary
        return kernel


def _named(fn: Any, name: str) -> str:
    """What a global name of a JIT function stands for."""
    cells = dict(zip(fn.fn.__code__.co_freevars, fn.fn.__closure__ or ())) if fn else {}  # noqa: B905
    value = cells[name].cell_contents if name in cells else getattr(fn, "__globals__", {}).get(name)
    return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"


def name_of(fn: Any) -> str:
    """What a JIT function is registered as."""
    return f"{fn.module}:{fn.fn.__qualname__}"


def parts_of(specialization: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """A specialisation, as Triton serialises it: its parts by name, and its attributes.

    Values are compared as JSON: true, 1 and 1.0 make different kernels.
    """
    names = list(specialization["signature"])
    parts = {name: text_of(kind) for name, kind in specialization["signature"].items()}
    for path, value in zip(specialization["constant_keys"], specialization["constant_vals"]):  # noqa: B905
        parts[_place(names, path)] = f"constexpr {text_of(value)}"
    for name, value in specialization["options"].items():
        if name not in _MACHINES_OWN:
            parts[f"option {name}"] = text_of(value)
    attrs = zip(specialization["attrs_keys"], specialization["attrs_vals"])  # noqa: B905
    return parts, frozenset(
        f"{_place(names, path)}: {name} {text_of(value)}"
        for path, found in attrs
        for name, value in found
    )


def _place(names: list[str], path: list[int]) -> str:
    return names[path[0]] + "".join(f"[{index}]" for index in path[1:])


def text_of(value: object) -> str:
    """A JSON value as it is compared: true, 1 and 1.0 make different kernels."""
    return json.dumps(value, sort_keys=True, default=str)


def _nearest(there: list[Variant], parts: Mapping[str, str], has: frozenset[str]) -> str:
    def differences(variant: Variant) -> list[str]:
        names = sorted(n for n in {*parts, *variant.parts} if parts.get(n) != variant.parts.get(n))
        differ = [f"{n}: {parts.get(n)} here, {variant.parts.get(n)} there" for n in names]
        return differ + [f"{assumed} there" for assumed in sorted(variant.attrs - has)]

    near = min(map(differences, there), key=len)
    return "no such specialisation is shipped\n  the nearest differs in " + "; ".join(near)


@contextlib.contextmanager
def _file(content: object) -> Iterator[str]:
    """A file of JSON that is on no disk where the system has such files."""
    text = json.dumps(content)
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("aot"), "w") as stream:
            stream.write(text)
            stream.flush()
            yield f"/proc/self/fd/{stream.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as named:
            named.write(text)
            named.flush()
            yield named.name
