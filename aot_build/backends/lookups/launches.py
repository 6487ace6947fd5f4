"""Triton's ordinary launches, served from what ships: up to the driver, which is a stand-in.

Compiling raises. A declared signature is launched with arguments made to it; a plain function is
called for its rows again. Each launch is looked up by the runtime's own hook.
"""

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import msgspec

from aot_build.backends.lookups import names, place
from aot_build.backends.lookups.arguments import NoArgument, arguments
from aot_build.backends.lookups.shelf import Shelf, change, label_of
from aot_build.backends.python import find_attribute
from aot_build.backends.triton.capture import Capture, defaults_of
from aot_build.backends.triton.environment import UNSET_ENV
from aot_build.backends.triton.launches import columns_of
from aot_build.backends.triton.perform import described, jit_function
from aot_build.backends.triton.signature import Function, launch_of
from aot_build.backends.triton.stand_in import describe
from aot_build.core.inquiry import Inquiry
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.target import parse_target
from aot_build.errors import InputError
from aot_build.rows import ChangeRow, RuntimeRow

ANEW = "would compile anew: "
UNSERVED = "no ordinary launch passes such arguments: it is found by its row alone"
DIGITS = 12
VERSION, SOURCE = "Triton", "source of"


class WouldCompile(Exception):
    """Somebody called the compiler."""


def look_up(asked: Inquiry, shelf: Shelf) -> Iterator[RuntimeRow]:
    """A row for each declared row, or for each launch that the function makes for its rows."""
    for name in UNSET_ENV:
        os.environ.pop(name, None)
    from triton.runtime.jit import JITFunction

    describe(parse_target(asked.target))
    # Before the package is imported, so that its runtime's hook comes before the refusal.
    _refuse()
    aot = place.runtime(asked.around)
    found = find_attribute(asked.source)
    shelf.installed = bool(place.internals(asked.around, "_triton")._variants.kernels)
    aot.install()
    look_ups = LookUps(asked, shelf, JITFunction._do_compile)
    look_ups.start()
    signed = bool(asked.options.get("signature"))
    return look_ups.declared(found) if signed else look_ups.captured(found)


def _refuse() -> None:
    import triton.compiler.compiler
    from triton.runtime.jit import JITFunction

    def refuse(*args: Any, **more: Any) -> NoReturn:
        raise WouldCompile("Triton's compiler is called")

    for holder in (triton, triton.compiler, triton.compiler.compiler):
        holder.compile = refuse
    JITFunction._do_compile = _not_shipped


def _not_shipped(function: Any, *launch: Any) -> NoReturn:
    raise WouldCompile("no package ships it")


