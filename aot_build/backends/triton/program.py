"""The functions that a kernel reaches, as data that compiles where none of them is imported.

    {"demo.kern:matmul": {"source": "def matmul(...): ...", "globals": {"tl": {...}}, ...}}

A source is the function's syntax written anew (ast.unparse) without comments, formatting,
decorators and docstring, so that equal programs are equal text: it is what a kernel's key holds.
Globals are those that the function names; see values.py for how they are written.
"""

import ast
import inspect
import linecache
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from aot_build.backends.triton.values import (
    NotData,
    attribute,
    decode,
    encode,
    function_name,
)

Program = dict[str, dict[str, Any]]


def program_of(functions: list[Any]) -> Program:
    """All functions that some JIT functions reach, themselves included. Raises NotData."""
    program: Program = {}
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        name = function_name(function)
        if name not in program:
            described, reached = _describe(function)
            program[name] = described
            waiting += reached
    return dict(sorted(program.items()))


def _describe(function: Any) -> tuple[dict[str, Any], list[Any]]:
    """One function as data, and the JIT functions that it names."""
    from triton.runtime.jit import JITFunction

    if type(function) is not JITFunction or function._repr is not None:
        raise NotData(f"{function!r} is more than a plain JIT function")
    tree = function.parse().body[0]
    if ast.get_docstring(tree, clean=False) is not None:
        tree.body = tree.body[1:] or [ast.Pass()]
    tree.decorator_list = []
    names = _Names(_scope(function))
    names.visit(tree)
    described = {
        "source": ast.unparse(tree),
        "globals": {name: names.bound[name] for name in sorted(names.bound)},
        "noinline": bool(function.noinline),
        "text_annotations": any(isinstance(a, str) for a in function.fn.__annotations__.values()),
    }
    return described, names.functions


def _scope(function: Any) -> Mapping[str, Any]:
    return {**function.__globals__, **inspect.getclosurevars(function.fn).nonlocals}


class _Names(ast.NodeVisitor):
    """Binds the global names of a function: `bound` by name, JIT functions among them."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope
        self._local: set[str] = set()
        self.bound: dict[str, Any] = {}
        self.functions: list[Any] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
        self._local = {n.id for n in stored if not isinstance(n.ctx, ast.Load)}
        self._local |= {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = list(_dotted(node))
        root = self._scope.get(path[0]) if path else None
        if _is_foreign(root) and path[0] not in self._local:
            self._bind_through(self.bound, self._scope, path)
        else:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id not in self._scope or node.id in self.bound:
            return
        try:
            self._bind(self.bound, node.id, self._scope[node.id])
        except NotData:
            # A local name of the kernel may also be one of the module's.
            if node.id not in self._local:
                raise

    def _bind_through(self, bound: dict[str, Any], scope: Any, path: list[str]) -> None:
        """`ops.sub.f`, where `ops` is a module: bind only what is named of it."""
        name, *rest = path
        found = scope[name] if isinstance(scope, Mapping) else attribute(scope, name)
        if not _is_foreign(found):
            self._bind(bound, name, found)
        elif not rest:
            raise NotData(f"module {found.__name__} as a value")
        else:
            space = bound.setdefault(name, {"namespace": [found.__name__, {}]})
            self._bind_through(space["namespace"][1], found, rest)

    def _bind(self, bound: dict[str, Any], name: str, value: Any) -> None:
        bound[name] = found = encode(value)
        if isinstance(found, dict) and "jit" in found:
            self.functions.append(value)
        elif isinstance(found, dict) and "tuple" in found:
            self.functions += [v for v in value if hasattr(v, "parse")]


def _dotted(node: ast.expr) -> Iterator[str]:
    """`a`, `b`, `c` of `a.b.c`; nothing where it starts with anything but a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
        yield from reversed(parts)


def _is_foreign(value: Any) -> bool:
    """Whether it is a module that a kernel can only name attributes of: not Triton's, not math."""
    if not isinstance(value, ModuleType):
        return False
    try:
        encode(value)
    except NotData:
        return True
    return False


def build(program: Program) -> dict[str, Any]:
    """The JIT functions of a program by name.

    Triton reads the source of a function through `inspect`, which finds it without a file: line
    information names no folder of this machine.
    """
    import triton

    spaces: dict[str, dict[str, Any]] = {}
    built: dict[str, Any] = {}
    for number, (name, described) in enumerate(program.items()):
        module, _, qualname = name.partition(":")
        file = f"program/{number}.py"
        header = "from __future__ import annotations\n" if described["text_annotations"] else ""
        text = header + described["source"] + "\n"
        linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
        space = spaces[name] = {"__name__": module}
        space |= {n: _value(v, {}) for n, v in described["globals"].items() if not _names_jit(v)}
        # Defaults are evaluated here, and the annotations.
        exec(compile(text, file, "exec", dont_inherit=True), space)
        plain = space[qualname.rpartition(".")[2]]
        plain.__qualname__ = qualname
        built[name] = triton.jit(plain, noinline=described["noinline"] or None)
    for name, described in program.items():
        later = {n: v for n, v in described["globals"].items() if _names_jit(v)}
        spaces[name] |= {n: _value(v, built) for n, v in later.items()}
    return built


def _value(found: Any, built: Mapping[str, Any]) -> Any:
    if isinstance(found, dict) and "namespace" in found:
        name, content = found["namespace"]
        module = ModuleType(name)
        module.__dict__.update({n: _value(v, built) for n, v in content.items()})
        return module
    return decode(found, built)


def _names_jit(found: Any) -> bool:
    if isinstance(found, dict):
        return "jit" in found or any(_names_jit(v) for v in found.values())
    return isinstance(found, list) and any(map(_names_jit, found))
