"""Every error that a user may see: one shape, one tag, one exit status.

The shape is a message, aligned fields and a hint:

    toolchain not found for kernel 'gemm' (environment)
      target:   cuda:sm_90a
      searched: $CUDA_HOME, PATH
    hint: set CUDA_HOME, or drop cuda:sm_90a from [tool.aot-build] targets
"""

from collections.abc import Iterable, Mapping


class AotBuildError(Exception):
    """Base of all errors of this project.

    `fields` are shown one a line, in the order given; a field whose value is None is left out.
    """

    kind = "internal"
    exit_status = 1

    def __init__(
        self, message: str, fields: Mapping[str, object] | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = {k: str(v) for k, v in (fields or {}).items() if v is not None}
        self.hint = hint

    def __str__(self) -> str:
        width = max(map(len, self.fields), default=0) + 1
        lines = [f"{self.message} ({self.kind})"]
        for name, value in self.fields.items():
            first, *rest = value.splitlines() or [""]
            lines.append(f"  {name + ':':<{width}} {first}")
            lines += [" " * (width + 3) + line for line in rest]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class InputError(AotBuildError):
    """What the user wrote is wrong: a key, a target, a row, a missing source."""

    kind = "input"
    exit_status = 2


class EnvironmentProblem(AotBuildError):
    """The machine lacks something that the build needs: a compiler, a package, room on disk."""

    kind = "environment"
    exit_status = 2


class InternalError(AotBuildError):
    """A promise of this project is broken; the user can only report it."""


class KernelsFailed(AotBuildError):
    """At least one kernel did not compile; the message is the tally."""

    kind = "build"

    def __str__(self) -> str:
        return super().__str__() if self.fields or self.hint else self.message


class Interrupted(AotBuildError):
    """The user, or the front end that asked for the build, went away."""

    kind = "interrupted"
    exit_status = 130


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The valid word that `word` was most likely meant to be, or None."""
    import difflib

    found = difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint: the nearest valid word, or all of them where none is near."""
    words = sorted(words)
    near = nearest(word, words)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"valid: {', '.join(words)}" if words else "none is valid here"
