"""Nothing to do, fast: the last finished plan of a request, checked before anything is imported.

There is a file for each of the last requests of different shapes, such as `build` and
`build --kernel gemm`: each vouches for itself. `fresh` reads with builtins only. The file,
version 1:

    aot-build snapshot 1 <bytes of text> <inputs> <outputs>\\n
    text        NUL-separated: identity, names of variables, their values, package, summary,
                input paths, output folder, output names
    rows        native 64-bit integers: five an input, three an output

The summary is a line of JSON, after it a line for each kernel that is left out.

An input row is device, inode, size, mtime_ns, ctime_ns; five zeros say that the path must be
absent, five ones that it must exist, whatever it is, five twos that it must be there and no link.
An output row is inode, size, mtime_ns.
A snapshot is written only after a build without failures, and only where no input is so young
that a later edit could leave its stat as it is (see files.RACY_NS).
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGIC = b"aot-build snapshot 1 "
FOLDER = ("build", "aot")
ABSENT = (0, 0, 0, 0, 0)
PRESENT = (1, 1, 1, 1, 1)
NO_LINK = (2, 2, 2, 2, 2)
LINK, KIND = 0o120000, 0o170000
"""As in the module stat, which would have to be imported."""
PREFIXES = ("AOT_BUILD_", "TRITON_", "FLYDSL_")
"""Of names that shape a build, those included that nobody knows yet."""
FREE_VARIABLES = ("AOT_BUILD_SUMMARY", "AOT_BUILD_JOBS")
"""They shape no result; a number of jobs that is none is an error all the same."""
WHOLE = "*"
"""Among the names of variables: all that there are (core/environment.py)."""
CALLERS_OWN = {"_", "SHLVL", "PWD", "OLDPWD", "AOT_BUILD_SUMMARY", "AOT_BUILD_JOBS"}
NAME = "snapshot-v1"
KEPT = 32
"""How many requests are remembered, the latest ones."""
PRIME = 2**32 - 5
"""Of a request the remainder names the file: no digest is there without an import."""
WALL = "@wall_s@"


def shape(
    targets: "Sequence[str] | None" = None,
    mode: str | None = None,
    kernels: "Sequence[str] | None" = None,
    config_settings: "Mapping[str, object] | None" = None,
    package_dir: object = None,
    folder: str = "",
) -> str:
    """What of a request (request.py) shapes its result, as text."""
    parts = (targets, mode, kernels, config_settings or {}, package_dir, folder)
    return repr(_plain(parts))


def _plain(value: object) -> object:
    """What is equal, alike: lists and tuples, mappings of any order."""
    if isinstance(value, dict):
        return sorted((str(name), _plain(each)) for name, each in value.items())
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def path_of(project: str, request: str) -> str:
    """Where the snapshot of a project lies for requests of that shape."""
    # Two of one number take turns: the file says whose it is.
    number = int.from_bytes(request.encode("utf-8", "surrogateescape"), "big") % PRIME
    return os.path.join(project, *FOLDER, f"{NAME}-{number:08x}")


def identity(project: str, request: str) -> str:
    """What must be the same for a snapshot to speak of this build at all."""
    own = os.path.dirname(os.path.abspath(__file__))
    places = [path for path in sys.path if path.endswith("-packages")]
    # The same checkout on another machine is another build: compilers may be told `native`.
    host = os.uname().nodename
    return "\n".join((project, request, own, sys.executable, sys.version, host, *places))


def environment(names: list[str]) -> str:
    """The values of some variables, and of all AOT_BUILD_* that shape a build."""
    found = os.environ
    if WHOLE in names:
        names = sorted(found.keys() - CALLERS_OWN)
    ours = {n for n in found if n.startswith(PREFIXES) and n not in FREE_VARIABLES}
    if not found.get("AOT_BUILD_JOBS", "1").isdigit():
        ours.add("AOT_BUILD_JOBS")
    lines = [f"{n}={found[n]!r}" if n in found else n for n in names]
    return "\n".join((*lines, *(f"{n}={found[n]!r}" for n in sorted(ours.difference(names)))))


def fresh(project: str, request: str) -> tuple[str, str] | None:
    """Package and answer of the last build where nothing changed since, else None; see `said`."""
    try:
        with open(path_of(project, request), "rb", buffering=0) as stream:
            content = stream.read()
        return _check(content, project, request)
    except (OSError, ValueError, IndexError, TypeError):
        return None


def said(answer: str, wall_s: float) -> tuple[str, list[str]]:
    """What an answer that took so long says: the summary in JSON, lines on kernels left out."""
    summary, *left_out = answer.replace(WALL, f"{wall_s:.4f}").split("\n")
    return summary, left_out


def _check(content: bytes, project: str, request: str) -> tuple[str, str] | None:
    end = content.index(b"\n") + 1
    if not content.startswith(MAGIC):
        return None
    length, inputs, outputs = map(int, content[len(MAGIC) : end].split())
    # Paths stay bytes: decoding them here, and encoding them for each stat, would be felt.
    text = content[end : end + length].split(b"\0")
    rows = memoryview(content)[end + length :].cast("q").tolist()
    told, variables, values, package, summary = map(_decoded, text[:5])
    if told != identity(project, request) or len(rows) != 5 * inputs + 3 * outputs:
        return None
    if values != environment(variables.split("\n") if variables else []):
        return None
    first = 5 + inputs
    if not _inputs_hold(text[5:first], rows):
        return None
    if not _outputs_hold(text[first], text[first + 1 :], rows, 5 * inputs):
        return None
    return package, summary


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _inputs_hold(paths: list[bytes], rows: list[int]) -> bool:
    stat, lstat, at = os.stat, os.lstat, 0
    for path in paths:
        changed = rows[at + 4]
        try:
            # A link that leads nowhere is not absent.
            found = stat(path) if changed > 2 or changed == 1 else lstat(path)
        except OSError:
            if changed != 0:
                return False
        else:
            if changed == 2:
                if found.st_mode & KIND == LINK:
                    return False
            # Not told by the inode: the root of a tmpfs has number 1.
            elif changed != 1 and (
                found.st_ino != rows[at + 1]
                or found.st_mtime_ns != rows[at + 3]
                or found.st_ctime_ns != changed
                or found.st_size != rows[at + 2]
                or found.st_dev != rows[at]
            ):
                return False
        at += 5
    return True


def _outputs_hold(folder: bytes, names: list[bytes], rows: list[int], at: int) -> bool:
    """Each file is looked at: a listing would be over in a fifth of the time, and would miss one
    that was written over in place."""
    stat = os.stat
    # Relative to the folder: the way down to it is walked once, and not once a file.
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            found = stat(name, dir_fd=place)
            if (
                found.st_ino != rows[at]
                or found.st_mtime_ns != rows[at + 2]
                or found.st_size != rows[at + 1]
            ):
                return False
            at += 3
    finally:
        os.close(place)
    return True


def forget(project: str, request: str | None = None) -> None:
    """From here on the next build looks for itself: that of one request, or any."""
    paths = _paths(project) if request is None else [path_of(project, request)]
    for path in paths:
        _remove(path)


def _paths(project: str) -> list[str]:
    """Of all snapshots of a project, those of other versions included."""
    folder = os.path.join(project, *FOLDER)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.startswith("snapshot-v")]


def _remove(path: str) -> None:
    try:  # noqa: SIM105 (contextlib would have to be imported)
        os.unlink(path)
    except OSError:
        pass


def write(
    project: str,
    request: str,
    names: list[str],
    answer: tuple[str, str],
    inputs: "Sequence[tuple[str, tuple[int, ...]]]",
    folder: str,
    outputs: "Sequence[tuple[str, tuple[int, ...]]]",
) -> None:
    """Keep a finished build: what `fresh` compares, in its order. Raises OSError."""
    import struct
    from pathlib import Path

    from aot_build.files import write_atomic

    parts = [identity(project, request), "\n".join(names), environment(names), *answer]
    parts += [path for path, _ in inputs]
    parts += [folder, *(name for name, _ in outputs)]
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    rows = [number for _, row in (*inputs, *outputs) for number in row]
    head = MAGIC + f"{len(text)} {len(inputs)} {len(outputs)}\n".encode()
    path = path_of(project, request)
    write_atomic(Path(path), head + text + struct.pack(f"{len(rows)}q", *rows))
    others = [each for each in _paths(project) if each != path]
    for old in sorted(others, key=os.path.getmtime)[: -(KEPT - 1)]:
        _remove(old)
