"""Kernel tables with their defaults and overrides."""

import platform
import sys

import pytest

from aot_build.core.target import Target
from aot_build.errors import InputError

EXAMPLE = """
package = "demo"
targets = ["cpu", "cuda:sm_90a", "hip:gfx942"]
mode = "release"
cache-dir = "cache"

[tool.aot-build.defaults.triton]
enable-fp-fusion = true

[[tool.aot-build.kernels]]
name = "scale"
backend = "cpp"
source = "demo/scale.cpp"
include-dirs = ["demo/include", "{package:tvm_ffi}/include"]
configs = ["demo/scale.csv", { T = "float", BLOCK = [64, 128] }]
targets = ["cpu"]
flags = ["-O3"]
env = { DEMO_HOME = "{project}" }
timeout = 1200

[[tool.aot-build.kernels]]
name = "matmul"
backend = "triton"
source = "demo.kern:matmul"
signature = { a = "*{dtype}:16", M = "i32", K = "i32:16" }
configs = [{ dtype = "fp16", BM = 128, num_warps = 4 }]
"""
CPU, SM80, SM90 = Target("cpu"), Target("cuda", "sm_80"), Target("cuda", "sm_90a")
GFX = Target("hip", "gfx942")


def kernel(text: str, name: str = "a", backend: str = "cpp") -> str:
    return f"""
[[tool.aot-build.kernels]]
name = "{name}"
backend = "{backend}"
source = "a.cpp"
{text}
"""


def test_the_documented_example(project):
    scale, matmul = project.write(EXAMPLE).load().kernels
    assert scale.source == ("demo/scale.cpp",) and scale.targets == (CPU,)
    assert scale.configs == ("demo/scale.csv", (("T", "float"), ("BLOCK", (64, 128))))
    assert scale.env == (("DEMO_HOME", "{project}"),) and scale.timeout == 1200
    assert scale.include_dirs == ("demo/include", "{package:tvm_ffi}/include")
    assert matmul.targets == (SM90, GFX)
    options = dict(matmul.options)
    assert options["enable-fp-fusion"] is True
    assert dict(options["signature"]) == {"a": "*{dtype}:16", "M": "i32", "K": "i32:16"}
    assert len({scale, matmul}) == 2  # hashable


def test_defaults_before_the_kernels_own(project):
    text = """
[tool.aot-build.defaults.cpp]
flags = ["-O2"]
source = ["z.cpp"]
env = { A = "1", B = "2" }
retries = 5
standard = "c++20"
"""
    (spec,) = (
        project.write(text + kernel('flags = ["-g"]\nenv = { B = "3" }\nretries = 1'))
        .load()
        .kernels
    )
    assert spec.flags == ("-O2", "-g") and spec.source == ("a.cpp",)
    assert spec.env == (("A", "1"), ("B", "3")) and spec.retries == 1
    assert dict(spec.options) == {"standard": "c++20", "openmp": False}


def test_lists_that_stand_alone(project):
    text = """
[tool.aot-build.defaults.cpp]
source = ["z.cpp"]
targets = ["cpu"]
"""
    own = """
[[tool.aot-build.kernels]]
name = "a"
backend = "cpp"
source = ["a.cpp", "b.cpp"]
targets = ["cpu:x86-64-v3"]
"""
    (spec,) = project.write('targets = ["cpu", "cpu:x86-64-v3"]' + text + own).load().kernels
    assert spec.source == ("a.cpp", "b.cpp")
    assert spec.targets == (Target("cpu", "x86-64-v3"),)


def override(condition: str, text: str) -> str:
    return f"[[tool.aot-build.overrides]]\nif = {{ {condition} }}\n{text}\n"


def test_overrides_that_hold_here_and_elsewhere(project):
    here = f'platform = "{sys.platform[:3]}*", machine = "{platform.machine()}"'
    text = (
        'mode = "fast"\njobs = 1\n'
        + override(here, 'mode = "debug"\ndefaults = { cpp = { flags = ["-g"] } }')
        + override('platform = "plan9"', "jobs = 9")
        + override(here, "retries = 7")
        + override('machine = "pdp11"', 'mode = "tune"')
        + kernel('flags = ["-O1"]')
    )
    found = project.write(text).load()
    assert (found.mode, found.jobs, found.retries) == ("debug", 1, 7)
    assert found.kernels[0].flags == ("-g", "-O1")