class LookUps(Capture):
    """Looks up each launch of one process. `serve` is `JITFunction._do_compile` with its hook."""

    def __init__(self, asked: Inquiry, shelf: Shelf, serve: Any) -> None:
        super().__init__(asked.target)
        self._asked, self._shelf, self._serve = asked, shelf, serve
        self._told: dict[str, RuntimeRow] = {}
        """What came of each launch that was made so far."""
        self._made: list[tuple[dict[str, Any], RuntimeRow]] = []
        """The launches of the row at hand."""

    def note(self, function: Any, signature: Any, constants: Any, options: Any, attrs: Any) -> None:
        """See Capture."""
        launch = self.launch(function, signature, constants, options, attrs)
        identity = json.dumps([launch, function.cache_key], sort_keys=True)
        if identity not in self._told:
            columns = _columns(launch, options)
            asked = signature, constants, options, attrs
            self._told[identity] = self._looked_up(function, columns, asked)
        self._made.append((launch, self._told[identity]))

    def _looked_up(
        self, function: Any, columns: Mapping[str, Any], asked: tuple[Any, ...]
    ) -> RuntimeRow:
        from triton.runtime.errors import OutOfResources

        signature, constants, options, attrs = asked
        row = RuntimeRow(self._asked.kernel, label_of(columns), self._asked.target, "found")
        key = "looked up"
        try:
            kernel = self._serve(function, key, signature, 0, constants, options, attrs, False)
        except OutOfResources as error:
            self._shelf.reach_row(columns)
            return replace(row, detail=f"an autotuner passes it over: {error}")
        except (LookupError, WouldCompile) as error:
            self._shelf.reach_row(columns)
            reason = str(error).partition(ANEW)[2] or str(error)
            nearest, changes = self._nearest(function, columns, asked)
            return replace(
                row, verdict="compiles", detail=reason.splitlines()[0], nearest=nearest,
                changes=changes,
            )  # fmt: skip
        finally:
            # Kept, it would be launched the next time.
            function.device_caches[0][0].pop(key, None)
        self._shelf.reach_digest(kernel.hash)
        return row

    # What the rows stand for

    def captured(self, function: Any) -> Iterator[RuntimeRow]:
        """Call a plain function for its rows; each launch once."""
        told: set[int] = set()
        for row in self._asked.rows:
            self._made.clear()
            failed = self._called(lambda row=row: function(**row), row)
            if failed is None and not self._made:
                failed = self._failed(row, "the function launched no Triton kernel")
            for _, found in self._made:
                if id(found) not in told:
                    told.add(id(found))
                    yield found
            if failed is not None:
                yield failed

    def declared(self, found: Any) -> Iterator[RuntimeRow]:
        """Launch a JIT function by its declared signature, for each row."""
        asked = self._asked
        _spare_torch()
        function = jit_function(found, asked.source)
        takes = msgspec.convert(described(function, asked.target), Function)
        target = parse_target(asked.target)
        options = tuple(asked.options.items())
        spec = KernelSpec(asked.kernel, asked.backend, (asked.source,), (target,), options=options)
        for row, where in zip(asked.rows, asked.places, strict=True):
            variant = Variant(spec, tuple(sorted(row.items())), target, where)
            yield self._declared(function, takes, variant)

    def _declared(self, function: Any, takes: Function, variant: Variant) -> RuntimeRow:
        from triton.runtime.jit import _triton_jit_function_registry as registry

        row = dict(variant.row)
        fusion = bool(self._asked.options.get("enable-fp-fusion", True))
        try:
            launch = launch_of(variant, takes, self._asked.options["signature"], fusion)
            passed = arguments(launch, registry)
        except NoArgument:
            return self._by_name(row)
        except InputError as error:
            return self._failed(row, error)
        self._made.clear()
        failed = self._called(lambda: function[(1, 1, 1)](**passed), row)
        if failed is not None:
            return failed
        ((made, found),) = self._made
        if _alike(made) != _alike(launch):
            return self._by_name(row)
        self._shelf.reach_row(row)
        return replace(found, variant=variant.label)

    def _by_name(self, row: Mapping[str, Any]) -> RuntimeRow:
        found = names.look_up_row(self._asked, self._shelf, row)
        return replace(found, detail=found.detail or UNSERVED)

    def _called(self, call: Any, row: Mapping[str, Any]) -> RuntimeRow | None:
        """What went wrong in a call, if anything did."""
        try:
            call()
        except WouldCompile as error:
            return replace(self._failed(row, error), verdict="compiles")
        except Exception as error:
            return self._failed(row, f"{type(error).__name__}: {error}")
        return None

    def _failed(self, row: Mapping[str, Any], error: object) -> RuntimeRow:
        asked = self._asked
        return RuntimeRow(asked.kernel, label_of(row), asked.target, "failed", str(error))

    # What it was not

    def _nearest(
        self, function: Any, columns: Mapping[str, Any], asked: tuple[Any, ...]
    ) -> tuple[str, tuple[ChangeRow, ...]]:
        """The shipped variant of the function that differs least, and in what; where the function
        does not ship, the row that does."""
        around = self._asked.around
        shipped = place.internals(around, "_triton")._variants.of(function)
        here = [v for v in shipped if v.artifact.target == self._asked.target] or shipped
        if not here:
            return self._shelf.nearest(columns)
        launch = _parts(place.internals(around, "_specialization"), function, asked)
        changes = {number: _differences(v, function, *launch) for number, v in enumerate(here)}
        number = min(changes, key=lambda number: _distance(changes[number]))
        return label_of(here[number].artifact.row), tuple(changes[number])


def _spare_torch() -> None:
    """AMD's back end imports torch to ask whether an argument is a tensor of it: none of ours is,
    and that would take seconds."""
    from triton.backends.amd.compiler import HIPBackend

    HIPBackend._torch_available = False


def _parts(module: Any, function: Any, asked: tuple[Any, ...]) -> tuple[Any, Any]:
    """A launch in the runtime's own words: its parts by name, and its attributes."""
    from triton.runtime.driver import driver
    from triton.runtime.jit import serialize_specialization_data as serialize

    signature, constants, options, attrs = asked
    target = driver.active.get_current_target()
    parts, has = module.parts_of(
        json.loads(serialize("", signature, constants, attrs, options, "", target))
    )
    return {**parts, "target": json.dumps(vars(target), sort_keys=True)}, has


def _differences(
    variant: Any, function: Any, parts: Mapping[str, str], has: frozenset[str]
) -> list[ChangeRow]:
    told, version = variant.triton, importlib.import_module("triton").__version__
    target = json.dumps(variant.metadata["target"], sort_keys=True)
    was = {VERSION: told["version"], **variant.parts, "target": target}
    now = {VERSION: version, **parts}
    source = f"{SOURCE} {told['function']}"
    was[source], now[source] = told["source"][:DIGITS], function.cache_key[:DIGITS]
    found = [
        change(name.removeprefix("option "), was.get(name, ""), now.get(name, ""))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]
    return found + [change(each, "assumed", "not so") for each in sorted(variant.attrs - has)]


def _distance(changes: list[ChangeRow]) -> tuple[int, int]:
    """What another compiler or source made of the same launch is nearer than another launch."""
    launch = [
        each for each in changes if each.component != VERSION and SOURCE not in each.component
    ]
    return len(launch), len(changes)


def _columns(launch: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """A launch as a row of what ships."""
    told = {"launch": launch, "defaults": defaults_of(options)}
    return dict(columns_of(told, launch["function"].partition(":")[2]))


def _alike(launch: Mapping[str, Any]) -> str:
    """What two launches of one function must have in common, options aside."""
    attrs = sorted((path, sorted(found)) for path, found in launch["attrs"] if found)
    return json.dumps([launch["signature"], sorted(launch["constants"]), attrs], sort_keys=True)
