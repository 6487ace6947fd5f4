"""Triton kernels, declared and captured, built by the real driver: what is rebuilt, what is not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", exc_type=ImportError)
pytestmark = pytest.mark.triton

ROOT = Path(__file__).parents[2]

PYPROJECT = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_90a", "hip:gfx942"]

[[tool.aot-build.kernels]]
name = "scale"
backend = "triton"
source = "demo.kern:scale"
signature = { X = "*{dtype}:16", Y = "*{dtype}:16", n = "i32:16" }
configs = [{ dtype = ["bf16", "fp32"], BLOCK = 256, num_warps = 4 }]

[[tool.aot-build.kernels]]
name = "shift"
backend = "triton"
source = "demo.kern:shift"
signature = { X = "*fp32", n = "i32" }
configs = [{ BLOCK = 128 }]
"""
CAPTURED = """\

[[tool.aot-build.kernels]]
name = "tuned"
backend = "triton"
source = "demo.launches:launch"
configs = [{ dtype = "bfloat16", n = [4096, 8192] }]
"""
KERN = """\
import triton
import triton.language as tl


@triton.jit
def twice(x):
    return x + x


@triton.jit
def scale(X, Y, n, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(Y + o, twice(tl.load(X + o, mask=o < n)), mask=o < n)


@triton.jit
def shift(X, n, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(X + o, 1.0, mask=o < n)


@triton.autotune(
    [triton.Config({"BLOCK": b}, num_warps=w) for b in (256, 1024) for w in (4, 32)], key=["n"]
)
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def tuned(X, Y, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(X + o) if EVEN else tl.load(X + o, mask=o < n)
    tl.store(Y + o, twice(x), mask=o < n)
"""
LAUNCHES = """\
import torch
import triton

from demo import kern

WARPS = 4 if torch.cuda.get_device_capability()[0] < 9 else 8


def launch(dtype, n):
    x = torch.empty(n, dtype=getattr(torch, dtype), device="cuda")
    assert x.is_cuda and x.data_ptr() % 16 == 0
    kern.tuned[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](x, torch.empty_like(x), n)
    if torch.version.hip is None:
        kern.shift[(1,)](x.float(), 7, BLOCK=128, num_warps=WARPS)


def keep(config, target, function, dtype, n):
    return config["num_warps"] == 4 and function == "tuned"


def keep_one(config, target, dtype, n):
    return config["num_warps"] == 4 and config["BLOCK"] == 256
"""
FILES = {
    "demo/__init__.py": "",
    "demo/kern.py": KERN,
    "demo/launches.py": LAUNCHES,
    "pyproject.toml": PYPROJECT,
}


@pytest.fixture
def triton_project(new_project: Any) -> Any:
    return new_project("one", FILES)


def manifest(project: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.result / "manifest.json").read_bytes())
    return found


