"""What FlyDSL needs of a ROCm: the linker, and the device libraries of kernels that call them.

It looks for both below ROCM_PATH: `llvm/bin/ld.lld` and `amdgcn/bitcode`. A ROCm has them; where
there is none, LLVM's own linker and a distribution's device libraries do, behind two links in a
folder that serves as ROCM_PATH.
"""

import contextlib
import glob
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aot_build.core.toolchain import Toolchain
from aot_build.digest import key_digest
from aot_build.errors import EnvironmentProblem
from aot_build.toolchains.cxx import Digest, content_of
from aot_build.toolchains.driver import asking, libraries, run

VARIABLE, USUAL = "ROCM_PATH", "/opt/rocm"
ROLE = "rocm"
LINKER, BITCODE = ("llvm", "bin", "ld.lld"), ("amdgcn", "bitcode")
OLDEST, NEWEST = 19, 24
"""Versions of LLVM: an older linker does not know the ABI version of FlyDSL's objects."""
VERSIONED = "/usr/lib/llvm-{}/bin/ld.lld"
"""Where distributions put one version beside another."""
SHARED_BITCODE = "/usr/lib/*/amdgcn/bitcode"
"""Where Debian's rocm-device-libs has them."""
MULTIARCH = f"{platform.machine()}-linux-gnu"
INSTALL_LINKER = f"apt-get install lld-{OLDEST}"
INSTALL_BITCODE = "apt-get install rocm-device-libs"
FLYDSL = ((0, 3, 1), (0, 5))
"""The oldest version that works, and the first that nobody has tried."""
REQUIREMENT = "flydsl>={},<{}".format(*(".".join(map(str, numbers)) for numbers in FLYDSL))


@dataclass(frozen=True, slots=True)
class Rocm:
    """Absolute paths. `bitcode` is empty where there is none: most kernels need none."""

    linker: str
    bitcode: str
    home: str
    """The folder that has both, where one has."""
    version: str
    """Of the linker."""
    absent: tuple[str, ...]
    """What would have come first."""
    passed: tuple[str, ...] = ()
    """Linkers that came first and are too old: upgraded in place, one would do."""


class NoLinker(EnvironmentProblem):
    """No linker was found; `absent` are the paths at which one would have been, `files` those of
    which another version would do."""

    def __init__(self, absent: tuple[str, ...], passed: Mapping[str, str]) -> None:
        super().__init__(
            f"no linker for AMD GPUs: LLVM {OLDEST} or newer",
            {
                "searched": f"${VARIABLE}, {USUAL}, /usr/lib/llvm-*, PATH",
                "too old": ", ".join(f"{path} ({told})" for path, told in passed.items()) or None,
            },
            f"{INSTALL_LINKER}, or set {VARIABLE} to the folder of a ROCm",
        )
        self.absent, self.files = absent, tuple(passed)


def find_rocm(env: Mapping[str, str]) -> Rocm:
    """$ROCM_PATH, else /opt/rocm, else the newest linker of LLVM's and the device libraries of the
    system. Raises NoLinker."""
    homes = _homes(env)
    absent: list[str] = []
    passed: dict[str, str] = {}
    for path, own in _linkers(homes, env):
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            absent.append(path)
            continue
        version = _version(path, env)
        # A ROCm's LLVM knows what upstream's learned a version later.
        if own or int(version.partition(".")[0] or 0) >= OLDEST:
            break
        passed[path] = version or "of no known version"
        if not version:
            # What it lacks may come, such as a library, and leave the file as it is.
            absent.append(path)
    else:
        raise NoLinker(tuple(absent), passed)
    bitcode, sooner = find_bitcode(env)
    absent += sooner
    whole = [h for h in homes if (path, bitcode) == _parts(h)]
    home = next(iter(whole), "")
    return Rocm(path, bitcode, home, version, tuple(absent), tuple(passed))


