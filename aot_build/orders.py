"""An action as an order for a worker: with the places where it happens."""

from pathlib import Path

import aot_build.runtime
from aot_build.core.action import STAGE, Action
from aot_build.core.work import WorkOrder
from aot_build.execute.tools import FOLDER as TOOLS
from aot_build.workspace import Workspace


def work_order(space: Workspace, action: Action, out: str, scratch: str) -> WorkOrder | None:
    """The order for one attempt; None where the store has lost what an earlier stage left."""
    roots = dict(space.roles.roots)
    if any(path.startswith(STAGE) for path, _ in action.inputs):
        roots[STAGE[1:-1]] = stages = f"{scratch}/stages"
        if not _lay_out(space, action, stages):
            return None
    return WorkOrder(
        action=action,
        roots=roots,
        out_dir=out,
        scratch=scratch,
        import_roots=tuple(map(str, space.settings.import_roots)),
        tools=str(space.folder / TOOLS),
        package=space.settings.package,
        runtime=aot_build.runtime.__file__,
    )


def _lay_out(space: Workspace, action: Action, folder: str) -> bool:
    """Copy what earlier stages left to where the action finds it."""
    taken = [(p.removeprefix(STAGE), d) for p, d in action.inputs if p.startswith(STAGE)]
    # All of them: each that is damaged is set aside, and made again with the others.
    there = [space.store.fetch(digest, Path(folder + path)) for path, digest in taken]
    return all(there)
