"""The one key function.

An action has two keys. The *base key* digests what is known before it runs; under it the store
keeps traces. The *action key* also digests the state of everything that a trace names; under it
the store keeps the result. Both come from `action_key`.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property

from aot_build.core.action import UNKEYED, Action
from aot_build.digest import key_digest

FORMAT = 2
"""Part of every key: raise it when the meaning of a keyed field changes."""

KEYED = tuple(f.name for f in dataclasses.fields(Action) if f.name not in UNKEYED)


class Closure(dict[str, object]):
    """State of what a trace names, by category and path; see closure.py. Not to be changed."""

    @cached_property
    def digest(self) -> str:
        """Taken once for all the actions that share it."""
        return key_digest(dict(self))


def action_key(action: Action, closure: Mapping[str, object] | None = None) -> str:
    """32 hexadecimal digits. Without a closure: the base key."""
    fields = {name: getattr(action, name) for name in KEYED}
    if closure is not None and not isinstance(closure, Closure):
        closure = Closure(closure)
    state = closure.digest if closure is not None else None
    return key_digest((FORMAT, fields, state))
