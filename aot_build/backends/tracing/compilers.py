"""What the compilers of an action read: as the tracer saw it, else as their depfiles tell."""

import os
from collections.abc import Callable, Iterable

from aot_build.backends.tracing.absences import absences
from aot_build.backends.tracing.hermetic import nobodys, trespasses
from aot_build.backends.tracing.observed import Observed, Watch, merged, search_path
from aot_build.core.compiler_env import ASKED
from aot_build.core.roles import Roles
from aot_build.core.trace import Trace
from aot_build.core.work import WorkOrder, WorkReport


class Compilers:
    """Watch those that this worker starts from here on."""

    def __init__(self, order: WorkOrder, real: Callable[[str], str] | None = None) -> None:
        """`real` gives the path behind a name that they use; default: the name itself."""
        self._order, self._real = order, real
        self._watch = Watch(order.scratch, programs_only=True)
        self._watch.start()

    def report(self, depfiles: Callable[[], Trace]) -> WorkReport:
        """What they read; `depfiles` tells where the tracer does not, or not all."""
        seen = self._watch.observed(self._real)
        roles = Roles(self._order.roots)
        if seen is None or not seen.whole:
            told = depfiles()
            read, missed = (set(map(roles.decode, paths)) for paths in (told.files, told.missing))
            known = Observed(read=read, missed=missed, variables=set(ASKED))
            seen = merged(seen, known) if seen else known
        trace = self._trace(seen, roles)
        return WorkReport(trace, gap=seen.gap, trespasses=trespasses(self._order, seen))

    def _trace(self, seen: Observed, roles: Roles) -> Trace:
        own = tuple(folder + os.sep for folder in nobodys(self._order))

        def encoded(paths: Iterable[str]) -> tuple[str, ...]:
            return tuple(sorted({roles.encode(path) for path in counted(paths)}))

        def counted(paths: Iterable[str]) -> Iterable[str]:
            return (path for path in paths if not (path + os.sep).startswith(own))

        return Trace(
            files=encoded(path for path in seen.read if os.path.isfile(path)),
            present=encoded(seen.looked_at(self._order)),
            absent=absences(counted(seen.missed | seen.read), roles),
            listings=encoded(path for path in seen.listed if os.path.isdir(path)),
            programs=tuple(sorted(seen.programs(search_path()))),
            env=self._asked(name for name in ASKED if name in seen.variables),
        )

    def _asked(self, names: Iterable[str]) -> tuple[str, ...]:
        """Variables that the environment of the build has a say in."""
        declared = dict(self._order.action.env)
        return tuple(sorted(name for name in names if name not in declared))
