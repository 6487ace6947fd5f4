"""What a key is made of, in short texts: the build log keeps them, to name what changed.

Each keyed part of an action has a name here, and so has each answer of a closure. No two parts
that are keyed differently may read the same: a text that is cut short carries a digest.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from aot_build.core.action import Action
from aot_build.core.result import Change
from aot_build.digest import key_digest
from aot_build.graph.keys import KEYED, Closure

LONGEST = 400
"""Characters of a value that are kept."""
WORDS = ("flags", "link-flags", "include-dirs")
"""Parameters that are words of a command."""
SINGULAR = {
    "files": "file",
    "modules": "module",
    "listings": "listing",
    "programs": "program",
    "distributions": "distribution",
}
"""Categories of a closure, as the name of one answer begins."""
TOOL = "toolchain "
"""Before the path of a program of the toolchain, among the answers of a closure."""
_DIGEST = re.compile(r"[0-9a-f]{32,64}")
_AMBIGUOUS = re.compile(r"[-+.\d\s'\"\[]|(true|false|none|inf|nan)$|$", re.IGNORECASE)
"""Strings that would read like another value."""


def components(action: Action) -> dict[str, str]:
    """A short text for each keyed part: `row BLOCK` -> `64`, `flags` -> `-O3 -g`."""
    parts = {name: _short(getattr(action, name)) for name in KEYED if name not in _SPREAD}
    for name, value in action.params:
        parts.update(_param(name, value))
    parts |= {f"env {name}": _cut(value) for name, value in action.env}
    parts |= {f"source {path}": digest for path, digest in action.inputs}
    if len(action.inputs) > 1:
        parts["order of sources"] = _cut(" ".join(path for path, _ in action.inputs))
    return parts


_SPREAD = ("params", "inputs", "env")


def _param(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name in WORDS and isinstance(value, tuple) and all(isinstance(v, str) for v in value):
        yield name, _cut(shlex.join(value))
    elif name == "row" and isinstance(value, tuple):
        yield from ((f"row {column}", _short(found)) for column, found in value)
    elif isinstance(value, str) and value.startswith("{"):
        yield from ((f"param {name}{place}", text) for place, text in _spread(value))
    else:
        yield f"param {name}", _short(value)


@lru_cache(maxsize=4096)
def _spread(text: str) -> tuple[tuple[str, str], ...]:
    """The members of a small JSON object, two levels down; one digest of anything else."""
    try:
        found = json.loads(text) if len(text) <= 8192 else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or "globals" in found:
        return (("", f"[{key_digest(text)[:12]}]"),)  # Syntax: nobody reads it here.
    return tuple(_members("", found, 2))


def _members(place: str, found: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth and isinstance(found, dict) and found:
        for name, value in found.items():
            yield from _members(f"{place}.{name}", value, depth - 1)
    else:
        yield place, _cut(json.dumps(found, sort_keys=True))


def _short(value: object) -> str:
    """A value as a person writes it, and as no other value is written."""
    if isinstance(value, str):
        return _cut(repr(value) if _AMBIGUOUS.match(value) else value)
    if isinstance(value, tuple):
        return _cut("[" + ", ".join(map(_short, value)) + "]")
    return str(value).lower() if value is None or isinstance(value, bool) else _cut(repr(value))


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 20]}... [{key_digest(text)[:12]}]"


def flatten(closure: Closure, version: Mapping[str, str] | None = None) -> dict[str, str]:
    """One level: `file {project}/a.h` -> digest; absences are left out while they hold.

    `version` gives versions of distributions by name.
    """
    flat = {}
    for category, answers in closure.items():
        name = SINGULAR.get(category, category)
        for path, answer in answers.items():  # type: ignore[attr-defined]
            if answer is not None:
                flat[f"{name} {path}"] = "present" if answer is True else str(answer)
    for name, found in (version or {}).items():
        if flat.get(f"distribution {name}", "absent") != "absent":
            flat[f"distribution {name}"] = f"{found} [{flat[f'distribution {name}'][:12]}]"
    return flat


def asked(closure: Closure) -> set[str]:
    """The names of all questions of a closure, however they are answered."""
    return {
        f"{SINGULAR.get(category, category)} {path}"
        for category, answers in closure.items()
        for path in answers  # type: ignore[attr-defined]
    }


def changes_of_parts(was: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """What of an action's own components is not what it was, what people choose first."""
    differing = (n for n in sorted(was.keys() | now.keys()) if was.get(n) != now.get(n))
    found = [_change_of_part(name, was.get(name, ""), now.get(name, "")) for name in differing]
    return sorted(found, key=lambda change: _ORDER.get(change.component, len(_ORDER) - 1))


_ORDER = {"backend": 0, "target": 1, "mode": 2, "toolchain": 3, "": 4, "salt": 5}
"""A mode, or an edit of a backend, changes other components along with its own."""


def _change_of_part(name: str, was: str, now: str) -> Change:
    kind, _, rest = name.partition(" ")
    if name in WORDS:
        return Change("flags", name, *_differing_words(was, now))
    was, now = shown(was), shown(now)
    if kind == "source":
        return Change("stage" if rest.startswith("{stage}") else kind, name, was, now, rest)
    if kind in ("row", "param"):
        family = "source" if rest.startswith("function ") else "param"
        return Change(family, name, was, now)
    return Change({"order": "source"}.get(kind, kind), name, was, now)


def _differing_words(was: str, now: str) -> tuple[str, str]:
    """Only the words that differ, where the others stand in one order."""
    try:
        old, new = shlex.split(was), shlex.split(now)
    except ValueError:  # Cut short.
        return was, now
    gone, come = [w for w in old if w not in new], [w for w in new if w not in old]
    kept = [w for w in old if w in new] == [w for w in new if w in old]
    return (shlex.join(gone), shlex.join(come)) if kept and (gone or come) else (was, now)


def changes_of_answers(was: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """What of a closure is not what it was; programs of the toolchain left out."""
    differing = (n for n in sorted(was.keys() | now.keys()) if was.get(n) != now.get(n))
    named = (name for name in differing if not name.startswith(TOOL))
    return [_change_of_answer(name, was.get(name), now.get(name)) for name in named]


def _change_of_answer(name: str, was: str | None, now: str | None) -> Change:
    family, _, rest = name.partition(" ")
    path = rest if rest.startswith("{") and family != "env" else ""
    return Change(family, name, _answer(was), _answer(now), path)


def _answer(text: str | None) -> str:
    return "absent" if text is None else shown(text)


def changes_of_tools(was: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """Which programs of a toolchain of one version are not what they were."""
    names = sorted(n for n in was.keys() | now.keys() if n.startswith(TOOL))
    return [
        Change("toolchain", n, _answer(was.get(n)), _answer(now.get(n)), n[len(TOOL) :])
        for n in names
        if was.get(n) != now.get(n)
    ]


def shown(text: str) -> str:
    """A digest shortened, anything else as it is."""
    return text[:12] if _DIGEST.fullmatch(text) else text
