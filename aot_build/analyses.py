"""What must be asked of a project's code before its variants can be keyed.

Each question is an action of its own, cached and traced; all of them run side by side. Where one
fails its variants fail, and the rest can be built all the same.
"""

import importlib.util
from collections.abc import Callable, Sequence

from aot_build.backends.protocol import Analysing, Backend
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.result import Failure
from aot_build.events import FailureRow, Notice
from aot_build.scheduler import Scheduler
from aot_build.workspace import Workspace

Group = tuple[Variant, ...]


class Analyses:
    """Resolves the variants of one plan."""

    def __init__(
        self,
        workspace: Workspace,
        configuration: Callable[[Variant], Configuration],
        filled: Callable[[Action, Variant], Action],
    ) -> None:
        """`filled` gives an action with the digests of its inputs."""
        self._space = workspace
        self._configuration = configuration
        self._filled = filled
        self.count = 0
        """How many questions were asked."""
        self.failures: list[FailureRow] = []

    def resolve(self, variants: Sequence[Variant]) -> list[Variant]:
        """The variants that there are to build. Raises InputError."""
        groups = self._groups(variants)
        asked = {key: g for key, g in groups.items() if isinstance(self._backend(g), Analysing)}
        found = dict(zip(asked, self._ask(list(asked.values())), strict=True))
        resolved: list[Variant] = []
        for key, group in groups.items():
            resolved += found.get(key, group)
        return resolved

    def _groups(self, variants: Sequence[Variant]) -> dict[tuple[int, str], Group]:
        """The variants of each kernel and target, in their order."""
        groups: dict[tuple[int, str], Group] = {}
        for variant in variants:
            key = id(variant.kernel), str(variant.target)
            groups[key] = (*groups.get(key, ()), variant)
        return groups

    def _backend(self, group: Group) -> Backend:
        return self._space.registry.get(group[0].kernel.backend)

    def _ask(self, groups: list[Group]) -> list[Group]:
        if not groups:
            return []
        self.count += len(groups)
        decisions = []
        for group in groups:
            backend = self._backend(group)
            assert isinstance(backend, Analysing)
            self._space.preload(backend.preload)
            action = backend.analysis(group, self._configuration(group[0]))
            decision = self._space.rebuilder.probe(self._filled(action, group[0]))
            if decision.result is None:
                # Only the question imports the project's code: what was answered needs no torch.
                self._preload_named(backend, group[0].source)
            decisions.append(decision)
        missing = sum(decision.result is None for decision in decisions)
        if missing:
            self._space.emit(Notice(f"looking into {missing} kernels before they can be planned"))
        outcomes = Scheduler(self._space, silent=True).run(decisions, lambda decision: None)
        found: list[Group] = []
        for group, outcome in zip(groups, outcomes, strict=True):
            if outcome.result is None or outcome.trace is None:
                failure = outcome.failure or Failure("lost", "nothing is known of it")
                self.failures += [_failed(variant, failure) for variant in group]
                found.append(())
                continue
            self._space.remember(outcome.trace)
            backend = self._backend(group)
            assert isinstance(backend, Analysing)
            found.append(backend.resolve(group, outcome.result.metadata))
        return found

    def _preload_named(self, backend: Analysing, sources: Sequence[str]) -> None:
        texts = [text for source in sources if (text := self._text(source))]
        named = [m for m in backend.preload_if_named if any(m in text for text in texts)]
        self._space.preload(name for name in named if importlib.util.find_spec(name))

    def _text(self, source: str) -> str:
        """The text of the module of `module:attribute`; empty where it is not the project's."""
        path = source.partition(":")[0].replace(".", "/")
        for root in self._space.settings.import_roots:
            for file in (root / f"{path}.py", root / path / "__init__.py"):
                if file.is_file():
                    return file.read_text(errors="replace")
        return ""


def _failed(variant: Variant, failure: Failure) -> FailureRow:
    v, f = variant, failure
    return FailureRow(v.kernel.name, v.label, str(v.target), f.reason, f.log, f.outcome)
