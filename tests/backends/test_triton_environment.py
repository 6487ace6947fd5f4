"""What of the environment changes Triton's output is keyed, kept from it, or told to do nothing."""

import os
import subprocess
import sys

import pytest

from aot_build.backends.triton.backend import FILE_ENV, KEYED_ENV, UNSET_ENV

pytestmark = pytest.mark.triton

SET_BY_US = {"TRITON_DEFAULT_FP_FUSION", "TRITON_DISABLE_LINE_INFO"}
ONLY_TELLS = {
    "AMDGCN_ENABLE_DUMP", "LLVM_ENABLE_TIMING", "LLVM_IR_ENABLE_DUMP",
    "MLIR_DISABLE_MULTITHREADING", "MLIR_DUMP_PATH", "MLIR_ENABLE_DIAGNOSTICS", "MLIR_ENABLE_DUMP",
    "MLIR_ENABLE_TIMING", "NVPTX_ENABLE_DUMP", "TRITON_DUMP_MIR", "TRITON_ENABLE_LLVM_DEBUG",
    "TRITON_LLVM_DEBUG_ONLY",
    "TRITON_PARTITION_SCHEDULING_DUMP_DATA_ONLY", "TRITON_PARTITION_SCHEDULING_DUMP_LOOP_ONLY",
    "TRITON_PARTITION_SCHEDULING_ENABLE_DUMP_DOT", "TRITON_PLUGIN_VERSION_CHECK",
}  # fmt: skip
ASK = """
import os, re
from triton._C import libtriton
code = open(libtriton.__file__, "rb").read()
for name in set(re.findall(rb"(?<=\\0)[A-Z][A-Z0-9_]{5,60}(?=\\0)", code)):
    os.environ.setdefault(name.decode(), "1")
print(*libtriton.get_cache_invalidating_env_vars())
"""


def test_each_variable_of_tritons_own_key_is_accounted_for() -> None:
    """Triton says itself which variables its keys hold, of those that are set."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON", "LLVM", "MLIR"))}
    said = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True)
    named = set(said.stdout.split())
    assert "DISABLE_LLVM_OPT" in named, said.stderr
    assert named <= {*KEYED_ENV, *FILE_ENV, *UNSET_ENV, *SET_BY_US, *ONLY_TELLS}


def test_what_is_preloaded_can_be_compiled_whatever_the_environment() -> None:
    ask = (
        "import os, aot_build.backends.triton.preloaded, triton.language as tl;"
        "print(type(tl.zeros).__name__, os.environ['TRITON_INTERPRET'])"
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    said = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True)
    assert said.stdout.split() == ["JITFunction", "1"], said.stderr