def test_target_override_splits_a_kernel(project):
    text = (
        'targets = ["cuda:sm_80", "hip:gfx942", "cuda:sm_90a"]\n'
        + override('target = "cuda:*"', 'timeout = 60\nmemory = "1GiB"')
        + override('target = "hip:*"', 'defaults = { triton = { flags = ["-x"] } }')
        + kernel("", backend="triton")
        + kernel("timeout = 5\nmemory = 7", "b", "triton")
    )
    a_cuda, a_hip, b_cuda, b_hip = project.write(text).load().kernels
    assert a_cuda.name == a_hip.name == "a"
    assert a_cuda.targets == (SM80, SM90) and a_hip.targets == (GFX,)
    assert (a_cuda.timeout, a_cuda.memory, a_cuda.flags) == (60, 1 << 30, ())
    assert (a_hip.timeout, a_hip.memory, a_hip.flags) == (None, None, ("-x",))
    assert (b_cuda.timeout, b_cuda.memory) == (5, 7) and b_hip.timeout == 5


def test_target_override_of_another_platform(project):
    text = override('target = "cpu", platform = "plan9"', "timeout = 60") + kernel("")
    assert project.write(text).load().kernels[0].timeout is None


def test_equal_override_does_not_split(project):
    text = 'targets = ["cuda:sm_80", "hip:gfx942"]\n' + override('target = "cuda:*"', "timeout = 5")
    (spec,) = project.write(text + kernel("timeout = 5", backend="triton")).load().kernels
    assert spec.targets == (SM80, GFX)


def test_limits_said_for_this_build_replace_the_kernels(project):
    project.write("timeout = 9" + kernel("timeout = 5\nretries = 4\nmemory = 10"))
    spec = project.load().kernels[0]
    assert (spec.timeout, spec.retries, spec.memory) == (5, 4, 10)
    env = {"AOT_BUILD_TIMEOUT": "1", "AOT_BUILD_RETRIES": "0", "AOT_BUILD_MEM_PER_WORKER": "1KB"}
    spec = project.load(env=env).kernels[0]
    assert (spec.timeout, spec.retries, spec.memory) == (1, 0, 1000)


def test_unserved_and_not_enabled_kernels_are_noted(project):
    text = kernel("", "x", "triton") + kernel('targets = ["cpu:x86-64-v3"]', "y") + kernel("", "z")
    found = project.write(text).load()
    assert [k.name for k in found.kernels] == ["z"]
    assert [*found.unserved] == ["x", "y"]
    assert found.unserved["x"].startswith("kernel 'x' (triton) is not built")


ERRORS = [
    ("jbos = 3", "unknown key 'jbos'", "tool.aot-build.jbos", "'jobs'"),
    ("jobs = 'x'", "jobs: expected integer, found string", "tool.aot-build.jobs", None),
    ("jobs = true", "jobs: expected integer, found boolean", "tool.aot-build.jobs", None),
    ("mode = 'relase'", "unknown mode 'relase'", "tool.aot-build.mode", "'release'"),
    ("targets = 'cpu'", "targets: expected list, found string", "tool.aot-build.targets", None),
    ("targets = [1]", "targets: expected string", "tool.aot-build.targets[0]", None),
    (kernel("") + kernel("sorce = 1", "b"), "unknown key 'sorce'", "kernels[1].sorce", "'source'"),
    (kernel("outputs = []"), "unknown key 'outputs'", "kernels[0].outputs", None),
    (kernel("", backend="ccp"), "unknown backend 'ccp'", "kernels[0].backend", "'cpp'"),
    (kernel("openmp = 'yes'"), "openmp: expected boolean", "kernels[0].openmp", None),
    (kernel("", name="1x"), "not a kernel name", "kernels[0].name", None),
    (kernel("") + kernel(""), "two kernels are named 'a'", "kernels[1].name", None),
    (kernel("configs = [1]"), "configs: expected string or table", "kernels[0].configs[0]", None),
    (kernel("configs = [{A={B=1}}]"), "not a value of a row", "kernels[0].configs[0].A", None),
    (kernel("configs = [{A=nan}]"), "not a value of a row", "kernels[0].configs[0].A", None),
    (kernel("configs = [{A=1979-05-27}]"), "not a value of a row", "configs[0].A", None),
    (kernel("env = {A='{projct}'}"), "unknown placeholder {projct}", "env.A", "'project'"),
    (kernel("env = {A=1}"), "env: expected string", "kernels[0].env", None),
    (kernel("env = {'A=B'='x'}"), "not the name of a variable", "kernels[0].env", None),
    (kernel("timeout = 0"), "timeout: expected number > 0", "kernels[0].timeout", None),
    (kernel("memory = '2 pigs'"), "not an amount of memory", "kernels[0].memory", None),
    (kernel("targets = ['cuda:sm_80']"), "backend 'cpp' cannot serve", "kernels[0].targets", None),
    ("[[tool.aot-build.kernels]]\nname = 'a'", "'backend' is missing", "kernels[0]", None),
    ("[[tool.aot-build.kernels]]\nname = 'a'\nbackend = 'cpp'", "has no source", "[0]", None),
    ("[tool.aot-build.defaults.ccp]", "unknown backend 'ccp'", "defaults.ccp", "'cpp'"),
    ("[tool.aot-build.defaults.cpp]\nflgs = []", "unknown key", "defaults.cpp.flgs", "'flags'"),
    ("[tool.aot-build.defaults.cpp]\nname = 'x'", "unknown key", "defaults.cpp.name", None),
    ("[[tool.aot-build.overrides]]\njobs = 1", "'if' is missing", "overrides[0]", None),
    (override("os = 'x'", ""), "unknown key 'os'", "overrides[0].if.os", None),
    (override("target = 'cuda:*'", "jobs = 1"), "'jobs' has no meaning", "[0].jobs", None),
    (override("platform = '*'", "memory = 1"), "'memory' has no meaning", "[0].memory", None),
    (override("platform = '*'", "kernels = []"), "unknown key", "overrides[0].kernels", None),
    (
        override("platform = 'plan9'", "defaults = {cpp = {flgs = 1}}"),
        "unknown key 'flgs'",
        "overrides[0].defaults.cpp.flgs",
        "'flags'",
    ),
    (
        override("target = '*'", "defaults = {cpp = {targets = ['cpu']}}"),
        "'targets' has no meaning",
        "overrides[0].defaults.cpp.targets",
        None,
    ),
]


