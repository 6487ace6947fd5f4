"""`[[tool.aot-build.kernels]]` with its defaults, as kernel specs for the enabled targets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from aot_build.core.kernel import KernelSpec
from aot_build.core.target import Target, known_targets, parse_target
from aot_build.digest import canonical
from aot_build.errors import InputError, did_you_mean
from aot_build.settings.check import check_keys, check_table, check_values, explain
from aot_build.settings.document import ROOT, Document, KeyPath, show_path
from aot_build.settings.model import Kernel, KernelDefaults, keys
from aot_build.settings.overrides import Layer, Rule
from aot_build.settings.values import Limits, check_details, check_name, kernel_spec

REPLACED = ("source", "targets")
"""Lists of which the kernel's own stands alone: added to, they would mean something else."""
FEW = 8
"""Targets that a message names one by one."""


@dataclass(frozen=True)
class Kernels:
    """Reads the kernels of one project."""

    document: Document
    backends: Mapping[str, type[msgspec.Struct]]
    serves: Callable[[str, Target], bool]
    enabled: tuple[Target, ...]
    rules: tuple[Rule, ...]
    limits: Limits
    base: Mapping[str, Any] = field(default_factory=dict)
    """`[tool.aot-build.defaults]`: backend -> keys."""

    def read(self, tables: list[dict[str, Any]]) -> tuple[tuple[KernelSpec, ...], dict[str, str]]:
        """The kernels that an enabled target serves, and a note for each of the others, by name.

        A kernel whose keys differ between targets is several specs of one name. Raises InputError.
        """
        self._check_defaults()
        specs: list[KernelSpec] = []
        notes: dict[str, str] = {}
        for index, table in enumerate(tables):
            kernel = Layer(table, (*ROOT, "kernels", index))
            self._check_kernel(kernel)
            check_name(self.document, table["name"], tables[:index], kernel.path)
            targets = self._targets(kernel)
            if not targets:
                notes[table["name"]] = self._note(kernel)
            specs += self._split(kernel, targets)
        return tuple(specs), notes

    def _check_defaults(self) -> None:
        for rule in self.rules:
            for backend in rule.table.get("defaults", {}):
                self._check_layer(rule.defaults(backend), backend)
        for backend, table in self.base.items():
            self._check_layer(Layer(table, (*ROOT, "defaults", backend)), backend)

    def _check_layer(self, layer: Layer, backend: str) -> None:
        """A table of defaults: common keys and those of the backend, none of them required."""
        if backend not in self.backends:
            raise self._unknown_backend(backend, layer.path)
        own = keys(self.backends[backend])
        self._check_keys(layer, {**own, **keys(KernelDefaults)}, backend)

    def _check_kernel(self, kernel: Layer) -> None:
        common = keys(Kernel)
        shared = {k: v for k, v in kernel.table.items() if k in common}
        if not isinstance(shared.get("backend"), str):
            check_table(shared, Kernel, self.document, kernel.path)
        backend = str(shared["backend"])
        if backend not in self.backends:
            raise self._unknown_backend(backend, (*kernel.path, "backend"))
        self._check_keys(kernel, {**keys(self.backends[backend]), **common}, backend)
        check_table(shared, Kernel, self.document, kernel.path)

    def _check_keys(self, layer: Layer, types: Mapping[str, Any], backend: str) -> None:
        unknown = next((k for k in layer.table if k not in types), None)
        others = [b for b, model in self.backends.items() if unknown in keys(model)]
        note = f"a key of the backend {', '.join(sorted(others))}" if others else None
        check_keys(layer.table, types, self.document, layer.path, backend=backend, note=note)
        check_values(layer.table, types, self.document, layer.path)
        check_details(self.document, layer.path, layer.table)

    def _unknown_backend(self, backend: str, path: KeyPath) -> InputError:
        hint = did_you_mean(backend, self.backends)
        return self.document.error(f"unknown backend {backend!r}", path, hint)

    def _layers(self, kernel: Layer, target: Target | None) -> Iterator[Layer]:
        """Weakest first: what holds for a target, defaults of the backend, the kernel itself."""
        backend = kernel.table["backend"]
        active = [rule for rule in self.rules if rule.holds_for(target)]
        yield from (rule.fallbacks for rule in active)
        yield Layer(self.base.get(backend, {}), (*ROOT, "defaults", backend))
        yield from (rule.defaults(backend) for rule in active)
        yield kernel

    def _targets(self, kernel: Layer) -> tuple[Target, ...]:
        """The enabled targets to build a kernel for."""
        backend = kernel.table["backend"]
        asked: set[Target] | None = None
        for layer in self._layers(kernel, None):
            if "targets" in layer.table:
                asked = {self._target(text, layer, backend) for text in layer.table["targets"]}
        if asked is not None:
            return tuple(t for t in self.enabled if t in asked)
        return tuple(t for t in self.enabled if self.serves(backend, t))

    def _target(self, text: str, layer: Layer, backend: str) -> Target:
        path = (*layer.path, "targets")
        target = parse_target(text, where=f"{self.document.where(path)} {show_path(path)}")
        if not self.serves(backend, target):
            served = [t for t in known_targets() if self.serves(backend, parse_target(t))]
            hint = "name a target that it can serve, or another backend"
            if len(served) <= FEW:
                hint = f"it serves {', '.join(served)}"
            message = f"backend {backend!r} cannot serve target {text!r}"
            raise self.document.error(message, path, hint)
        return target

    def _note(self, kernel: Layer) -> str:
        enabled = ", ".join(map(str, self.enabled)) or "none"
        name, backend = kernel.table["name"], kernel.table["backend"]
        return f"kernel {name!r} ({backend}) is not built: it has none of the targets {enabled}"

    def _split(self, kernel: Layer, targets: tuple[Target, ...]) -> list[KernelSpec]:
        """One spec for each set of targets that says the same of the kernel."""
        groups: dict[bytes, KernelSpec] = {}
        for target in targets or (None,):
            spec = self._spec(kernel, merged(self._layers(kernel, target)))
            if target is not None:
                held = groups.setdefault(canonical(spec), spec)
                groups[canonical(spec)] = replace(held, targets=(*held.targets, target))
        return list(groups.values())

    def _spec(self, kernel: Layer, table: dict[str, Any]) -> KernelSpec:
        own = keys(self.backends[table["backend"]])
        mine = {k: v for k, v in table.items() if k in own and k not in keys(Kernel)}
        try:
            options = msgspec.convert(mine, self.backends[table["backend"]])
        except msgspec.ValidationError as error:
            message, rest, hint = explain(error, "kernel")
            raise self.document.error(message, (*kernel.path, *rest), hint) from None
        return kernel_spec(self.document, kernel.path, table, options, self.limits)


def merged(layers: Iterator[Layer]) -> dict[str, Any]:
    """One table of several, weakest first: lists are joined, tables united, the rest replaced."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.table.items():
            old = found.get(key)
            if isinstance(old, list) and isinstance(value, list) and key not in REPLACED:
                value = [*old, *value]
            elif isinstance(old, dict) and isinstance(value, dict):
                value = {**old, **value}
            found[key] = value
    return found
