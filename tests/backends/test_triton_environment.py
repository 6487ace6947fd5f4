"""What of the environment changes Triton's output is keyed, kept from it, or told to do nothing."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aot_build.backends.triton.backend import BACKEND
from aot_build.backends.triton.environment import KNOWN, UNKEYED, counted
from aot_build.core.action import Action
from aot_build.core.configuration import Configuration
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.roles import Roles
from aot_build.core.target import parse_target
from aot_build.core.toolchain import Toolchain

pytestmark = pytest.mark.triton

ONLY_TELLS = {
    "AMDGCN_ENABLE_DUMP", "LLVM_ENABLE_TIMING", "LLVM_IR_ENABLE_DUMP",
    "MLIR_DISABLE_MULTITHREADING", "MLIR_DUMP_PATH", "MLIR_ENABLE_DIAGNOSTICS", "MLIR_ENABLE_DUMP",
    "MLIR_ENABLE_TIMING", "NVPTX_ENABLE_DUMP",
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
    assert named <= {*KNOWN, *UNKEYED, *ONLY_TELLS}


def test_each_knob_is_accounted_for() -> None:
    """What begins like a name of Triton's is keyed, unless it is known to change nothing."""
    ask = (
        "from triton import knobs; print(*(d.key for found in vars(knobs).values() if isinstance("
        "found, knobs.base_knobs) for d in found.knob_descriptors.values()))"
    )
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    named = {name for name in said.stdout.split() if name != "CC"}
    assert {"TRITON_PTXAS_PATH", "TRITON_CACHE_DIR"} <= named, said.stderr
    assert named <= {*KNOWN, *UNKEYED, *ONLY_TELLS}


def test_what_is_preloaded_can_be_compiled_whatever_the_environment() -> None:
    ask = (
        "import os, aot_build.backends.triton.preloaded, triton.language as tl;"
        "print(type(tl.zeros).__name__, os.environ['TRITON_INTERPRET'])"
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    said = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True)
    assert said.stdout.split() == ["JITFunction", "1"], said.stderr


# What a key holds


def action(env: Mapping[str, str], target: str = "cuda:sm_90", **declared: str) -> Action:
    """The action of a variant in an environment, and with what its kernel declares."""
    where = parse_target(target)
    spec = KernelSpec("kern", "triton", ("m:f",), (where,), env=tuple(declared.items()))
    variant = Variant(spec, (), where, source=("m:f",), findings=(("launch", "{}"),))
    roles = Roles({"project": "/work/demo"})
    toolchain = Toolchain("triton", "3", "d" * 32)
    return BACKEND.action(variant, Configuration(toolchain, "release", roles, env=env))


def test_names_that_nobody_knows_are_keyed() -> None:
    plain = action({})
    assert plain.env == ()
    assert dict(action({"TRITON_NEXT_YEARS_KNOB": "1"}).env) == {"TRITON_NEXT_YEARS_KNOB": "1"}
    assert action({"TRITON_DEBUG": ""}) != plain, "empty is a value"
    for name in UNKEYED:
        assert action({name: "/somewhere"}) == plain, name
    assert action({"SOME_TRITON_THING": "1", "HOME": "/x", "MLIR_ENABLE_DUMP": "1"}) == plain


def test_each_maker_has_its_own() -> None:
    nvidia, amd = {"PTXAS_OPTIONS": "-v", "DISABLE_PTXAS_OPT": "1"}, {"AMDGCN_USE_BUFFER_OPS": "0"}
    assert dict(action({**nvidia, **amd}).env) == nvidia
    assert dict(action({**nvidia, **amd}, "hip:gfx942").env) == amd


def test_files_that_variables_name_are_inputs(tmp_path: Path) -> None:
    tool, plugin = tmp_path / "bin" / "my-ptxas", tmp_path / "plug.so"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    plugin.write_text("")
    for env, wanted in (
        ({"TRITON_PTXAS_PATH": str(tool)}, {tool}),
        ({"TRITON_PTXAS_BLACKWELL_PATH": str(tool)}, {tool}),
        ({"TRITON_PTXAS_PATH": "my-ptxas", "PATH": f"/x:{tool.parent}"}, {tool}),
        ({"TRITON_PLUGIN_PATHS": f"{plugin}:/absent.so:{tool}"}, {plugin, tool}),
        ({"LLVM_PASS_PLUGIN_PATH": str(plugin)}, {plugin}),
        ({"TRITON_PTXAS_PATH": "/absent/ptxas"}, set()),
    ):
        found = {path for path, _ in action(env).inputs}
        assert found == {f"{{system}}{path}" for path in wanted}
        named = {name: value for name, value in env.items() if name != "PATH"}
        assert dict(action(env).env) == named
        declared = action({"PATH": env.get("PATH", "")}, **named)
        assert {path for path, _ in declared.inputs} == found
    assert action({"TRITON_PTXAS_PATH": str(tool)}, "hip:gfx942").inputs == ()


def test_unset_names_are_watched() -> None:
    class Noting(dict[str, str]):
        asked: ClassVar[set[str]] = set()

        def get(self, name: str, default: Any = None) -> Any:
            self.asked.add(name)
            return super().get(name, default)

    action(Noting())
    assert {"PTXAS_OPTIONS", "TRITON_F32_DEFAULT", "TRITON_PTXAS_PATH"} <= Noting.asked


def test_what_was_looked_up_and_changes_nothing_is_left_out() -> None:
    """Triton looks for these where it compiles: unset in one build, they may be set in the next."""
    assert not counted(("TRITON_ALWAYS_COMPILE", "MLIR_ENABLE_DUMP", "TRITON_CACHE_DIR"))
    kept = ("DISABLE_LLVM_OPT", "SOMEBODY_S_OWN", "TRITON_YOUNG_OPTION")
    assert counted(kept) == kept