def variants(project: Any, kernel: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manifest(project)["kernels"][kernel]["variants"]
    return found


def test_it_builds_once_and_ships_what_a_launch_needs(triton_project: Any) -> None:
    first = triton_project.build()
    assert (first["actions"], first["executed"], first["helpers"]) == (6, 6, 4)
    (variant,) = [
        v
        for v in variants(triton_project, "scale")
        if v["target"] == "cuda:sm_90a" and v["row"]["dtype"] == "bf16"
    ]
    (file,) = variant["files"].values()
    binary = (triton_project.result / file["path"]).read_bytes()
    assert binary.startswith(b"\x7fELF")
    assert str(triton_project.path).encode() not in binary
    found = variant["metadata"]
    assert found["args"] == [
        {"name": "X", "type": "*bf16"},
        {"name": "Y", "type": "*bf16"},
        {"name": "n", "type": "i32"},
        {"name": "global_scratch", "type": "*i8"},
        {"name": "profile_scratch", "type": "*i8"},
    ]
    assert found["assumes"] == {"X": 16, "Y": 16, "n": 16}
    assert (found["symbol"], found["arch"], found["num_warps"]) == ("scale", "sm_90a", 4)


def test_a_comment_refreshes_the_source_digest_and_compiles_nothing(triton_project: Any) -> None:
    triton_project.build()
    before = variants(triton_project, "scale")
    triton_project.edit("demo/kern.py", "import triton\n", "# Why.\nimport triton\n")
    assert triton_project.build()["executed"] == 0
    after = variants(triton_project, "scale")
    for old, new in zip(before, after, strict=True):
        assert old["metadata"]["triton"].pop("source") != new["metadata"]["triton"].pop("source")
        assert old == new


def test_an_edit_rebuilds_what_reaches_it(triton_project: Any) -> None:
    triton_project.build()
    triton_project.edit("demo/kern.py", "x + x", "x * 2")
    summary = triton_project.build()
    assert {m["kernel"] for m in summary["misses"]} == {"scale"}
    assert summary["executed"] == 4
    assert all("function demo.kern:twice" in m["reason"] for m in summary["misses"])


def test_another_checkout_hits_and_ships_the_same_bytes(
    triton_project: Any, new_project: Any
) -> None:
    triton_project.build()
    other = new_project("a-much-longer-name-for-a-checkout", FILES)
    assert other.build()["executed"] == 0
    assert manifest(other) == manifest(triton_project)


@pytest.mark.torch
def test_captured_launches_are_variants(triton_project: Any) -> None:
    triton_project.write({"pyproject.toml": PYPROJECT + CAPTURED})
    summary = triton_project.build()
    found = variants(triton_project, "tuned")
    cuda = [v for v in found if v["target"] == "cuda:sm_90a"]
    hip = [v for v in found if v["target"] == "hip:gfx942"]
    # Both rows make the same launches: n is divisible by 16, and that is all there is to it.
    assert len(cuda) == 5
    assert len(hip) == 4
    assert summary["actions"] == 6 + 9
    assert {v["row"]["function"] for v in cuda} == {"tuned", "shift"}
    (shift,) = [v for v in cuda if v["row"]["function"] == "shift"]
    assert shift["row"]["num_warps"] == 8, "the host was asked instead of the target"
    assert shift["row"]["n"] == "i32"
    tuned = [v for v in cuda if v["row"]["function"] == "tuned"]
    assert all(v["row"]["EVEN"] is True and v["row"]["n"] == "i32:16" for v in tuned)
    assert all(len(v["metadata"]["rows"]) == 2 for v in tuned)
    # 32 warps of 64 cannot launch: an autotuner passes such a configuration over.
    lost = [v for v in hip if "unlaunchable" in v["metadata"]]
    assert {v["row"]["num_warps"] for v in lost} == {32}
    assert all(not v["files"] for v in lost)
    assert all(
        v["metadata"]["triton"]["specialization"]["target"]["arch"] == "gfx942" for v in lost
    )


ORDINARY = """\
import hashlib, json, sys
from aot_build.backends.triton.stand_in import describe
from aot_build.core.target import parse_target

describe(parse_target(sys.argv[1]))
import torch
from demo import kern

x = torch.empty(4096, dtype=torch.bfloat16, device="cuda")
y = torch.empty_like(x)
told = {}
for config in kern.tuned.configs:
    if config.num_warps == 4:
        made = kern.tuned.fn.fn.warmup(x, y, 4096, EVEN=True, grid=(1,), **config.all_kwargs())
        binary = made.asm["cubin" if "cubin" in made.asm else "hsaco"]
        told[config.kwargs["BLOCK"]] = [
            hashlib.sha256(binary).hexdigest(), made.asm.get("ptx", "").count("v4.b32")
        ]
print(json.dumps(told))
"""


@pytest.mark.torch
@pytest.mark.parametrize("target", ["cuda:sm_90a", "hip:gfx942"])
def test_a_captured_launch_is_the_ordinary_one(triton_project: Any, target: str) -> None:
    triton_project.write({"pyproject.toml": PYPROJECT + CAPTURED})
    triton_project.build("--target", target)
    ended = subprocess.run(
        [sys.executable, "-c", ORDINARY, target],
        env={
            **triton_project.env,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(triton_project.path)]),
            "TRITON_CACHE_DIR": str(triton_project.path / "triton-cache"),
            "TRITON_DISABLE_LINE_INFO": "1",
            "TRITON_DEFAULT_FP_FUSION": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    shipped = {
        str(v["row"]["BLOCK"]): file["sha256"]
        for v in variants(triton_project, "tuned")
        if v["row"]["num_warps"] == 4 and v["row"]["function"] == "tuned"
        for file in v["files"].values()
    }
    assert shipped == {block: digest for block, (digest, _) in told.items()}
    if target.startswith("cuda"):
        # A load and a store of 16 bytes a thread: what an unaligned pointer would not allow.
        assert told["1024"][1] == 2


@pytest.mark.torch
def test_a_function_keeps_some_configurations(triton_project: Any) -> None:
    keeping = CAPTURED + 'keep = "demo.launches:keep"\n'
    triton_project.write({"pyproject.toml": PYPROJECT + keeping})
    triton_project.build()
    found = [v for v in variants(triton_project, "tuned") if v["row"]["function"] == "tuned"]
    assert {v["row"]["num_warps"] for v in found} == {4}
    assert all(v["metadata"]["triton"]["kept"] is True for v in found)


@pytest.mark.torch
def test_a_function_keeps_one_configuration(triton_project: Any) -> None:
    keeping = CAPTURED + 'keep = "demo.launches:keep_one"\n'
    triton_project.write({"pyproject.toml": PYPROJECT + keeping})
    triton_project.build()
    found = [v for v in variants(triton_project, "tuned") if v["row"]["function"] == "tuned"]
    # It is launched without being measured, and a tuner must still learn that it is the only one.
    assert len(found) == 2
    for variant in found:
        assert variant["metadata"]["triton"]["config"]["BLOCK"] == 256
        assert variant["metadata"]["triton"]["kept"] is True


@pytest.mark.torch
def test_a_launch_that_does_not_fit_fails(triton_project: Any) -> None:
    triton_project.write({"pyproject.toml": PYPROJECT + CAPTURED})
    triton_project.edit("demo/launches.py", "    if torch.version.hip is None:\n    ", "")
    triton_project.edit("demo/launches.py", "num_warps=WARPS", "num_warps=32")
    ended = triton_project.command("build")
    assert ended.returncode == 1
    assert "threads, 2048 needed (32 warps of 64), 1024 there" in ended.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('n = "i32:16" }', 'm = "i32:16" }', "signature names 'm', which is no parameter"),
        ("num_warps = 4", "num_warp = 4", "did you mean 'num_warps'?"),
        ("demo.kern:scale", "demo.kern:scales", "did you mean 'scale'?"),
        ('"demo.kern:shift"', '"demo.kern:KERNELS"', "has no attribute 'KERNELS'"),
        ("configs = [{ BLOCK = 128 }]", 'flags = ["-O3"]', "'flags' means nothing"),
        ("configs = [{ BLOCK = 128 }]", "", "parameter 'BLOCK' of demo.kern:shift has no value"),
    ],
)
def test_what_is_wrong_is_told(triton_project: Any, old: str, new: str, expected: str) -> None:
    triton_project.edit("pyproject.toml", old, new)
    ended = triton_project.command("build")
    assert ended.returncode in (1, 2)
    assert expected in ended.stderr


