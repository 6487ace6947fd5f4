"""Arguments that make Triton specialise an ordinary launch to declared types and assumptions."""

from collections.abc import Mapping
from typing import Any

from aot_build.backends.triton.values import decode

ALIGNED, LOOSE = 1 << 12, (1 << 12) + 2
"""Addresses that nobody follows."""
_INTEGERS = {
    **dict.fromkeys(("i8", "u8", "i16", "u16", "i32", "u32"), 16),
    # What needs fewer bits is passed as i32, or as i64, unless the function says otherwise.
    **dict.fromkeys(("i64",), 1 << 40),
    **dict.fromkeys(("u64",), 1 << 63),
}
"""Type -> a value of it that 16 divides."""


class NoArgument(Exception):
    """No value of Python's is passed as that type."""


class Pointer:
    """What Triton wants to know of a tensor."""

    def __init__(self, dtype: str, aligned: bool, small: bool) -> None:
        self.dtype = dtype
        self._address = ALIGNED if aligned else LOOSE
        self._range = 1 << (20 if small else 40)

    def data_ptr(self) -> int:
        """Its address, which is made up."""
        return self._address

    def ptr_range(self) -> int:
        """Bytes from there to the end of its storage."""
        return self._range


def arguments(launch: Mapping[str, Any], jit: Mapping[str, Any]) -> dict[str, Any]:
    """A launch (backends/triton/signature.py) as keyword arguments, options included.

    `jit` holds the functions that constants name. Raises NoArgument.
    """
    constants = {path[0]: value for path, value in launch["constants"]}
    attrs = {path[0]: dict(map(tuple, found)) for path, found in launch["attrs"]}
    found = dict(launch["options"])
    for index, (name, kind) in enumerate(launch["signature"]):
        if kind == "constexpr":
            found[name] = decode(constants[index], jit)
        else:
            found[name] = _argument(kind, attrs.get(index, {}))
    return found


def _argument(kind: str, assumed: Mapping[str, Any]) -> Any:
    aligned = "tt.divisibility" in assumed
    if kind.startswith("*"):
        # A pointer to pointers is one to 64 bits, as a tensor of addresses is.
        dtype = "i64" if kind.startswith("**") else kind.lstrip("*").removeprefix("k")
        return Pointer(dtype, aligned, "tt.pointer_range" in assumed)
    if kind in _INTEGERS:
        return _INTEGERS[kind] + (not aligned)
    if kind in ("i1", "u1"):
        return True
    if kind.startswith(("fp", "bf")):
        return 1.5
    raise NoArgument(kind)
