"""The three stages in a worker: describe a JIT function, capture launches, compile a launch."""

import contextlib
import dataclasses
import importlib
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aot_build.backends.python import (
    call_recorded,
    find_attribute,
    set_environment,
    start_recording,
)
from aot_build.backends.tracing.recording import Recording
from aot_build.backends.triton.backend import CAPTURE, DESCRIBE, KERNEL
from aot_build.backends.triton.capture import Capture
from aot_build.backends.triton.compile import (
    CannotLaunch,
    Specialisation,
    compiled,
    emitted_arch,
    gpu_target,
    specialise,
)
from aot_build.backends.triton.launches import FUNCTION
from aot_build.backends.triton.program import build, program_of
from aot_build.backends.triton.stand_in import describe
from aot_build.backends.triton.values import NotData, as_text, encode, function_name
from aot_build.core.ending import ERROR, end_of_exception
from aot_build.core.target import parse_target
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.errors import InputError


def _analyse(order: WorkOrder, ask: Callable[[Any], dict[str, Any]]) -> WorkReport:
    """Import the source in a process that describes the target; the findings are metadata."""
    params = dict(order.action.params)
    _set_up(order, fusion=bool(params["fusion"]))
    describe(parse_target(order.action.target))
    report, findings = call_recorded(str(params["source"]), order, ask)
    return dataclasses.replace(report, metadata=findings)


def _set_up(order: WorkOrder, *, fusion: bool) -> None:
    os.environ["TRITON_CACHE_DIR"] = os.path.join(order.scratch, "triton")
    # It warns where nobody says: the declaration does.
    os.environ["TRITON_DEFAULT_FP_FUSION"] = "1" if fusion else "0"


# Analysis


def _describe(order: WorkOrder) -> WorkReport:
    def ask(found: Any) -> dict[str, Any]:
        function = jit_function(found, str(dict(order.action.params)["source"]))
        try:
            program = as_text(program_of([function]))
        except NotData:
            program = ""
        return {
            "function": described(function, order.action.target),
            "program": program,
            "source": function.cache_key,
        }

    return _analyse(order, ask)


def described(function: Any, target: str) -> dict[str, Any]:
    """What a JIT function takes; see signature.Function."""
    return {
        "name": function_name(function),
        "parameters": [_parameter(p) for p in function.params],
        "options": _option_names(target),
        "defaults": {"debug": True} if function.debug else {},
    }


def jit_function(found: Any, source: str) -> Any:
    """The JIT function itself, out of what decorates it. Raises InputError."""
    from triton.runtime.jit import JITFunction

    while not isinstance(found, JITFunction) and hasattr(found, "fn"):
        found = found.fn
    if isinstance(found, JITFunction):
        return found
    raise InputError(
        f"{source!r} is no JIT function",
        {"found": type(found).__name__},
        "a plain function, whose launches are captured, has no `signature`",
    )


def _parameter(parameter: Any) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "constexpr": parameter.is_constexpr,
        "annotation": parameter.annotation_type,
        "has_default": False,
    }
    if parameter.has_default:
        with contextlib.suppress(NotData):
            described |= {"has_default": True, "default": encode(parameter.default)}
    return described


def _option_names(target: str) -> list[str]:
    from triton.compiler import make_backend

    backend = make_backend(gpu_target(parse_target(target)))
    own = ("arch", "backend_name", "extern_libs")
    return sorted(set(vars(backend.parse_options({}))) - set(own))


def _capture(order: WorkOrder) -> WorkReport:
    params = dict(order.action.params)

    def ask(found: Any) -> dict[str, Any]:
        if hasattr(found, "fn") or not callable(found):
            raise InputError(
                f"{params['source']!r} is no plain function",
                {"found": type(found).__name__},
                "give a JIT function a `signature`, or name a function that launches it",
            )
        keep = find_attribute(params["keep"]) if params["keep"] else None
        capture = Capture(order.action.target, keep)
        capture.start()
        capture.run(found, [dict(row) for row in params["rows"]])
        return capture.findings()

    return _analyse(order, ask)