@pytest.mark.torch
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    kern.tuned", "    return\n    kern.tuned", "launched no Triton kernel"),
        ("demo.launches:launch", "demo.kern:tuned", "no plain function"),
    ],
)
def test_what_is_wrong_with_a_capture_is_told(
    triton_project: Any, old: str, new: str, expected: str
) -> None:
    triton_project.write({"pyproject.toml": PYPROJECT + CAPTURED})
    file = "pyproject.toml" if "demo" in old else "demo/launches.py"
    triton_project.edit(file, old, new)
    ended = triton_project.command("build")
    assert ended.returncode == 1
    assert expected in ended.stderr


TWINS = """\
import torch
import triton
import triton.language as tl

side = torch.cuda.Stream()


@triton.jit
def store(X, C: tl.constexpr):
    tl.store(X, C)


@triton.jit
def pick(X, functions: tl.constexpr):
    tl.store(X, 1.0)


def numbers():
    x = torch.empty(16, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    for value in (1, 1.0, True):
        store[(1,)](x, value)


def functions():
    pick[(1,)](torch.empty(16, device="cuda"), (store, store))
"""
TWIN = """\
[tool.aot-build]
package = "demo"
targets = ["cuda:sm_90a"]

[[tool.aot-build.kernels]]
name = "twins"
backend = "triton"
source = "demo.twins:numbers"
"""


@pytest.mark.torch
def test_launches_that_python_calls_equal_are_several(triton_project: Any) -> None:
    triton_project.write({"pyproject.toml": TWIN, "demo/twins.py": TWINS})
    # Triton's own functions must not be imported as what an interpreter runs.
    assert triton_project.build(TRITON_INTERPRET="1")["executed"] == 3
    told = [v["row"]["C"] for v in variants(triton_project, "twins")]
    assert {json.dumps(value) for value in told} == {"1", "1.0", "true"}


@pytest.mark.torch
def test_a_constant_that_cannot_be_kept_is_told(triton_project: Any) -> None:
    triton_project.write({"pyproject.toml": TWIN, "demo/twins.py": TWINS})
    triton_project.edit("pyproject.toml", "twins:numbers", "twins:functions")
    ended = triton_project.command("build")
    assert ended.returncode == 1
    assert "a tuple of JIT functions" in ended.stderr


def test_a_plan_tells_what_cannot_be_planned(triton_project: Any) -> None:
    triton_project.edit("demo/kern.py", "def shift(", "def shifted(")
    ended = triton_project.command("plan")
    assert ended.returncode == 1
    assert "cannot be planned: shift" in ended.stdout
    assert "did you mean 'shifted'?" in ended.stdout
    assert "4 variants" not in ended.stdout.splitlines()[-1]


def test_a_compile_error_starts_with_its_reason(triton_project: Any) -> None:
    triton_project.edit("demo/kern.py", "tl.store(X + o, 1.0", "tl.store(X + missing, 1.0")
    ended = triton_project.command("build")
    assert ended.returncode == 1
    first = next(line for line in ended.stderr.splitlines() if "FAILED shift" in line)
    assert "CompilationError: NameError" in first and "missing" in first
