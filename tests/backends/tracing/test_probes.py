"""Packages that ask what GPU there is while they are imported are not preloaded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.triton, pytest.mark.slow]

TRY = """
import json, os, sys
from aot_build.backends.tracing.imprints import IMPRINTS
from aot_build.execute.preload import attempt
sys.path.insert(0, sys.argv[1])
found = {}
for name in sys.argv[2:]:
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, attempt(name, [IMPRINTS], trial=True).encode() or b" ")
        os._exit(0)
    found[name] = os.read(reader, 9999).decode().strip()
print(json.dumps(found))
"""
PROBING = {
    "asks": "import torch\nON_GPU = torch.cuda.is_available()",
    "asks_triton": "from triton.runtime.driver import driver\n"
    "try: driver.active\nexcept RuntimeError: pass",
    "reads_version": "import torch\nIS_HIP = torch.version.hip is not None",
    "keeps": "import torch\nfrom torch.cuda import get_device_capability",
    "keeps_creator": "from torch import zeros as fill",
    "uses": "import torch\ndef f(): return torch.cuda.is_available(), torch.zeros(1)",
}


def test_who_probes(fresh_python: Callable[..., str], tmp_path: Path) -> None:
    for name, text in PROBING.items():
        (tmp_path / f"{name}.py").write_text(text)
    modules = (*PROBING, "torch", "triton", "numpy", "einops")
    found = json.loads(fresh_python(TRY, tmp_path, *modules, OPENBLAS_NUM_THREADS="1"))
    assert found == {
        "asks": "asks torch.cuda.is_available",
        "asks_triton": "asks triton's driver",
        "reads_version": "asks torch.version.hip",
        "keeps": "keeps torch.cuda.get_device_capability",
        "keeps_creator": "keeps torch.zeros",
        **dict.fromkeys(("uses", "torch", "triton", "numpy", "einops"), ""),
    }


def test_fla_and_liger_are_refused(fresh_python: Callable[..., str], tmp_path: Path) -> None:
    modules = ("fla.ops", "liger_kernel.ops")
    found = json.loads(fresh_python(TRY, tmp_path, *modules, OPENBLAS_NUM_THREADS="1"))
    assert all(reason.startswith(("asks ", "keeps ")) for reason in found.values()), found
