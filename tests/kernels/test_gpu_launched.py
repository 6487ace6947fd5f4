"""What the launchers launch has the specialisation that was declared, so that what ships serves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import aot_kernels
from aot_kernels.gpu.variants import TYPES

from tests.kernels.rows import ROOT, TUNED, declared, rows, signature

KERNELS = (
    "gpu_gemm", "gpu_gemm_sum", "gpu_rmsnorm", "gpu_gemm_a8w8", "gpu_chunk_gdn_h", "gpu_moe_up",
    "gpu_moe_down", "gpu_moe_sum", "gpu_grouped_moe", *TUNED,
)  # fmt: skip
pytestmark = [pytest.mark.torch, pytest.mark.triton]


def python(*arguments: object, **env: str) -> str:
    """Run a script that sees this checkout. Gives its stdout."""
    roots = [str(Path(aot_kernels.__file__).parents[1]), str(ROOT), *sys.path]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots), **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def specialisation(kernel, row):
    """Parameter -> its type; parameters that 16 divides; those that are None."""
    types = signature(kernel, row)
    absent = {name: None for name, kind in types.items() if kind == "none"}
    kinds = {n: kind.partition(":")[0] for n, kind in types.items() if n not in absent}
    divisible = {name for name, kind in types.items() if kind.endswith(":16")}
    return kinds, divisible, absent


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cuda:sm_90a", "hip:gfx942", "hip:gfx950"])
def test_every_launch_is_of_a_declared_variant(target):
    launches = json.loads(python(Path(__file__).with_name("launched.py"), target))
    served = set()
    for launch in launches:
        names, kinds = launch["parameters"], launch["signature"]
        constants = {
            names[path[0]]: value
            for path, value in zip(launch["constant_keys"], launch["constant_vals"], strict=True)
        }
        divisible = {
            names[path[0]]
            for path, attrs in zip(launch["attrs_keys"], launch["attrs_vals"], strict=True)
            if ["tt.divisibility", 16] in attrs
        }
        types = {name: kind for name, kind in kinds.items() if kind != "constexpr"}
        fit = []
        variants = [
            (kernel, number, *variant)
            for kernel in KERNELS
            if declared(kernel)["source"] == launch["function"]
            for number, variant in enumerate(rows(kernel))
        ]
        for kernel, number, built_for, row in variants:
            columns = {name: v for name, v in row.items() if name not in TYPES}
            own, divided, absent = specialisation(kernel, row)
            given = absent | {name: v for name, v in columns.items() if name in names}
            options = {name: v for name, v in columns.items() if name not in names}
            if (
                built_for == target
                and own == types
                and given == constants
                and options.items() <= launch["options"].items()
            ):
                assert divided <= divisible
                fit.append((kernel, number))
        # A tuned row may be one that is listed anyhow.
        assert len(fit) == len({kernel for kernel, _ in fit}) > 0, launch
        served |= {*fit}
    shipped = {
        (kernel, number)
        for kernel in KERNELS
        for number, (built_for, _) in enumerate(rows(kernel))
        if built_for == target
    }
    idle = {kernel for kernel, _ in shipped - served}
    assert idle <= {"gpu_gemm_tuned"}, "every variant is of use, but tiles that beat others"


def test_import_of_the_package_is_light():
    heavy = "{'typing', 'torch', 'triton', 'ctypes', 'json', 'aot_build', 'aot_kernels._aot'}"
    script = f"import aot_kernels, sys; print({heavy} & {{*sys.modules}})"
    assert python("-S", "-c", script).strip() == "set()"


def test_kernels_import_where_nothing_was_built():
    script = (
        "import sys; sys.modules['aot_kernels._aot'] = None\n"
        "from aot_kernels.triton.gemm import gemm; print(type(gemm).__name__)"
    )
    assert python("-c", script).strip() == "JITFunction"


def test_a_gpu_that_nothing_is_shipped_for(tmp_path):
    """Triton compiles a spare row, unless it may not; without Triton nothing runs."""
    script = tmp_path / "calls.py"
    script.write_text(
        "import sys\n"
        "if sys.argv[1] == 'absent': sys.modules['triton'] = None\n"
        "import torch\n"
        "from types import SimpleNamespace\n"
        "from aot_kernels.gpu import variants, gemm\n"
        "class Missing(LookupError): pass\n"
        "def miss(name, device, **row): raise Missing(name)\n"
        "aot = SimpleNamespace(table=miss, select=miss, KernelNotFound=Missing,\n"
        "    strict=lambda: sys.argv[1] == 'strict', install=lambda *backends: None)\n"
        "sys.modules['aot_kernels._aot'] = aot\n"
        "try: print([v.row['BM'] for v in gemm.GEMM.variants(torch.device('cuda', 0), 'bf16')])\n"
        "except Missing as missing: print('missing', missing)\n"
    )
    assert python(script, "present").strip() == "[64, 64]"
    assert python(script, "strict").strip() == "missing gpu_gemm"
    assert python(script, "absent").strip() == "missing gpu_gemm"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cuda:sm_90a", "hip:gfx942"])
def test_shipped_binaries_serve_ordinary_launches(shipped, target, tmp_path):
    if target not in {
        v["target"] for v in shipped.manifest()["kernels"].get("gpu_gemm", {}).get("variants", ())
    }:
        pytest.skip(f"nothing is built for {target}")
    script = (
        "import sys; from tests import stub_driver; gpu = stub_driver.plug_in(sys.argv[1])\n"
        "from tests.kernels import launched; launched.calls()\n"
        "launched.calls_of_a8w8(sys.argv[1]); launched.calls_of_gdn()\n"
        "print(len(gpu.compiles), len(set(gpu.launches)))"
    )
    compiles, launched = map(int, python("-c", script, target, AOT_RUNTIME="strict").split())
    assert compiles == 0 and launched >= 15
