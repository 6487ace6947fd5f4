"""`python ship_flydsl.py <cache directory> <_aot>`: ship all entries of one as one variant."""

import hashlib
import importlib.metadata
import shutil
import sys
from pathlib import Path

from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import Entry, manifest, manifest_text, place
from aot_build.core.target import parse_target
from aot_build.core.toolchain import Toolchain

entries, aot = map(Path, sys.argv[1:])
target = parse_target("hip:gfx942")
variant = Variant(KernelSpec("idle", "flydsl", ("kern:launch",), (target,)), (), target)
artifacts = tuple(
    Artifact(
        path.relative_to(entries).as_posix(),
        hashlib.sha256(path.read_bytes()).hexdigest(),
        path.stat().st_size,
    )
    for path in sorted(entries.rglob("*.pkl"))
)
version = importlib.metadata.version("flydsl")
made = {"flydsl": {"version": version, "python": f"cp{sys.version_info[0]}{sys.version_info[1]}"}}
for name, path in place(variant, artifacts).items():
    (aot / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(entries / name, aot / path)
entry = Entry(variant, Toolchain("flydsl", version, "d" * 32), artifacts, made)
text = manifest_text(manifest("shipping", "release", "test", [entry]))
(aot / "manifest.json").write_text(text)
