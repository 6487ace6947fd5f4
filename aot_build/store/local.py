"""The store on a local disk: plain files in versioned folders, shared by many builds at once.

    cas-v1/ab/<sha256>          blobs
    actions-v1/ab/<action key>  results
    traces-v2/ab/<base key>     ids of traces, newest first
    traces-v2/ab/<trace id>.t   the traces themselves
    set-aside/                  whatever was found damaged
    locks-v1                    one file for all locks (see locks.py)
    leases-v1                   one file for what running builds use (see leases.py)

Everything is written to a temporary name and renamed; a whole group of results shares one round
of fsync before their entries appear.
"""

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.store import ChangedOutput
from aot_build.core.trace import Trace
from aot_build.digest import blob_digest, key_digest
from aot_build.files import copy_verified, sync_file, write_atomic
from aot_build.store.leases import Leases
from aot_build.store.records import DamagedRecord, encode_record, read_dated, result_record

GROUP = 64
"""Results that wait for one another before they are synced and become visible."""
TRACES_KEPT = 8
FOLDERS = {"cas": "cas-v1", "actions": "actions-v1", "traces": "traces-v2"}
BLOB_MODE = 0o644
CACHEDIR_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by aot_build.
# For information about cache directory tags, see https://bford.info/cachedir/
"""

T = TypeVar("T")
_results = msgspec.json.Decoder(ActionResult)
_traces = msgspec.json.Decoder(Trace)
_ids = msgspec.json.Decoder(tuple[str, ...])


class LocalStore:
    """One cache directory. Raises OSError from the constructor where it cannot be written.

    With `writable=False` nothing is tried: it is there to be read. What it finds and what is
    published to it stays for as long as it is open (see gc.py).
    """

    def __init__(self, root: Path, *, writable: bool = True) -> None:
        self.root = root
        if writable:
            root.mkdir(parents=True, exist_ok=True)
            self._prove_writable()
        self._leases = Leases(root, writable=writable)
        self._leases.begin()
        self._waiting: list[tuple[str, str, str, ActionResult]] = []
        self._unsynced: list[Path] = []
        self._trace_memo: dict[str, Trace | None] = {}
        self._folders: set[Path] = set()
        self._unread: set[str] = set()
        """Digests of blobs that could not be read: good, perhaps, but of no use here."""

    def close(self) -> None:
        """Let go of what was found and published: it may be removed from here on."""
        self._leases.close()

    def _prove_writable(self) -> None:
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            write_atomic(tag, CACHEDIR_TAG.encode())
        probe = self.root / f".probe.{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()

    def _path(self, kind: str, name: str) -> Path:
        return self.root / FOLDERS[kind] / name[:2] / name

    def traces(self, base_key: str) -> Sequence[str]:
        return self._read(self._path("traces", base_key), _ids) or ()

    def trace(self, trace_id: str) -> Trace | None:
        if trace_id not in self._trace_memo:
            self._trace_memo[trace_id] = self._read(self._trace_path(trace_id), _traces)
        return self._trace_memo[trace_id]

    def result(self, key: str) -> ActionResult | None:
        path = self._path("actions", key)
        dated = self._read_dated(path, _results)
        if dated is None:
            return None
        found, used_ns = dated
        # First the mark, then the look: nothing that it names goes in between.
        if used_ns < self._leases.fresh_ns and not self._leases.mark(path):
            return None
        return found if all(self._holds(a) for a in found.artifacts) else None

    def fetch(self, digest: str, target: Path) -> bool:
        blob = self._path("cas", digest)
        try:
            if copy_verified(blob, target, digest):
                return True
        except IsADirectoryError as error:
            if error.filename != str(blob):
                raise
        except OSError as error:
            if error.filename != str(blob) and _readable(blob):
                raise
            if not isinstance(error, FileNotFoundError):
                # Its bytes are not known to be wrong: others may be able to read them.
                self._unread.add(digest)
            return False
        self._set_aside(blob)
        return False

    def publish(
        self, base_key: str, trace: Trace, key: str | None, result: ActionResult, folder: Path
    ) -> None:
        moved: list[tuple[Path, Path]] = []
        try:
            for artifact in result.artifacts:
                self._keep(artifact, folder / artifact.name, moved)
            if key is not None:
                self._waiting.append((base_key, self._keep_trace(trace), key, result))
            if len(self._waiting) >= GROUP:
                self.flush()
        except (OSError, ChangedOutput):
            # Whoever publishes may try another store: nothing is taken away from it.
            for source, blob in moved:
                with contextlib.suppress(OSError):
                    os.rename(blob, source)
            raise

    def _keep_trace(self, trace: Trace) -> str:
        trace_id = key_digest(trace)
        path = self._trace_path(trace_id)
        unread = trace_id in self._trace_memo and self._trace_memo[trace_id] is None
        if unread or not self._leases.mark(path):
            write_atomic(path, encode_record(trace))
            self._unsynced.append(path)
        self._trace_memo[trace_id] = trace
        return trace_id

    def flush(self) -> None:
        for path in self._unsynced:
            # A file that somebody has removed meanwhile makes its result a miss, no more.
            with contextlib.suppress(FileNotFoundError):
                sync_file(path)
        self._unsynced.clear()
        for base_key, trace_id, key, result in self._waiting:
            self._record_trace(base_key, trace_id)
            record = encode_record(result_record(result, base_key, trace_id))
            write_atomic(self._path("actions", key), record)
        self._waiting.clear()

    def _record_trace(self, base_key: str, trace_id: str) -> None:
        path = self._path("traces", base_key)
        known = list(self.traces(base_key))
        if known[:1] == [trace_id] and self._leases.mark(path):
            return
        ids = [trace_id, *(k for k in known if k != trace_id)][:TRACES_KEPT]
        write_atomic(path, encode_record(ids))

    def _keep(self, artifact: Artifact, source: Path, moved: list[tuple[Path, Path]]) -> None:
        """Move an output into the CAS; copy it from another file system, or where it has a
        second name through which it could still be written."""
        blob = self._path("cas", artifact.digest)
        if self._leases.mark(blob) and self._has(blob, artifact):
            return
        self._make_folder(blob.parent)
        try:
            if os.stat(source).st_nlink > 1:
                raise OSError("it has a second name")
            # A compiler's temporary file may be for its owner alone: the cache is for others too.
            os.chmod(source, BLOB_MODE)
            os.utime(source)  # It may be a copy that took its time stamp along.
            os.rename(source, blob)
            moved.append((source, blob))
        except OSError:
            _copy(source, blob, artifact)
        self._unsynced.append(blob)
        self._unread.discard(artifact.digest)

    def _has(self, blob: Path, artifact: Artifact) -> bool:
        """Whether the very bytes are there: to trust a damaged blob for its size would throw the
        good ones away."""
        try:
            return self._holds(artifact) and blob_digest(blob) == artifact.digest
        except OSError:
            return False

    def _holds(self, artifact: Artifact) -> bool:
        if artifact.digest in self._unread:
            return False
        try:
            return os.stat(self._path("cas", artifact.digest)).st_size == artifact.size
        except OSError:
            return False

    def _trace_path(self, trace_id: str) -> Path:
        return self.root / FOLDERS["traces"] / trace_id[:2] / f"{trace_id}.t"

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)

    def _read(self, path: Path, decoder: "msgspec.json.Decoder[T]") -> T | None:
        dated = self._read_dated(path, decoder)
        return None if dated is None else dated[0]

    def _read_dated(self, path: Path, decoder: "msgspec.json.Decoder[T]") -> tuple[T, int] | None:
        try:
            return read_dated(path, decoder)
        except DamagedRecord:
            self._set_aside(path)
            return None

    def _set_aside(self, path: Path) -> None:
        """A damaged file must not be found again, and is worth a look: move it out of the way."""
        folder = self.root / "set-aside"
        try:
            folder.mkdir(exist_ok=True)
            os.replace(path, folder / f"{path.name}.{secrets.token_hex(4)}")
        except OSError:
            # Where others own the folder it stays, and is a miss each time.
            with contextlib.suppress(OSError):
                path.unlink()


def _copy(source: Path, blob: Path, artifact: Artifact) -> None:
    try:
        if copy_verified(source, blob, artifact.digest, BLOB_MODE):
            return
    except FileNotFoundError as error:
        if error.filename != str(source):
            raise
    raise ChangedOutput(f"its output {artifact.name!r} changed while it was being stored")


def _readable(path: Path) -> bool:
    """Tell on which side a copy failed: a failed read names no file."""
    try:
        return bool(blob_digest(path))
    except OSError:
        return False
