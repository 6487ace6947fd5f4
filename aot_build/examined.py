"""Which shipped kernels are examined: those of the last build, of what is installed, of a wheel."""

import contextlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aot_build import snapshot
from aot_build.backends.lookups.work import FIND
from aot_build.core.inquiry import Surroundings
from aot_build.errors import EnvironmentProblem, InputError
from aot_build.frontend import import_path
from aot_build.jobs import run_jobs_parallel
from aot_build.settings import Settings

AOT, MANIFEST = "_aot", "manifest.json"
READ_ONLY_FILE, READ_ONLY_FOLDER = 0o444, 0o555


def of_build(settings: Settings, scratch: Path) -> Surroundings:
    """What the last build left in `build/aot`. Raises InputError where it left nothing."""
    tree = settings.project.joinpath(*snapshot.FOLDER, *settings.package.split("."), AOT)
    if not (tree / MANIFEST).is_file():
        raise InputError(
            "no kernels to look up: no build has succeeded here",
            {"searched": tree / MANIFEST},
            "aot-build build; or name what is examined: --installed, --wheel FILE",
        )
    return _around(settings, tree, settings.import_roots, scratch)


def of_wheel(settings: Settings, wheel: Path, scratch: Path) -> Surroundings:
    """A wheel, unpacked read-only. Raises InputError for what is none, or has no kernels."""
    folder = scratch / "wheel"
    try:
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)
    except Exception as error:
        # Each codec has errors of its own; a password or an unknown method is a RuntimeError.
        problem = {"file": wheel, "error": error}
        raise InputError("the wheel cannot be read", problem) from error
    roots = [folder, *folder.glob("*.data/purelib"), *folder.glob("*.data/platlib")]
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.chmod(os.path.join(path, name), READ_ONLY_FILE)
        for name in folders:
            os.chmod(os.path.join(path, name), READ_ONLY_FOLDER)
    tree = _with_manifest([root.joinpath(*settings.package.split(".")) for root in roots])
    if tree is None:
        fields = {"file": wheel, "searched": f"{settings.package}/{AOT}/{MANIFEST}"}
        raise InputError("the wheel ships no kernels", fields)
    return _around(settings, tree, roots, scratch)


def of_installed(settings: Settings, scratch: Path) -> Surroundings:
    """The installed package, as a process finds it that stands elsewhere. Raises
    EnvironmentProblem where there is none, or it ships no kernels."""
    around = Surroundings(settings.package, "", (), tuple(import_path()), str(scratch))
    (found,) = run_jobs_parallel(FIND, [[msgspec.msgpack.encode(around)]], max_workers=1)
    folders = [Path(folder) for folder in found.value or ()]
    tree = _with_manifest(folders)
    if tree is None:
        searched = "\n".join(map(str, folders)) or "the import path of this Python"
        what = "ships no kernels" if folders else "is not installed"
        raise EnvironmentProblem(
            f"package {settings.package!r} {what}",
            {"searched": searched, "reason": found.reason or None},
            "install it into this environment, or examine the build: leave out --installed",
        )
    return _around(settings, tree, (), scratch)


def _with_manifest(packages: Sequence[Path]) -> Path | None:
    trees = [package / AOT for package in packages]
    with contextlib.suppress(StopIteration):
        return next(tree for tree in trees if (tree / MANIFEST).is_file())
    return None


def _around(settings: Settings, tree: Path, roots: Sequence[Path], scratch: Path) -> Surroundings:
    found = tuple(map(str, roots))
    return Surroundings(settings.package, str(tree), found, tuple(import_path()), str(scratch))
