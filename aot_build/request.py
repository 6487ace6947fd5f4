"""What a front end asks the driver for: one JSON line on the driver's standard input."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from aot_build import snapshot


@dataclass(frozen=True)
class Request:
    """`None` means: as configured."""

    project: str
    """Absolute path."""
    targets: Sequence[str] | None = None
    mode: str | None = None
    kernels: Sequence[str] | None = None
    """Names of the kernels to build; None: all."""
    jobs: int | None = None
    keep_going: bool | None = None
    config_settings: Mapping[str, object] = field(default_factory=dict)
    package_dir: str | None = None
    folder: str = ""
    """Below `build/aot`, where the result goes if not there: then it is this request's alone."""
    watched: Sequence[int] = ()
    """Process ids whose end ends the build: the asking process first."""
    goal: str = "build"
    """`build`; `plan`: say what a build would do; `verify`: build again and compare."""
    sample: int | None = None
    """How many variants `verify` builds again; None: all."""

    tokens: Sequence[str] = ()
    """Where the CPU tokens are that the build shares with others (execute/jobserver.py); empty:
    it makes its own."""

    @property
    def shape(self) -> str:
        """What of it shapes the result, as text."""
        return snapshot.shape(
            self.targets,
            self.mode,
            self.kernels,
            dict(self.config_settings),
            self.package_dir,
            self.folder,
        )

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """The request of a line that `encode` wrote."""
    return Request(**json.loads(line))
