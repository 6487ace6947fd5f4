"""Serves launches of FlyDSL kernels from what is shipped: puts entries where FlyDSL looks.

FlyDSL keeps what it compiles as `<function>_<key>/<key>.pkl` below `$FLYDSL_RUNTIME_CACHE_DIR`, and
opens a lock file for writing beside each entry that it reads: in a tree that cannot be written all
of its look-ups miss. So entries are copied out of the package into that folder.

They are copies, not links. The name of a link says which sources and arguments its entry was
compiled for; what it leads to changes when the package is upgraded and goes when an environment is
removed, under processes of other environments that share the folder. A hard link changes the
times of a file that an installer recorded, and does not cross file systems.

FlyDSL takes all entries of one name for equal, whoever compiled them: a file of the shipped size is
left alone; in strict mode, one of the shipped bytes. Nothing here is unpickled; a shipped file of
other bytes than the manifest says is not copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import NamedTuple

from . import _state, strict
from ._artifact import Artifact, KernelNotFound
from ._kernel import Kernel
from ._manifest import damaged

CACHE_DIR = "FLYDSL_RUNTIME_CACHE_DIR"
RUN_ONLY = "FLYDSL_RUNTIME_RUN_ONLY"
_ENTRY = re.compile(r"[^/\\\0]+_[0-9a-f]{32}/[0-9a-f]{16}\.pkl")
_FOLDER = "flydsl-v1"
_told: set[str] = set()
"""Warnings that were given: each once a process."""


class _Entry(NamedTuple):
    """A shipped entry; `fits` names the flydsl and the Python that can load it, where known."""

    kernel: str
    path: str
    size: int
    sha256: str
    fits: tuple[str, str]


def install(kernels: list[Kernel]) -> None:
    """Put the entries of these kernels where FlyDSL looks for them. Idempotent.

    Imports nothing of FlyDSL, and does nothing where that is not installed. Sets
    `FLYDSL_RUNTIME_CACHE_DIR` where it is unset: to a folder among the user's caches, else to a
    temporary one. In strict mode sets `FLYDSL_RUNTIME_RUN_ONLY`, which makes an error of each
    compile by FlyDSL in this process. Where entries cannot be served it warns, once; in strict
    mode that is KernelNotFound.
    """
    with _state.lock:
        entries = _shipped(kernels)
        served = {entry.kernel for entry in entries.values()}
        bare = sorted(kernel.name for kernel in kernels if kernel.name not in served)
        if bare and strict():
            raise _refused(bare, "nothing is shipped of which FlyDSL could make use")
        version = _installed() if entries else None
        if version is None:
            return
        if strict():
            os.environ[RUN_ONLY] = "1"
        for trouble in _served(entries, version):
            if strict():
                raise trouble
            _warn(str(trouble))


def _served(entries: dict[str, _Entry], version: str) -> Iterator[KernelNotFound]:
    """Place what fits this flydsl and this Python; say what is not served, and why."""
    here = (version, f"cp{sys.version_info[0]}{sys.version_info[1]}")
    fit = {name: entry for name, entry in entries.items() if _fits(entry.fits, here)}
    others = [entry for name, entry in entries.items() if name not in fit]
    if others:
        names = sorted({entry.kernel for entry in others})
        made = ", ".join(sorted({_words(entry.fits) for entry in others}))
        why = f"they were compiled by {made}, and this is {_words(here)}"
        wanted = sorted({entry.fits[0] for entry in others} - {"", version})
        hint = f"; pip install flydsl=={wanted[0]}" if wanted else ""
        yield _refused(names, why + hint)
    if fit:
        trouble = _placed(fit)
        if trouble:
            yield _refused(sorted({entry.kernel for entry in fit.values()}), trouble)


def _placed(entries: dict[str, _Entry]) -> str:
    """Place entries in the first folder that takes them all; what is wrong, else nothing."""
    given = os.environ.get(CACHE_DIR)
    if given == "":
        return f"{CACHE_DIR} is empty, which turns FlyDSL's cache off"
    if given is not None:
        return _told_of(_fill(given, entries), entries)
    found: list[tuple[int, str, str]] = []
    for folders in _own_folders():
        root = folders[-1]
        try:
            trouble = _claimed(folders)
            wrong = [] if trouble else _fill(root, entries)
        except OSError as error:
            trouble, wrong = _said(error), []
        number = len(entries) if trouble else len(wrong)
        found.append((number, root, trouble or _told_of(wrong, entries)))
        if not number:
            break
    # One entry that cannot be served costs no other.
    number, root, trouble = min(found, key=lambda each: each[0])
    if number < len(entries):
        os.environ[CACHE_DIR] = root
    return trouble


def _own_folders() -> Iterator[tuple[str, ...]]:
    """Folders to use where none is given, best first; each behind the one above it that is ours."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):
        caches = os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(caches):
        ours = os.path.join(caches, "aot-runtime")
        yield ours, os.path.join(ours, _FOLDER)
    import tempfile

    yield (os.path.join(tempfile.gettempdir(), f"aot-runtime-{os.geteuid()}-{_FOLDER}"),)


