"""What workers are to find imported, as a task that others need."""

from collections.abc import Iterable

from aot_build.core.result import Failure
from aot_build.execute.protocol import JobEnd
from aot_build.execute.scheduler import State, Task
from aot_build.workspace import Workspace


class ImportTask(Task):
    """Has the pool import modules for all later jobs, and ends when it has."""

    def __init__(self, space: Workspace, modules: tuple[str, ...]) -> None:
        super().__init__(f"import of {', '.join(modules)}", reveals=True)
        self._space, self._modules = space, modules

    def begin(self, slot: int) -> State:
        self._space.preload(self._modules)
        return State.DONE if self._space.executor.settled(self._modules) else State.BUSY

    def begun(self) -> None:
        raise AssertionError("it has no job")

    def end(self, end: JobEnd) -> None:
        raise AssertionError("it has no job")

    def retry(self, failure: Failure) -> None:
        raise AssertionError("it has no job")

    def settled(self, failure: Failure | None) -> Iterable[Task]:
        return ()
