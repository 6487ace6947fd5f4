"""What the kernel saw of a command, by strace: the calls that name files, with paths from the root.

One file a process (-ff), so that no call is split; all text as escapes (-xx); descriptors with the
path that they stand for (-y).
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(?:<[^>]*>)?(?: (E\w+))?")
_FOLDER = re.compile(r"(?:AT_FDCWD|\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?')
LOOKS = {
    "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink",
    "readlinkat", "statfs", "getxattr", "lgetxattr", "listxattr", "llistxattr",
}  # fmt: skip
CHANGES = {
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "truncate", "mknod", "mknodat", "chmod",
    "fchmodat", "chown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat",
}  # fmt: skip
MOVES = {"rename", "renameat", "renameat2", "link", "linkat"}
SYMLINKS = {"symlink", "symlinkat"}
PASSED_OVER = {"getcwd", "inotify_add_watch", "umount2"}


@dataclass(frozen=True)
class Call:
    """One call about one path."""

    name: str
    path: str
    error: str
    words: str

    @property
    def kinds(self) -> str:
        """Any of which a record must have."""
        if self.error in ("ENOENT", "ENOTDIR"):
            # The tracer itself asks so, before a file is made.
            return "aw" if self.name == "faccessat" else "a"
        if self.name == "getdents64":
            return "d"
        if self.name.startswith("execve"):
            return "xu"
        if self.name in LOOKS or self.error:
            # What was read, listed or executed was found.
            return "srdxul"
        if self.name in ("open", "openat", "creat"):
            return self._kinds_of_open()
        if self.name == "link" and self.words == "0":
            return "r"
        return "w"

    def _kinds_of_open(self) -> str:
        if "O_PATH" in self.words or "O_DIRECTORY" in self.words:
            return "sd"
        if "O_WRONLY" in self.words or "O_RDWR" in self.words or self.name == "creat":
            return "w"
        if "O_CREAT" in self.words:
            return "rw"
        # A program's head is read by the tracer itself, before it is executed.
        return "rxu" if os.path.isfile(self.path) else "rxusd"


def strace(command: Sequence[str], folder: Path, out: Path, env: Mapping[str, str]) -> str:
    """Run it with the environment changed so; its stderr. `out` gets a file for each process."""
    changed = [word for name, value in env.items() for word in ("-E", f"{name}={value}")]
    words = ["strace", "-ff", "-xx", "-y", "-e", "trace=%file,getdents64,fchdir", "-o", str(out)]
    done = subprocess.run(
        [*words, *changed, *command], cwd=folder, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def calls(out: Path, folder: Path, log: str) -> Iterator[Call]:
    """What the processes did; each was begun in `folder`, or says where it is.

    From a program's start to its opening of the log it is the loader's search that is seen.
    """
    opening = "".join(f"\\x{byte:02x}" for byte in os.fsencode(log))
    for process in out.parent.glob(f"{out.name}.*"):
        loading, cwd = False, str(folder)
        for line in process.read_text().splitlines():
            found = _LINE.match(line)
            if not found or found[3] == "?" or found[1] in PASSED_OVER:
                continue
            name, words, _, error = found.groups()
            if name in ("chdir", "fchdir"):
                place = (_TEXT if name == "chdir" else _FOLDER).findall(words)[0]
                cwd = cwd if error else os.path.join(cwd, _decoded(place))
            elif not loading:
                yield from _calls(name, words, error or "", cwd)
            loading = not error if name.startswith("execve") else loading and opening not in line


def _calls(name: str, words: str, error: str, cwd: str) -> Iterator[Call]:
    folders = [_decoded(text) for text in _FOLDER.findall(words)]
    if name == "getdents64":
        yield Call(name, folders[0], error, words)
        return
    paths = [_decoded(text) for text in _TEXT.findall(words)]
    if name in SYMLINKS:
        paths = paths[1:]
    elif name not in MOVES:
        paths = paths[:1]
    if not paths or not all(paths):  # it is then about the descriptor
        return
    if name not in MOVES:
        yield Call(name, os.path.join((folders or [cwd])[0], paths[0]), error, words)
    elif not error:
        old, new = (os.path.join(f, p) for f, p in zip(folders or [cwd, cwd], paths, strict=True))
        yield Call("link" if "link" in name else name, old, error, "0")
        yield Call(name, new, error, words)


def _decoded(text: str) -> str:
    return os.fsdecode(bytes.fromhex(text.replace("\\x", "")))