def _claimed(folders: tuple[str, ...]) -> str:
    """Make folders that nobody else can write: what lies in them will be unpickled. Raises OSError.

    What is wrong with one that is there, else nothing.
    """
    # Each by itself: of those that `makedirs` makes on the way the umask decides, and who may write
    # into the one above can put a folder of his own in the place of the one below.
    for folder in folders:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not own or found.st_mode & 0o022:
            return f"others can write into {folder}"
    return ""


def _fill(root: str, entries: dict[str, _Entry]) -> list[str]:
    """Place entries below a folder, as many as can be; what is wrong with each of the others."""
    wrong: list[str] = []
    for name, entry in entries.items():
        target = os.path.join(root, *name.split("/"))
        if _in_place(target, entry):
            continue
        content = _content(entry)
        if content is None:
            wrong.append(f"the shipped file {entry.path} is damaged")
            continue
        try:
            _write(target, content)
        except (OSError, ValueError) as error:
            wrong.append(_said(error))
    return wrong


def _told_of(wrong: list[str], entries: dict[str, _Entry]) -> str:
    return f"{len(wrong)} of {len(entries)} entries: {wrong[0]}" if wrong else ""


def _in_place(target: str, entry: _Entry) -> bool:
    try:
        found = os.stat(target)
    except (OSError, ValueError):
        return False
    if found.st_size != entry.size or not stat.S_ISREG(found.st_mode):
        return False
    # Where FlyDSL may not compile, a damaged file is not mended by itself.
    return not strict() or _content(entry._replace(path=target)) is not None


def _content(entry: _Entry) -> bytes | None:
    """The bytes of an entry, where they are those that the manifest names."""
    try:
        with open(entry.path, "rb", buffering=0) as stream:
            content = stream.read()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == entry.sha256 else None


def _write(target: str, content: bytes) -> None:
    """Put a whole file in place. Raises OSError."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # Not by process id: containers that share a folder count from 1 each. FlyDSL globs `*.pkl`.
    temporary = f"{target}.{os.urandom(8).hex()}"
    try:
        with open(temporary, "xb", buffering=0) as stream:
            while content:
                content = content[stream.write(content) :]
            # Else a machine that loses power may keep the name and the size, and not the bytes.
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _shipped(kernels: list[Kernel]) -> dict[str, _Entry]:
    """All entries by name; several variants may ship the same one. Raises ManifestError."""
    found: dict[str, _Entry] = {}
    for kernel in kernels:
        try:
            for artifact in kernel.holding(b".pkl"):
                found.update(_entries(artifact))
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(kernel.name, error) from error
    return found


def _entries(artifact: Artifact) -> Iterator[tuple[str, _Entry]]:
    made = artifact.metadata.get("flydsl") or {}
    fits = (str(made.get("version", "")), str(made.get("python", "")))
    sizes, digests = artifact.sizes, artifact.digests
    for name, path in artifact.files.items():
        if _ENTRY.fullmatch(name):
            yield name, _Entry(artifact.kernel, path, sizes[name], digests[name], fits)


def _installed() -> str | None:
    """The version of flydsl, empty where nobody recorded it; None where there is no flydsl."""
    from importlib import util

    try:
        if util.find_spec("flydsl") is None:
            return None
    except (ImportError, ValueError):
        return None
    return _recorded() or ""


def _recorded() -> str | None:
    """What `importlib.metadata` would say, whose import takes longer than all else here."""
    for folder in sys.path:
        with contextlib.suppress(OSError, ValueError):
            for name in os.listdir(folder or "."):
                if name.lower().startswith("flydsl-") and name.endswith(".dist-info"):
                    with open(os.path.join(folder, name, "METADATA"), encoding="utf-8") as stream:
                        head = stream.read().partition("\n\n")[0]
                    found = re.search(r"^Version:\s*(\S+)", head, re.M)
                    if found:
                        return str(found[1])
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("flydsl")
    return None


def _fits(made: tuple[str, str], here: tuple[str, str]) -> bool:
    """Whether two pairs of versions are equal, as far as both are known."""
    return all(a == b for a, b in zip(made, here) if a and b)  # noqa: B905


def _words(versions: tuple[str, str]) -> str:
    return f"flydsl {versions[0] or '(unknown)'} for {versions[1] or 'any Python'}"


def _said(error: Exception) -> str:
    return f"{error}" or type(error).__name__


def _refused(kernels: list[str], why: str) -> KernelNotFound:
    names = ", ".join(kernels[:5]) + (f" and {len(kernels) - 5} more" if kernels[5:] else "")
    return KernelNotFound(f"launches of {names} (flydsl) would compile anew: {why}")


def _warn(text: str) -> None:
    if text in _told:
        return
    _told.add(text)
    import warnings

    warnings.warn(text, stacklevel=2)
