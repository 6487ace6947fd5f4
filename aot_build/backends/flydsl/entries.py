"""The files of FlyDSL's cache: `<function>_<32 hex>/<16 hex>.pkl`, watched while they come to be.

FlyDSL goes on without a word where an entry is not written, and where LLVM reports an error and
makes code all the same: at run time that would be a kernel compiled on the spot, or a wrong one.
Nothing here reads an entry: they are pickles.
"""

import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aot_build.core.roles import Roles

PATTERN = f"*_{'[0-9a-f]' * 32}/{'[0-9a-f]' * 16}.pkl"
"""Names of entries, as `glob` has them."""
_ERROR = re.compile(rb"^error: .*", re.M)
"""As LLVM's default handler of diagnostics prints them (`DiagnosticSeverity::DS_Error`)."""


class Entries:
    """Of one process, which compiles for one action. Start it before anything is compiled."""

    def __init__(
        self, folder: str, scratch: str, roles: Roles, fixed: Mapping[str, str] | None = None
    ) -> None:
        """`folder` is FlyDSL's cache directory, `fixed` what variables must be when it compiles."""
        self._fixed = dict(fixed or {})
        self.changed: list[str] = []
        """Those that were something else."""
        self._folder, self._roles = Path(folder), roles
        self._printed = Printed(scratch)
        self._compiled: list[str] = []
        """Names of functions, one each time."""
        self._linking: list[str] = []
        """Those that link libraries: FlyDSL keeps no such entry."""
        self._raised: list[str] = []
        self._said: list[str] = []
        """Errors that LLVM reported and nobody raised."""
        self._logged: list[str] = []

    def start(self) -> None:
        """Watch from here on; imports FlyDSL."""
        from flydsl.compiler.jit_executor import CompiledArtifact
        from flydsl.compiler.jit_function import JitFunction

        made, state = CompiledArtifact.__init__, CompiledArtifact.__getstate__
        name = name_of_call(JitFunction)
        call: Callable[..., Any] = getattr(JitFunction, name)

        def noted(artifact: Any, *args: Any, **options: Any) -> None:
            made(artifact, *args, **options)
            self._compiled.append(artifact._entry)
            self.changed += [n for n, v in self._fixed.items() if os.environ.get(n) != v]
            if artifact._uses_explicit_module or artifact._link_libs:
                self._linking.append(artifact._entry)

        def stated(artifact: Any) -> Any:
            # Up to 0.3 entries hold the source's IR, which tells where each line stands.
            source = artifact._source_ir
            artifact._source_ir = self._roles.encode_text(source) if source else source
            try:
                return state(artifact)
            finally:
                artifact._source_ir = source

        def called(*args: Any, **options: Any) -> Any:
            before = self._printed.size()
            try:
                answer = call(*args, **options)
            except Exception as error:
                self._raised.append(f"{type(error).__name__}: {error}".splitlines()[0])
                raise
            self._said += self._printed.errors(before)
            return answer

        CompiledArtifact.__init__, CompiledArtifact.__getstate__ = noted, stated
        setattr(JitFunction, name, called)
        logging.getLogger("flydsl").addHandler(_Listener(self._logged))

    def close(self) -> None:
        """Give the output back to whoever had it."""
        self._printed.close()

    def problem(self) -> tuple[str, str] | None:
        """Why what was left must not ship, and what to check; None where it may."""
        left = sorted(self._folder.glob(PATTERN))
        if self._said:
            return f"LLVM reported what FlyDSL passed over: {self._said[0]}", (
                "the code that it made all the same is not what the kernel says"
            )
        if not self._compiled:
            passed = f": it passed over {self._raised[0]}" if self._raised else ""
            return f"the function compiled no FlyDSL kernel{passed}", (
                "it must launch a @flyc.jit function, with CPU or fake tensors"
            )
        if self._linking:
            return f"{self._linking[0]!r} links external libraries", (
                "FlyDSL keeps no such kernel in its cache: it is compiled where it runs"
            )
        if self._logged:
            return f"FlyDSL did not keep what it compiled: {self._logged[0]}", ""
        if not left:
            return f"FlyDSL compiled {self._compiled[0]!r} and left no entry in its cache", (
                "does the function set FLYDSL_RUNTIME_CACHE_DIR, or clean up after itself?"
            )
        for entry in left:
            if entry.parent.name[:-33] not in self._compiled:
                return f"FlyDSL compiled nothing of the name of {entry.parent.name!r}", (
                    "entries are FlyDSL's to write: leave nothing else of their names"
                )
            if not entry.stat().st_size:
                return f"the entry {entry.parent.name}/{entry.name} is empty", ""
        return None


def name_of_call(function: type) -> str:
    """The method of FlyDSL's JitFunction that looks up and compiles: up to 0.3 the second."""
    return next(n for n in ("_compile_or_execute", "__call__") if hasattr(function, n))


class _Listener(logging.Handler):
    """FlyDSL logs that it could not write, and logs to nobody."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "cache" in text:
            self._told.append(text)


class Printed:
    """What this process prints on its standard error, native code included: read while it grows."""

    def __init__(self, scratch: str) -> None:
        self._kept = -1
        if not stat.S_ISREG(os.fstat(2).st_mode):
            self._kept = os.dup(2)
            file = os.open(os.path.join(scratch, "stderr"), os.O_CREAT | os.O_RDWR | os.O_APPEND)
            os.dup2(file, 2)
            os.close(file)
        # By another description: where that one writes is of no account here.
        self._reader = os.open("/proc/self/fd/2", os.O_RDONLY | os.O_CLOEXEC)

    def size(self) -> int:
        return os.fstat(self._reader).st_size

    def errors(self, since: int) -> list[str]:
        """The errors among what was printed from that offset on."""
        text = os.pread(self._reader, self.size() - since, since)
        return [found.decode("utf-8", "replace") for found in _ERROR.findall(text)]

    def close(self) -> None:
        """Where it was taken for a while, standard error is its owner's again, with the text."""
        if self._kept >= 0:
            text = os.pread(self._reader, self.size(), 0)
            os.dup2(self._kept, 2)
            os.close(self._kept)
            os.write(2, text)
        os.close(self._reader)
