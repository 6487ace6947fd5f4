"""Builds the recording compiler, in two identities of equal size and mtime."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

IDENTITIES = ("recorder-one", "recorder-two")
BUILT_NS = 1_600_000_000_000_000_000
"""When all of them were built, to believe their mtime."""


@dataclass(frozen=True)
class Recorder:
    """Both compilers, what they log, and how they are told to play the user."""

    folder: Path

    def binary(self, identity: int) -> bytes:
        """The program of one identity: another content, and nothing else that differs."""
        return (self.folder / IDENTITIES[identity]).read_bytes()

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def control(self) -> Path:
        return self.folder / "control"

    def compiles(self) -> list[str]:
        """A line for each compile since the last call: source, macros, architecture."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def play_the_user(self, when: str, path: Path, content: str) -> None:
        """Have the next compile edit a file: `e` before it reads, `l` after."""
        young = self.control.with_suffix(".young")
        young.write_text(f"{when}{path}\n{content}")
        young.rename(self.control)


def make_recorder(folder: Path) -> Recorder:
    """Compile both."""
    made = Recorder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for identity in IDENTITIES:
        names = {"IDENTITY": identity, "LOG": made.log, "CONTROL": made.control}
        subprocess.run(
            ["cc", "-O1", "-s", "-Wl,--build-id=none", *(f'-D{n}="{v}"' for n, v in names.items()),
             str(Path(__file__).with_name("recorder.c")), "-o", str(folder / identity)],
            check=True,
        )  # fmt: skip
    sizes = {len(made.binary(n)) for n in range(len(IDENTITIES))}
    assert len(sizes) == 1, "only their content may tell them apart"
    return made


def install(recorder: Recorder, identity: int, place: Path) -> None:
    """Put a compiler where another one may stand: same path, size and mtime."""
    young = place.with_suffix(".young")
    young.write_bytes(recorder.binary(identity))
    young.chmod(0o755)
    os.utime(young, ns=(BUILT_NS, BUILT_NS))
    young.rename(place)
