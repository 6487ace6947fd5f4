"""What a store is: blobs by digest, results by action key, traces by what was known beforehand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace


class ChangedOutput(Exception):
    """An artifact is not what its action left there: the action has no result.

    No error of the store's: what else is published to it is as welcome as before.
    """


class Store(Protocol):
    """Blobs first, result last: a result is visible only once everything it names is there."""

    def traces(self, base_key: str) -> Sequence[str]:
        """Ids of the traces that actions of this base key were seen to have, newest first."""

    def trace(self, trace_id: str) -> Trace | None:
        """A trace by id; None where it is missing or damaged."""

    def result(self, key: str) -> ActionResult | None:
        """The result of an action whose blobs are all present; None is a miss."""

    def fetch(self, digest: str, target: Path) -> bool:
        """Materialize a blob at a path, as a copy, its SHA-256 verified.

        False where it is missing or damaged; a damaged one is set aside.
        """

    def publish(
        self, base_key: str, trace: Trace, key: str | None, result: ActionResult, folder: Path
    ) -> None:
        """Take the artifacts of a result out of `folder`, then record trace and result.

        Where `key` is None only the blobs are kept: they serve this build and no other.

        Raises OSError where the disk takes no more, ChangedOutput where an artifact is seen to be
        gone or of other bytes; either way `folder` holds what it held, and nothing half-written
        is left visible.
        """

    def flush(self) -> None:
        """Make everything published so far visible and durable."""