@pytest.mark.parametrize(("text", "message", "key", "near"), ERRORS)
def test_errors_name_file_key_and_nearest_word(project, text, message, key, near):
    with pytest.raises(InputError) as caught:
        project.write(text).load()
    error = caught.value
    assert message in error.message
    assert key in error.fields["key"] and "pyproject.toml" in error.fields["file"]
    assert near is None or near in (error.hint or "")


def test_an_error_whole(project):
    with pytest.raises(InputError) as caught:
        project.write(kernel("") + kernel('\nsorce = "x"', "b")).load()
    assert str(caught.value) == (
        "unknown key 'sorce' (input)\n"
        "  file:    pyproject.toml:16\n"
        "  key:     tool.aot-build.kernels[1].sorce\n"
        "  backend: cpp\n"
        "hint: did you mean 'source'?"
    )


def test_key_of_another_backend_says_whose(project):
    with pytest.raises(InputError) as caught:
        project.write(kernel("signature = {}")).load()
    assert caught.value.fields["note"] == "a key of the backend triton"


def test_unknown_target_names_its_place(project):
    with pytest.raises(InputError) as caught:
        project.write(kernel('targets = ["cpu:x86-64-v9"]')).load()
    assert "pyproject.toml:9 tool.aot-build.kernels[0].targets" in caught.value.fields["where"]
    with pytest.raises(InputError, match="unknown target 'cuda:sm_90b'") as caught:
        project.write('targets = ["cuda:sm_90b"]').load()
    assert "pyproject.toml:4" in caught.value.fields["where"]


def test_braces_that_are_no_placeholder_are_left_alone(project):
    (spec,) = (
        project.write(kernel("""env = { A = '{"x": 1}', B = "{out_dir}/{target}" }"""))
        .load()
        .kernels
    )
    assert spec.env == (("A", '{"x": 1}'), ("B", "{out_dir}/{target}"))


def test_files_that_are_no_toml(project, loader):
    file = project.folder / "pyproject.toml"
    file.write_text("[tool.aot-build\n")
    with pytest.raises(InputError, match="not valid TOML"):
        loader(project.folder)
    file.write_bytes(b"# \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        loader(project.folder)
    file.write_text("[tool]\naot-build = 3\n")
    with pytest.raises(InputError, match="expected a table"):
        loader(project.folder)


@pytest.mark.parametrize("name", ["manifest.json", "__init__.py", "__pycache__", "Manifest.JSON"])
def test_names_that_the_result_folder_needs_itself(project, name):
    with pytest.raises(InputError, match="a kernel cannot be named") as caught:
        project.write(kernel("", name)).load()
    assert repr(name) in caught.value.message and "rename it" in caught.value.hint
    assert "kernels[0].name" in str(caught.value)


def test_names_near_those_are_free(project):
    text = kernel("", "manifest") + kernel("", "__init__") + kernel("", "manifest.json.so")
    assert len(project.write(text).load().kernels) == 3
