"""Specialisation + program -> cubin or hsaco, with the metadata that a launch needs.

A launch is as signature.py has it. Its Triton side is `triton.compile(ASTSource, GPUTarget)`, in a
cache directory of the action's own.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from aot_build.backends.triton.values import decode
from aot_build.core.hardware import MAX_THREADS, Hardware, hardware_of
from aot_build.core.target import Target, parse_target

MACHINES_OWN = ("extern_libs", "enable_fp_fusion")
"""Options that a launch is not recognised by: the first holds paths of the machine, the second is
the declaration's to decide, as Triton's default for it changes between versions."""
SCRATCH = ("global", "profile")
TENSOR_MEMORY_COLUMNS = 512


class CannotLaunch(Exception):
    """The target cannot run the kernel; the text says what it lacks."""


def gpu_target(target: Target) -> Any:
    """What Triton calls the target. `sm_90` and `sm_90a` are one to it."""
    from triton.backends.compiler import GPUTarget

    hardware = hardware_of(target)
    major, minor = hardware.capability
    arch = major * 10 + minor if target.kind == "cuda" else target.arch
    return GPUTarget(target.kind, arch, hardware.warp_size)


def emitted_arch(target: Target) -> str:
    """The architecture of the code that Triton emits: arch-specific from Hopper on."""
    hardware = hardware_of(target)
    specific = target.kind == "cuda" and hardware.capability >= (9, 0)
    return f"{hardware.arch}a" if specific else hardware.arch


@dataclasses.dataclass(frozen=True, slots=True)
class Specialisation:
    """A launch in Triton's own terms, ready to be compiled."""

    launch: Mapping[str, Any]
    source: Any
    options: Any
    target: Any
    hardware: Hardware
    told: dict[str, Any]
    """What a launch is recognised by."""


def specialise(
    function: Any, launch: Mapping[str, Any], jit: Mapping[str, Any], target: str
) -> Specialisation:
    """A launch as Triton has it.

    `function` is the JIT function, `jit` holds those that constants name.
    """
    import triton
    from triton.compiler import ASTSource, make_backend

    built_for = parse_target(target)
    triton_target = gpu_target(built_for)
    chosen = {"debug": False, **_tupled(launch["options"])}
    options = make_backend(triton_target).parse_options(chosen)
    constants = {tuple(path): decode(value, jit) for path, value in launch["constants"]}
    attrs = {tuple(path): _lists(found) for path, found in launch["attrs"]}
    signature = {name: _tupled(kind) for name, kind in launch["signature"]}
    source = getattr(function, "ASTSource", ASTSource)(function, signature, constants, attrs)
    told = {
        "version": triton.__version__,
        "function": launch["function"],
        "specialization": _specialization(function, source, options, triton_target),
    }
    return Specialisation(launch, source, options, triton_target, hardware_of(built_for), told)


def compiled(found: Specialisation) -> tuple[bytes, str, dict[str, Any]]:
    """The binary, its extension, and its metadata. Raises CannotLaunch, and what Triton raises."""
    from triton.compiler import compile, make_backend

    _check_threads(found.options, found.hardware)
    kernel = compile(found.source, target=found.target, options=found.options.__dict__)
    metadata = kernel.metadata._asdict()
    _check_memory(metadata, found.hardware)
    extension = make_backend(found.target).binary_ext
    shipped = _launch_metadata(found.launch, metadata, found.hardware)
    shipped["triton"] = {**found.told, "metadata": _normalised(metadata)}
    return kernel.asm[extension], extension, shipped


def _check_threads(options: Any, hardware: Hardware) -> None:
    warp_size = getattr(options, "warp_size", hardware.warp_size)
    threads = options.num_warps * warp_size
    if threads > MAX_THREADS:
        raise CannotLaunch(
            f"out of resource: threads, {threads} needed ({options.num_warps} warps of"
            f" {warp_size}), {MAX_THREADS} there"
        )


def _check_memory(found: Mapping[str, Any], hardware: Hardware) -> None:
    if found["shared"] > hardware.shared_memory:
        raise CannotLaunch(
            f"out of resource: shared memory, {found['shared']} needed,"
            f" {hardware.shared_memory} there"
        )
    columns = found.get("tmem_size") or 0
    if columns > TENSOR_MEMORY_COLUMNS:
        raise CannotLaunch(
            f"out of resource: tensor memory, {columns} needed, {TENSOR_MEMORY_COLUMNS} there"
        )


def _launch_metadata(
    launch: Mapping[str, Any], found: Mapping[str, Any], hardware: Hardware
) -> dict[str, Any]:
    """What a launcher of any kind needs to know."""
    names = [name for name, _ in launch["signature"]]
    passed = [(name, kind) for name, kind in launch["signature"] if kind != "constexpr"]
    args = [{"name": name, "type": _shown(kind)} for name, kind in passed]
    args += [{"name": f"{kind}_scratch", "type": "*i8"} for kind in SCRATCH]
    assumes: dict[str, Any] = {}
    small = []
    for path, attrs in launch["attrs"]:
        name = names[path[0]] if len(path) == 1 else f"{names[path[0]]}{path[1:]}"
        for attr, value in attrs:
            if attr == "tt.divisibility":
                assumes[name] = value
            elif attr == "tt.pointer_range":
                small.append(name)
    fixed = set(launch.get("constexprs", ()))
    for path, value in launch["constants"]:
        if len(path) == 1 and names[path[0]] not in fixed and not isinstance(value, dict | list):
            assumes[names[path[0]]] = value
    return {
        "symbol": found["name"],
        "shared": found["shared"],
        "num_warps": found["num_warps"],
        "warp_size": found.get("warp_size", hardware.warp_size),
        "num_ctas": found.get("num_ctas", 1),
        "args": args,
        "assumes": assumes,
        **({"within_2gb": small} if small else {}),
        "scratch": {
            kind: [found.get(f"{kind}_scratch_size", 0), found.get(f"{kind}_scratch_align", 1)]
            for kind in SCRATCH
        },
        "cooperative": bool(found.get("launch_cooperative_grid", False)),
        "pdl": bool(found.get("launch_pdl", False)),
    }


def _specialization(function: Any, source: Any, options: Any, target: Any) -> dict[str, Any]:
    """The launch in Triton's own words, which the runtime compares with a launch to be served."""
    from triton.runtime.jit import serialize_specialization_data

    text = serialize_specialization_data(
        function._fn_name, source.signature, source.constants, source.attrs, options, "", target
    )
    found: dict[str, Any] = json.loads(text)
    del found["key"]
    found["options"] = {n: v for n, v in found["options"].items() if n not in MACHINES_OWN}
    return found


def _normalised(found: Mapping[str, Any]) -> dict[str, Any]:
    """Triton's metadata, without what differs between machines or with comments."""
    plain = json.loads(json.dumps(found, default=_as_plain))
    # What the environment was like is no property of the kernel.
    kept = {n: v for n, v in plain.items() if n != "hash" and not n.isupper()}
    kept["extern_libs"] = []
    return kept


def _as_plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else vars(value)  # type: ignore[arg-type]


def _shown(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(_tupled(kind))


def _tupled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tupled(each) for name, each in value.items()}
    return tuple(map(_tupled, value)) if isinstance(value, list | tuple) else value


def _lists(value: Any) -> Any:
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value
