"""What must be asked of a project's code before its variants can be keyed.

Each question is an action of its own, cached and traced; all of them run side by side. Where one
fails its variants fail, and the rest can be built all the same.
"""

import importlib.util
from collections.abc import Callable, Iterable, Sequence

from aot_build.backends.protocol import Analysing
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import Variant
from aot_build.core.result import Failure
from aot_build.execute.scheduler import Task
from aot_build.outcome import Asked, Outcome, asked_record
from aot_build.stations import Stations

Group = tuple[Variant, ...]
"""The variants of one kernel and one target."""
Resolved = Callable[[Group | Failure], Iterable[Task]]


class Analyses:
    """Resolves the variants of one plan."""

    def __init__(
        self,
        stations: Stations,
        configuration: Callable[[Variant], Configuration],
        filled: Callable[[Action, Variant], Action],
    ) -> None:
        """`filled` gives an action with the digests of its inputs."""
        self._stations = stations
        self._space = stations.space
        self._configuration = configuration
        self._filled = filled
        self.count = 0
        """How many questions were asked."""
        self.asked: list[Asked] = []
        """Those that have an answer."""
        self.missing = 0
        """How many of them had no answer in the cache."""

    def ask(self, group: Group, then: Resolved) -> Iterable[Task]:
        """Have `then` called with the variants that there are to build of one kernel and target.

        Raises InputError.
        """
        backend = self._space.registry.get(group[0].kernel.backend)
        if not isinstance(backend, Analysing):
            return then(group)
        self.count += 1
        action = backend.analysis(group, self._configuration(group[0]))
        kernel, target = group[0].kernel.name, str(group[0].target)
        last = self._space.log.get(asked_record(kernel, target, action.label))
        decision = self._space.rebuilder.probe(self._filled(action, group[0]), last)
        name = f"{kernel}|{target}"

        def answered(outcome: Outcome) -> Iterable[Task]:
            if outcome.result is None or outcome.trace is None:
                return then(outcome.failure or Failure("lost", "nothing is known of it"))
            self._space.remember(outcome.trace)
            self.asked.append(Asked(kernel, target, name, outcome))
            return then(backend.resolve(group, outcome.result.metadata))

        needs: Sequence[Task] = ()
        if decision.result is None:
            self.missing += 1
            # Only the question imports the project's code: what was answered needs no torch.
            needs = self._stations.imports((*backend.preload, *self._named(backend, group)))
        return self._stations.ask(decision, name, answered, needs)

    def _named(self, backend: Analysing, group: Group) -> list[str]:
        """Heavy modules that the sources name."""
        texts = [text for source in group[0].source if (text := self._text(source))]
        named = [m for m in backend.preload_if_named if any(m in text for text in texts)]
        return [name for name in named if importlib.util.find_spec(name)]

    def _text(self, source: str) -> str:
        """The text of the module of `module:attribute`; empty where it is not the project's."""
        path = source.partition(":")[0].replace(".", "/")
        for root in self._space.settings.import_roots:
            for file in (root / f"{path}.py", root / path / "__init__.py"):
                if file.is_file():
                    return file.read_text(errors="replace")
        return ""
