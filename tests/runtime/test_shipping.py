"""The files around a look-up: manifests that are absent or damaged, verify, install, strict."""

import ast
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aot_build.runtime
from aot_build.layout import RUNTIME

ROW = {"T": "float", "BLOCK": 128}


def root_of(aot: Any) -> Path:
    return Path(aot.__file__).parent


def test_manifest_is_the_parsed_file(aot: Any) -> None:
    assert aot.manifest() == json.loads((root_of(aot) / "manifest.json").read_bytes())
    assert aot.manifest() is aot.manifest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "were never built"),
        ("", "is damaged"),
        ('{"version": 1, "kern', "is damaged"),
        ("[1]", "is damaged"),
        ('{"version": 1}', "is damaged"),
        ('{"version": 1, "kernels": []}', "is damaged"),
        ('{"version": 2, "kernels": {}}', "has version 2, this module reads 1"),
    ],
)
def test_an_unreadable_manifest_says_so(aot: Any, content: str | None, message: str) -> None:
    path = root_of(aot) / "manifest.json"
    good = path.read_text()
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(aot.ManifestError, match=message) as caught:
        aot.get("scale", "cpu", **ROW)
    assert str(path) in str(caught.value)
    path.write_text(good)
    assert aot.get("scale", "cpu", **ROW).bytes == b"128"


def test_a_kernel_that_is_damaged_spares_the_others(aot: Any) -> None:
    path = root_of(aot) / "manifest.json"
    content = json.loads(path.read_text())
    del content["kernels"]["gemm"]["variants"][0]["row"]
    path.write_text(json.dumps(content))
    assert aot.get("scale", "cpu", **ROW).bytes == b"128"
    with pytest.raises(aot.ManifestError, match="damaged at kernel 'gemm'"):
        aot.get("gemm", "cuda:sm_80", BM=128)


def test_verify_names_the_bad_files(aot: Any) -> None:
    assert aot.verify() == []
    changed = Path(aot.get("scale", "cpu", **ROW).path)
    gone = Path(aot.get("many", "cpu", SHAPE=[8, [1, 2]]).files["sub/b.bin"])
    changed.write_bytes(b"129")
    gone.unlink()
    bad = sorted(path.relative_to(root_of(aot)).as_posix() for path in (changed, gone))
    assert aot.verify() == bad


def test_a_tree_that_cannot_be_written_serves(aot: Any) -> None:
    places = [root_of(aot), *root_of(aot).rglob("*")]
    before = sorted(map(str, places))
    for place in places:
        place.chmod(stat.S_IREAD | (stat.S_IEXEC if place.is_dir() else 0))
    try:
        assert aot.get("scale", "cpu", **ROW).bytes == b"128"
        assert aot.verify() == []
        aot.install()
        assert sorted(map(str, [root_of(aot), *root_of(aot).rglob("*")])) == before
    finally:
        for place in places:
            place.chmod(stat.S_IRWXU)


def test_install_is_silent_without_launched_kernels(
    aot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    aot.install()
    aot.install()
    assert aot.strict()


def test_install_in_strict_mode_refuses_what_would_compile(
    ship: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    aot = ship(("k", "cuda:sm_90", {}, {"k.cubin": b""}), backend="flydsl")
    aot.install()
    aot._state.strict = None
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    with pytest.raises(aot.KernelNotFound, match=r"launches of k \(flydsl\) would compile"):
        aot.install()
    seen: list[list[str]] = []
    aot._HOOKS["flydsl"] = seen.append
    aot.install()
    assert seen == [["k"]]


def test_strict_is_read_once(aot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AOT_RUNTIME", raising=False)
    assert not aot.strict()
    monkeypatch.setenv("AOT_RUNTIME", "strict")
    assert not aot.strict()


def test_an_unknown_strictness_warns(aot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOT_RUNTIME", "strickt")
    with pytest.warns(UserWarning, match="only 'strict' is known"):
        assert not aot.strict()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_lookup_does_not_hang(aot: Any) -> None:
    code = (
        "import os, signal, sys, warnings; warnings.simplefilter('ignore')\n"
        "from shipping import _aot; import threading\n"
        "inside, leave = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with _aot._state.lock: inside.set(); leave.wait()\n"
        "thread = threading.Thread(target=hold); thread.start(); inside.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(20)\n"
        "    _aot.get('scale', 'cpu', T='float', BLOCK=128); os._exit(0)\n"
        "leave.set(); thread.join()\n"
        "sys.exit(os.waitpid(child, 0)[1] != 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root_of(aot).parents[1], check=True)


def test_the_files_that_ship_are_those_of_the_runtime() -> None:
    folder = Path(aot_build.runtime.__file__).parent
    assert tuple(sorted(path.name for path in folder.glob("*.py"))) == RUNTIME
    assert [path.name for path in folder.iterdir() if path.suffix not in (".py", "")] == []


@pytest.mark.parametrize("name", RUNTIME)
def test_a_file_needs_nothing_but_its_neighbours_and_python_39(name: str) -> None:
    """Others are imported in functions, which whoever has no use for them never calls."""
    source = (Path(aot_build.runtime.__file__).parent / name).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    foreign = {
        imported.partition(".")[0]: node in tree.body
        for node in found
        for imported in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""] * (not node.level)
        )
        if imported.partition(".")[0] not in sys.stdlib_module_names
    }
    assert foreign.items() <= {"torch": False, "triton": False}.items()
    assert all(getattr(node, "level", 0) < 2 for node in found)


def test_builder_and_runtime_leave_the_same_options_out() -> None:
    """The runtime stands alone, so that both say it: what a launch is not recognised by."""
    from aot_build.backends.triton.compile import MACHINES_OWN
    from aot_build.runtime import _specialization

    assert _specialization._MACHINES_OWN == MACHINES_OWN