# Compiling


def _compile(order: WorkOrder) -> WorkReport:
    params = dict(order.action.params)
    launch = json.loads(str(params["launch"]))
    set_environment(order)
    _set_up(order, fusion=True)
    os.environ["TRITON_STORE_BINARY_ONLY"] = "1"
    os.environ["TRITON_DISABLE_LINE_INFO"] = "0" if params["line-info"] else "1"
    program = {
        name.removeprefix(FUNCTION): json.loads(value)
        for name, value in params.items()
        if name.startswith(FUNCTION)
    }
    recording = Recording(order) if program else start_recording(order)
    if program:
        recording.start()
    jit = build(program) if program else _import(order, launch)
    special = specialise(jit[launch["function"]], launch, jit, order.action.target)
    arch = {"arch": emitted_arch(parse_target(order.action.target))}
    try:
        binary, extension, metadata = _compiled(special)
    except CannotCompile as error:
        traceback.print_exc()
        return WorkReport(error=str(error))
    except CannotLaunch as error:
        if not params["choice"]:
            return WorkReport(error=str(error))
        # An autotuner would pass it over; told by the same words, it will.
        metadata = {"unlaunchable": str(error), **arch, "triton": special.told}
        return dataclasses.replace(recording.report(), metadata=metadata)
    name = f"{metadata['symbol'][:150]}.{extension}"
    Path(order.out_dir, name).write_bytes(binary)
    return dataclasses.replace(recording.report(), metadata=metadata | arch)


def _compiled(special: Specialisation) -> tuple[bytes, str, dict[str, Any]]:
    from triton.compiler.errors import CompilationError, CompileTimeAssertionFailure
    from triton.runtime.errors import OutOfResources, PTXASError

    try:
        return compiled(special)
    except (CompileTimeAssertionFailure, OutOfResources, PTXASError) as error:
        if end_of_exception(error) != ERROR:
            # That its assembler was killed says nothing of the configuration.
            raise
        # What an autotuner takes for a configuration that does not fit.
        raise CannotLaunch(_told(error)) from error
    except CompilationError as error:
        raise CannotCompile(_told(error)) from error


class CannotCompile(Exception):
    """The kernel is wrong; the text says how, and then where."""


def _told(error: Exception) -> str:
    """An error of Triton's with its reason first: Triton shows the source before it."""
    name, chain = type(error).__name__, [error]
    # Of functions that call each other each has an error of its own; the innermost knows why.
    while isinstance(chain[-1].__cause__, type(error)):
        chain.append(chain[-1].__cause__)
    reason = getattr(chain[-1], "error_message", None)
    if not reason:
        cause = chain[-1].__cause__
        reason = f"{type(cause).__name__}: {cause}" if cause is not None else None
    if not reason:
        return f"{name}: {error}"
    places = [str(each).removesuffix(str(reason)).rstrip() for each in reversed(chain)]
    return "\n".join([f"{name}: {reason}", *places])


def _import(order: WorkOrder, launch: Any) -> dict[str, Any]:
    """The functions as their own modules make them."""
    from triton.runtime.jit import _triton_jit_function_registry as registry

    params = dict(order.action.params)
    describe(parse_target(order.action.target))
    found = find_attribute(str(params["source"]))
    importlib.import_module(launch["function"].partition(":")[0])
    jit: dict[str, Any] = dict(registry)
    if "<locals>" in launch["function"]:
        # It is made when the function that launches it runs, as others of its name are.
        capture = Capture(order.action.target)
        capture.start()
        capture.run(found, [dict(params["row"])])
        jit[launch["function"]] = capture.functions[params["making"]]
    return jit


STAGES = {DESCRIBE: _describe, CAPTURE: _capture, KERNEL: _compile}