def find_bitcode(env: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The folder of the device libraries, empty where there is none; what would have come first."""
    places = [os.path.join(home, *BITCODE) for home in _homes(env)]
    # Its name is the machine's: `x86_64-linux-gnu`.
    places += sorted(glob.glob(SHARED_BITCODE)) or [SHARED_BITCODE.replace("*", MULTIARCH)]
    found = next((p for p in places if os.path.isfile(os.path.join(p, "ocml.bc"))), "")
    return found, tuple(places[: places.index(found)] if found else places)


def lay_out(found: Rocm, folder: Path) -> str:
    """The folder that serves as ROCM_PATH: the ROCm itself, else one with two links, below
    `folder` and named by where they lead. Any number of builds may make it at once."""
    if found.home:
        return found.home
    place = folder / key_digest((found.linker, found.bitcode))[:16]
    links = dict(zip(_parts(str(place)), (found.linker, found.bitcode), strict=True))
    links = {link: leads for link, leads in links.items() if leads}
    if all(os.path.islink(link) and os.readlink(link) == to for link, to in links.items()):
        return str(place)
    made = folder / f"{place.name}-{secrets.token_hex(4)}"
    for link, leads in links.items():
        path = made / os.path.relpath(link, place)
        path.parent.mkdir(parents=True)
        path.symlink_to(leads)
    if place.exists():
        # Somebody has damaged it.
        with contextlib.suppress(OSError):
            place.rename(folder / f"{made.name}-old")
    with contextlib.suppress(OSError):
        made.rename(place)
    for rest in folder.glob(f"{made.name}*"):
        shutil.rmtree(rest, ignore_errors=True)
    return str(place)


def find_flydsl(
    package: Toolchain, env: Mapping[str, str], digest: Digest, folder: Path
) -> Toolchain:
    """FlyDSL with what it links by. `package` is its distribution, `folder` is for links.

    `digest` gives a file's content digest. Raises EnvironmentProblem.
    """
    oldest, beyond = FLYDSL
    if not oldest <= _numbers(package.version) < beyond:
        raise EnvironmentProblem(
            f"flydsl {package.version} is not one that works",
            {"works": REQUIREMENT.removeprefix("flydsl")},
            f'pip install "{REQUIREMENT}"',
        )
    rocm = find_rocm(env)
    loads, _ = libraries([rocm.linker], env)
    parts = {"ld.lld": rocm.linker, **loads}
    for path in sorted(glob.glob(os.path.join(glob.escape(rocm.bitcode), "*.bc"))):
        parts[os.path.basename(path)] = path
    rows = content_of(parts, digest)
    content = [(name, taken) for name, _, taken in rows]
    return Toolchain(
        name=package.name,
        version=package.version,
        digest=key_digest((package.digest, content)),
        files=(
            *package.files,
            *sorted({os.path.realpath(path) for path in parts.values()}),
            *rocm.passed,
        ),
        absent=(*package.absent, *rocm.absent),
        root=lay_out(rocm, folder),
        role=ROLE,
        parts=rows,
    )


def _homes(env: Mapping[str, str]) -> list[str]:
    return [os.path.abspath(home) for home in (env.get(VARIABLE), USUAL) if home]


def _linkers(homes: list[str], env: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Where a linker may be, and whether that is in a ROCm."""
    for home in homes:
        yield os.path.join(home, *LINKER), True
    search = [os.path.abspath(d) for d in env.get("PATH", os.defpath).split(os.pathsep) if d]
    for version in range(NEWEST, OLDEST - 1, -1):
        yield from ((os.path.join(place, f"ld.lld-{version}"), False) for place in search)
        yield VERSIONED.format(version), False
    yield from ((os.path.join(place, "ld.lld"), False) for place in search)


def _parts(home: str) -> tuple[str, str]:
    return os.path.join(home, *LINKER), os.path.join(home, *BITCODE)


def _version(linker: str, env: Mapping[str, str]) -> str:
    """`19.1.7`; empty where it does not say, or does not run."""
    with contextlib.suppress(EnvironmentProblem):
        said = run((linker, "--version"), asking(env), "linker").stdout
        if found := re.search(r"\bLLD (\d+(?:\.\d+)*)", said):
            return found[1]
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:4]))
