"""What an analysis found, as variants: of a declared signature, or of captured launches."""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aot_build.backends.triton.signature import Function, launch_of
from aot_build.backends.triton.values import as_text, shown
from aot_build.core.kernel import Row, Value, Variant
from aot_build.errors import InputError

FUNCTION = "function "
"""Before the name of a function, among what is keyed."""
ALWAYS_SHOWN = ("num_stages", "num_warps")
"""Options that are columns of a captured launch, whether or not they are the target's default."""
UNSHOWN = ("arch", "backend_name", "enable_fp_fusion", "warp_size")


def declared(variants: tuple[Variant, ...], findings: Mapping[str, Any]) -> tuple[Variant, ...]:
    """The variants with the launch that each row declares. Raises InputError."""
    function = msgspec.convert(findings["function"], Function)
    options = dict(variants[0].kernel.options)
    signature: dict[str, Value] = dict(options["signature"])  # type: ignore[arg-type]
    fusion = bool(options.get("enable-fp-fusion", True))
    found = []
    for variant in variants:
        launch = launch_of(variant, function, signature, fusion)
        program, source = findings["program"], findings["source"]
        keyed = _keyed(variant, launch, program, choice=False, making=source)
        shipped = {"triton": {"source": source, **_builtins(program)}}
        found.append(dataclasses.replace(variant, findings=keyed, metadata=shipped))
    return tuple(found)


def captured(variants: tuple[Variant, ...], findings: Mapping[str, Any]) -> tuple[Variant, ...]:
    """A variant for each launch, of the rows that made it. Raises InputError."""
    found: dict[str, Variant] = {}
    options = dict(variants[0].kernel.options)
    names, ambiguous = _names(findings), _ambiguous(findings)
    for launch in findings["launches"]:
        made_by = [variants[number] for number in launch["rows"]]
        row = tuple(sorted(columns_of(launch, names[launch["making"]])))
        first = dataclasses.replace(made_by[0], row=row)
        # As JSON: to Python 1, 1.0 and True are one.
        told = as_text([list(column) for column in row])
        if told in found:
            raise InputError(
                "two launches cannot be told apart by their columns",
                {"kernel": first.kernel.name, "where": first.where, "launch": first.label},
                "launch them from two kernels",
            )
        content = dict(launch["launch"])
        fusion = bool(options.get("enable-fp-fusion", True))
        content["options"] = {**content["options"], "enable_fp_fusion": fusion}
        shipped: dict[str, Any] = {
            "source": "" if launch["source"] in ambiguous else launch["source"],
            **_builtins(findings["programs"][launch["program"]]),
        }
        if launch["functions"]:
            shipped["functions"] = launch["functions"]
        if "config" in launch:
            shipped["config"] = launch["config"]
            shipped |= {"kept": True} if options.get("keep") else {}
        program = findings["programs"][launch["program"]]
        found[told] = dataclasses.replace(
            first,
            findings=_keyed(
                made_by[0], content, program, choice=launch["choice"], making=launch["making"]
            ),
            metadata={"triton": shipped, "rows": [_json(dict(v.row)) for v in made_by]},
        )
    return tuple(found.values())


def _names(findings: Mapping[str, Any]) -> dict[str, str]:
    """`making` of a function -> how rows call it: several may have one name."""
    functions = {launch["making"]: _plain_name(launch) for launch in findings["launches"]}
    count = Counter(functions.values())
    return {
        making: name if count[name] == 1 else f"{name}#{making[:8]}"
        for making, name in functions.items()
    }


def _plain_name(launch: Mapping[str, Any]) -> str:
    return str(launch["launch"]["function"].partition(":")[2])


def _ambiguous(findings: Mapping[str, Any]) -> set[str]:
    """Digests of sources that several functions share: no launch tells them apart."""
    makings: dict[str, set[str]] = {}
    for launch in findings["launches"]:
        makings.setdefault(launch["source"], set()).add(launch["making"])
    return {source for source, found in makings.items() if len(found) > 1}


@functools.cache
def _functions(program: str) -> dict[str, Any]:
    """The functions of a program, which many variants share; none where there is no program."""
    found: dict[str, Any] = json.loads(program) if program else {}
    return found


@functools.cache
def _parameters(program: str) -> Row:
    return tuple((f"{FUNCTION}{name}", as_text(f)) for name, f in _functions(program).items())


def _builtins(program: str) -> dict[str, Any]:
    """Which of Triton's own functions the globals of a program name: its digest of a source
    leaves them out, and packages choose some of them while they are imported."""
    found: dict[str, dict[str, str]] = {}
    for function, described in _functions(program).items():
        for name, value in described["globals"].items():
            if isinstance(value, dict) and "triton" in value and "<locals>" not in function:
                found.setdefault(function, {})[name] = ":".join(value["triton"])
    return {"builtins": found} if found else {}


def _keyed(
    variant: Variant,
    launch: Mapping[str, Any],
    program: str,
    *,
    choice: bool,
    making: str,
) -> Row:
    """What a launch is keyed by: each function that it reaches is a parameter of its own."""
    text = json.dumps(launch, sort_keys=True, allow_nan=False)
    keyed: Row = (("choice", choice), ("launch", text))
    if program:
        return (*keyed, *_parameters(program))
    # Only its own modules can make the function again, or the function that launched it.
    made_by = ("row", variant.row), ("source", variant.source[0])
    return (*keyed, ("making", making), *made_by)


def columns_of(launch: Mapping[str, Any], function: str) -> Iterator[tuple[str, Value]]:
    """A launch as a declaration would write it: `X=*bf16:16, n=i32:16, BLOCK=4096, num_warps=8`."""
    content = launch["launch"]
    names = [name for name, _ in content["signature"]]
    if "function" not in names:
        yield "function", function
    constants = {tuple(path): value for path, value in content["constants"]}
    attrs = {tuple(path): dict(map(tuple, found)) for path, found in content["attrs"]}
    for index, (name, kind) in enumerate(content["signature"]):
        if kind == "constexpr":
            yield name, _constant(name, constants[(index,)], content)
        else:
            nested = {path[1:]: found for path, found in attrs.items() if path[0] == index}
            yield name, _typed(kind, nested)
    for name, value in content["options"].items():
        told = name in ALWAYS_SHOWN or name not in launch["defaults"]
        if told and name not in UNSHOWN and name not in names:
            yield name, _value(value)


def _constant(name: str, value: Any, content: Mapping[str, Any]) -> Value:
    """Of a constexpr its value; of another parameter what it was specialised to."""
    if name in content.get("constexprs", ()):
        return _value(shown(value))
    if value is None:
        return "none"
    return "i32:1" if value == 1 and not isinstance(value, bool) else _value(shown(value))


def _typed(kind: Any, attrs: Mapping[tuple[int, ...], Mapping[str, Any]]) -> str:
    text = kind if isinstance(kind, str) else json.dumps(kind)
    for path, found in sorted(attrs.items()):
        place = f"@{'.'.join(map(str, path))}" if path else ""
        text += f":{found['tt.divisibility']}{place}" if "tt.divisibility" in found else ""
        # The tensor spans less than 2**32 / 2 bytes, which an offset of 32 bits reaches.
        text += f"/2GiB{place}" if "tt.pointer_range" in found else ""
    return text


def _value(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(map(_value, value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    return [_json(each) for each in value] if isinstance(value, tuple) else value
