"""Triton launches that are not shipped: Triton compiles them, or in strict mode they say why."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.manifest import manifest_text
from tests.runtime.packages import HERE, Package

pytestmark = [pytest.mark.triton, pytest.mark.slow]

SERVED = """
    kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
    print(gpu.compiles)
"""
STRICT = """
    try:
        kern.{function}[(1,)]({args})
    except _aot.KernelNotFound as error:
        print(error)
    assert nothing_compiled()
"""


def strictly(package: Package, args: str, function: str = "scale", **more: Any) -> str:
    code = STRICT.format(function=function, args=args)
    text = package.run(code, AOT_RUNTIME="strict", **more)
    return text.replace(f"a launch of shipping.kern:{function} would compile anew: ", "")


def other_version(variant: dict[str, Any]) -> None:
    variant["metadata"]["triton"]["version"] = "3.0.0"


def test_another_version_of_triton_compiles(package: Package) -> None:
    package.edit(other_version)
    assert package.run(SERVED) == "['scale']"
    assert strictly(package, "aligned, aligned, 1024, BLOCK=64").startswith(
        "it was compiled by Triton 3.0.0, this is 3."
    )


@pytest.mark.parametrize("edit", ["x * 2", "at < n"])
def test_an_edited_function_compiles(package: Package, edit: str) -> None:
    """The function's own source, and that of one which it calls."""
    path = package.aot.parent / "kern.py"
    path.write_text(
        path.read_text().replace(edit, {"x * 2": "x * 4", "at < n": "at < n + 0"}[edit])
    )
    assert package.run(SERVED) == "['scale']"
    expected = "its source, or a function that it calls, is not what was compiled"
    assert strictly(package, "aligned, aligned, 1024, BLOCK=64") == expected


def test_another_target_compiles(built: Package) -> None:
    assert built.run(SERVED, ("cuda", 80)) == "['scale']"
    told = strictly(built, "aligned, aligned, 1024, BLOCK=64", gpu=("cuda", 80))
    assert told == "it is shipped for cuda:sm_90a, hip:gfx942, this is cuda:80"


def test_another_specialisation_compiles(built: Package) -> None:
    code = "kern.scale[(1,)](aligned, aligned, 1024, BLOCK=128); print(gpu.compiles, gpu.hooked)"
    assert built.run(code) == "['scale'] ['scale']"
    assert strictly(built, "aligned, Tensor('fp32'), 1000, BLOCK=64, num_warps=8") == (
        "no such specialisation is shipped\n"
        '  the nearest differs in option num_warps: 8 here, 4 there; y: "*fp32" here, "*fp16" there'
    )
    assert strictly(built, "aligned, 1024, kern.thrice, BLOCK=64", function="apply") == (
        "no such specialisation is shipped\n  the nearest differs in "
        'change: constexpr {"jit_function": "shipping.kern:thrice"} here, '
        'constexpr {"jit_function": "shipping.kern:twice"} there'
    )


def test_what_a_variant_assumes_and_a_launch_lacks_compiles(package: Package) -> None:
    package.edit(lambda v: v["files"].clear() if v["row"]["number"] == 1 else None)
    path = package.aot / "manifest.json"
    found = json.loads(path.read_text())
    del found["kernels"]["scale"]["variants"][1::2]
    path.write_text(manifest_text(found))
    assert strictly(package, "aligned, loose, 1024, BLOCK=64") == (
        "no such specialisation is shipped\n  the nearest differs in y: tt.divisibility 16 there"
    )


def test_values_of_other_types_are_other_specialisations(built: Package) -> None:
    assert strictly(built, "aligned, aligned, 1024, BLOCK=64.0").endswith(
        "BLOCK: constexpr 64.0 here, constexpr 64 there"
    )


def test_an_edited_function_that_is_an_argument_compiles(package: Package) -> None:
    path = package.aot.parent / "kern.py"
    # What `apply` itself reaches stays as it is, and where it stands.
    path.write_text(path.read_text().replace("x * 2", "x * 4"))
    args = "aligned, 1024, kern.twice, BLOCK=64"
    assert package.run(f"kern.apply[(1,)]({args}); print(gpu.compiles)") == "['apply']"
    expected = "a function that it is passed, or one of Triton's that it names, is another one"
    assert strictly(package, args, function="apply") == expected


def test_another_function_of_triton_under_the_same_name_compiles(package: Package) -> None:
    """Triton's digest of a source does not tell which of its own functions a name stands for."""
    told = {"shipping.kern:rooted": {"root": "triton.language.math:sqrt"}}

    def change(variant: dict[str, Any]) -> None:
        variant["metadata"]["triton"]["builtins"] = told

    package.edit(change)
    args = "aligned, aligned, 1024, BLOCK=64"
    assert strictly(package, args) == ""
    told["shipping.kern:rooted"]["root"] = "triton.language.math:rsqrt"
    package.edit(change)
    assert package.run(SERVED) == "['scale']"
    expected = "a function that it is passed, or one of Triton's that it names, is another one"
    assert strictly(package, args) == expected


def test_what_is_not_shipped_compiles(built: Package) -> None:
    code = "kern.unshipped[(1,)](aligned, BLOCK=64); print(gpu.compiles)"
    assert built.run(code) == "['unshipped']"
    assert strictly(built, "aligned, BLOCK=64", function="unshipped") == "it is not shipped"


def test_functions_of_others_compile_in_strict_mode_too(built: Package, tmp_path: Path) -> None:
    shutil.copy(HERE / "kernels_to_ship.py", tmp_path / "shipping_more.py")
    code = f"""
        sys.path.append({str(tmp_path)!r})
        import shipping_more
        shipping_more.unshipped[(1,)](aligned, BLOCK=64)
        print(gpu.compiles)
    """
    assert built.run(code, AOT_RUNTIME="strict") == "['unshipped']"


def test_a_file_that_is_gone_compiles(package: Package) -> None:
    for path in package.aot.rglob("*.cubin"):
        path.unlink()
    assert package.run(SERVED) == "['scale']"
    told = strictly(package, "aligned, aligned, 1024, BLOCK=64")
    assert told.startswith("the shipped file cannot be read ([Errno 2]")


def test_who_asks_for_the_compiler_gets_it(built: Package) -> None:
    assert built.run(SERVED, TRITON_ALWAYS_COMPILE="1") == "['scale']"
    code = "knob = sys.modules['triton'].knobs.compilation\nknob.dump_ir = True\n" + STRICT.format(
        function="scale", args="aligned, aligned, 1024, BLOCK=64"
    ).replace("\n    ", "\n")
    assert "Triton's knob compilation.dump_ir is set" in built.run(code, AOT_RUNTIME="strict")
