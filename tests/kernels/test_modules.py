"""What importing the package costs and changes, and modules that are their operators."""

import inspect
import json
import pkgutil
import pydoc
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.kernels.conftest import KERNELS

HEAVY = ("torch", "triton", "flydsl", "numpy")
NEED_THEM = (
    "cpu", "flydsl", "gpu", "mx", "operations", "reference", "routing", "shuffled", "tensors",
    "triton",
)  # fmt: skip
"""Modules of the package that an operator or a worker imports, with whatever those need."""
FAMILIES = ("gemm", "moe", "grouped_moe", "chunk_gdn_h")

IMPORT_ALL = """
import os, sys
before = dict(os.environ)
sys.path.append(sys.argv[1])
import importlib
for name in sys.argv[2:]:
    importlib.import_module(name)
assert dict(os.environ) == before, {k: v for k, v in os.environ.items() if before.get(k) != v}
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(KERNELS / "aot_kernels")], "aot_kernels.")
    return [m.name for m in found if m.name.split(".")[1] not in (*NEED_THEM, "_aot")]


def test_importing_everything_that_needs_nothing_changes_nothing(
    fresh_python: Callable[..., str],
) -> None:
    names = modules()
    assert {f"aot_kernels.{family}" for family in FAMILIES} < set(names)
    assert "aot_kernels.tuned.table" in names and "aot_kernels.drivers.program" in names
    loaded = fresh_python(IMPORT_ALL, KERNELS, "aot_kernels", *names).split()
    assert "aot_kernels" in loaded and not {*HEAVY} & {*loaded}


@pytest.mark.torch
def test_importing_launchers_changes_no_variable(fresh_python: Callable[..., str]) -> None:
    names = [f"aot_kernels.{name}" for name in ("tensors", "operations.gemm", "cpu.gemm")]
    assert "torch" in fresh_python(IMPORT_ALL, KERNELS, *names).split()


def test_the_package_itself_imports_no_more_than_it_says() -> None:
    words = [sys.executable, "-X", "importtime", "-c", "import aot_kernels, aot_kernels.gemm"]
    told = subprocess.run(words, cwd=KERNELS, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert "aot_kernels" in loaded and not {*HEAVY, "aot_build", "argparse"} & loaded


CALL = """
import inspect, json, sys
sys.path.append(sys.argv[1])
import aot_kernels
{imports}
try:
    aot_kernels.gemm(1, b=2)
except TypeError as error:
    assert str(error) == "gemm: a is a int, not a torch.Tensor", error
else:
    raise AssertionError("that was no call of the operator")
print(json.dumps([str(inspect.signature(aot_kernels.gemm)), aot_kernels.gemm.__doc__]))
"""


@pytest.mark.torch
@pytest.mark.parametrize(
    "imports",
    ["", "import aot_kernels.gemm", "from aot_kernels import gemm\nimport aot_kernels.gemm"],
)
def test_an_operator_is_called_alike_whatever_was_imported(
    fresh_python: Callable[..., str], imports: str
) -> None:
    signature, doc = json.loads(fresh_python(CALL.format(imports=imports), KERNELS))
    from aot_kernels.operations.gemm import gemm

    assert (signature, doc) == (str(inspect.signature(gemm)), gemm.__doc__)


@pytest.mark.torch
def test_a_module_describes_its_operator() -> None:
    import aot_kernels.gemm as module
    from aot_kernels.operations.gemm import gemm

    assert inspect.signature(module) == inspect.signature(gemm)
    assert module.__doc__ == gemm.__doc__ and module.gemm is gemm
    told = pydoc.render_doc(module, renderer=pydoc.plaintext)
    assert "gemm(a: torch.Tensor, b: torch.Tensor" in told and "Raises TypeError" in told
    with pytest.raises(AttributeError, match="has no attribute 'gem'"):
        _ = module.gem


def test_a_family_that_is_not_there_is_no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    import aot_kernels
    import aot_kernels.moe as module

    monkeypatch.setattr(aot_kernels, "_PLACES", {})
    monkeypatch.delitem(vars(module), "moe", raising=False)
    with pytest.raises(AttributeError, match="has no attribute 'moe'"):
        module(1)
    with pytest.raises(AttributeError, match="has no attribute 'rmsnorm2'"):
        _ = aot_kernels.rmsnorm2
    assert "python -m aot_kernels.moe" in (module.__doc__ or "")
