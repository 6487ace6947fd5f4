"""What a FlyDSL kernel may declare, what of an environment counts, what a compile error tells."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.backends.flydsl import BACKEND
from aot_build.backends.flydsl import environment as variables
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.roles import Roles
from aot_build.core.target import known_targets, parse_target
from aot_build.core.toolchain import Toolchain
from aot_build.core.work import WorkReport
from aot_build.errors import InputError
from aot_build.toolchains.rocm import find_rocm
from tests.backends import conftest

TOOLCHAIN = Toolchain("flydsl", "0.4.2", "1" * 32)
HIP = parse_target("hip:gfx942")


def variant(target: str = "hip:gfx942", env: Any = (), **more: Any) -> Variant:
    where = parse_target(target)
    spec = KernelSpec("kern", "flydsl", ("demo.kern:make",), (where,), env=tuple(env))
    return Variant(spec, (("n", 3),), where, **{"source": spec.source, **more})


def action(env: dict[str, str], one: Variant | None = None, project: str = "/work/one") -> Any:
    roles = Roles({"project": project, "rocm": f"{project}/build/links"})
    return BACKEND.action(one or variant(), Configuration(TOOLCHAIN, "release", roles, env=env))


def test_the_targets_that_it_serves() -> None:
    served = [name for name in known_targets() if BACKEND.serves(parse_target(name))]
    assert served == ["hip:gfx942", "hip:gfx950", "hip:gfx1250"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"flags": ("-O3",)}, "'flags' means nothing"),
        ({"row": (("target", "x"),)}, "'target' is an argument"),
        ({"source": ("a:b", "c:d")}, "has 2 sources"),
        ({"env": (("COMPILE_ONLY", "0"),)}, "COMPILE_ONLY is not for a kernel to set"),
        ({"env": (("FLYDSL_DUMP_IR", "1"),)}, "FLYDSL_DUMP_IR is not for a kernel to set"),
    ],
)
def test_what_no_flydsl_kernel_has(wrong: dict[str, Any], told: str) -> None:
    env = wrong.pop("env", ())
    with pytest.raises(InputError, match=told):
        BACKEND.check(dataclasses.replace(variant(env=env), **wrong))


def test_variables_that_count() -> None:
    plain = action({})
    for name in (*variables.UNKEYED, "HOME", "LLVM_GFX1250_ANY_XNACK_CODEGEN"):
        assert action({name: "1"}) == plain, name
    for name in (*variables.KNOWN, "FLYDSL_NEW"):
        assert action({name: "1"}) != plain, name
    assert action({"FLYDSL_KTRACE_ENABLE": ""}) != plain, "FlyDSL tells empty from unset"
    other = variant("hip:gfx1250")
    assert action({"LLVM_GFX1250_ANY_XNACK_CODEGEN": "1"}, other) != action({}, other)
    declared = action({}, variant(env=[("FLYDSL_COMPILE_OPT_LEVEL", "1")]))
    assert declared == action({"FLYDSL_COMPILE_OPT_LEVEL": "1"})


def test_paths_that_count() -> None:
    def both(name: str, value: str) -> list[Any]:
        folders = ("/work/one", "/work/another")
        return [action({name: value.format(f)}, project=f) for f in folders]

    one, other = both("FLYDSL_AUTOTUNE_CONFIG_DIR", "{}/tuned")
    assert one == other
    # FlyDSL's own name for an entry holds this text as it is.
    one, other = both("FLYDSL_EXTRA_SOURCE_DIRS", "{}/kernels")
    assert one != other
    one, other = both("FLYDSL_DEBUG_ENABLE_DEBUG_INFO", "true")
    assert one != other
    one, other = both("FLYDSL_DEBUG_ENABLE_DEBUG_INFO", "0")
    assert one == other


@pytest.mark.flydsl
@pytest.mark.torch
def test_every_variable_of_the_installed_flydsl_is_known(fresh_python: Callable[..., str]) -> None:
    said = fresh_python(
        "from flydsl.utils import env\n"
        "from flydsl.compiler import jit_function as j\n"
        "for each in vars(env).values():\n"
        "    for option in getattr(type(each), 'options', {}).values():\n"
        "        print('any', option.env_var)\n"
        "for name in j._CACHE_INVALIDATING_ENV_VARS: print('key', name)\n"
        "for names in getattr(j, '_TARGET_CACHE_INVALIDATING_ENV_VARS', {}).values():\n"
        "    for name in names: print('target', name)\n"
    )
    found = [line.split() for line in said.splitlines()]
    assert len(found) > 20
    in_key = {name for kind, name in found if kind == "key"}
    assert in_key <= set(variables.IN_ITS_KEY)
    known = {*variables.KNOWN, *variables.UNKEYED}
    assert {name for kind, name in found if kind == "any"} <= known
    of_target = {name for kind, name in found if kind == "target"}
    assert of_target <= {name for names in variables.OF_TARGET.values() for name in names}


@pytest.mark.flydsl
@pytest.mark.torch
@pytest.mark.slow
def test_without_device_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linker = find_rocm(os.environ).linker
    # Without byte code torch takes twenty seconds.
    worker = conftest.WORKER.replace("sys.pycache_prefix = '/dev/null/pycache'; ", "")
    monkeypatch.setattr(conftest, "WORKER", worker)
    bench = conftest.Bench(tmp_path / "bench", {})
    home = tmp_path / "rocm"
    (home / "llvm" / "bin").mkdir(parents=True)
    (home / "llvm" / "bin" / "ld.lld").symlink_to(linker)
    bench.roots["rocm"] = str(home)
    bench.write("demo/__init__.py", "")
    bench.write("demo/kern.py", Path(__file__).with_name("kern.py").read_text())

    def perform(**row: Any) -> WorkReport:
        spec = KernelSpec("kern", "flydsl", ("demo.kern:compile_copy",), (HIP,))
        one = Variant(spec, tuple(sorted(row.items())), HIP, source=spec.source)
        configured = Configuration(TOOLCHAIN, "release", Roles(bench.roots))
        return bench.perform(BACKEND.action(one, configured))

    assert perform(n=3).error is None
    (folder,) = (path for path in bench.out.iterdir() if path.is_dir())
    assert [path.suffix for path in sorted(folder.iterdir())] == [".lock", ".pkl"]
    error = perform(n=1, function="erf").error
    assert error is not None and "bitcode path" in error
    assert "hint: apt-get install rocm-device-libs" in error


@pytest.mark.flydsl
def test_kernels_find_the_operations_of_the_target_imported() -> None:
    """Each worker would compile their half megabyte of sources again."""
    script = (
        "import aot_build.backends.flydsl.preloaded, sys; found = {*sys.modules};"
        "import flydsl.expr as fx; fx.rocdl; fx.gpu; fx.math;"
        "print(sorted({*sys.modules} - found))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
