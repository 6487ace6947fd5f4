"""install() and ordinary Triton launches: what is shipped is served, and nothing compiles."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.manifest import manifest_text
from tests.runtime.packages import lay_out

pytestmark = pytest.mark.triton
HERE = Path(__file__).parent
INSTALL = "from . import _aot\n\n_aot.install()\n"
BEGIN = """
import sys
import fake_gpu
from fake_gpu import Tensor
import shipping
from shipping import _aot
assert not {"triton", "torch"} & set(sys.modules), "imported by install"
gpu = fake_gpu.plug_in(*GPU)
from shipping import kern
aligned, loose = Tensor("fp16"), Tensor("fp16", 4098)
def nothing_compiled():
    return not gpu.compiles and not gpu.hooked and not fake_gpu.cached()
"""


class Package:
    """The package `shipping` in a folder of its own, and processes that import it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aot = root / "shipping" / "_aot"

    def copy(self, root: Path, name: str = "shipping") -> "Package":
        shutil.copytree(self.root / "shipping", root / name)
        return Package(root)

    def python(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        paths = [str(self.root), str(HERE), os.environ.get("PYTHONPATH", "")]
        cache = tempfile.mkdtemp(prefix="triton cache ", dir=self.root)
        found = subprocess.run(
            [sys.executable, *args],
            cwd=self.root,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "TRITON_CACHE_DIR": cache,
                "TRITON_DEFAULT_FP_FUSION": "1",
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found

    def run(self, code: str, gpu: object = ("cuda", 90), begin: str = BEGIN, **env: str) -> str:
        """What the code prints, in a process with that GPU."""
        script = begin.replace("GPU", repr(gpu)) + textwrap.dedent(code)
        return self.python("-W", "error", "-c", script, **env).stdout.strip()

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the metadata of every variant."""
        path = self.aot / "manifest.json"
        found = json.loads(path.read_text())
        for kernel in found["kernels"].values():
            for variant in kernel["variants"]:
                change(variant)
        path.write_text(manifest_text(found))

    def digest(self, kernel: str, number: int, target: str = "cuda:sm_90a") -> str:
        found = json.loads((self.aot / "manifest.json").read_text())
        variants = found["kernels"][kernel]["variants"]
        (variant,) = (v for v in variants if (v["target"], v["row"]["number"]) == (target, number))
        (file,) = variant["files"].values()
        return str(file["sha256"])


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Compiled once; nobody writes into it."""
    made = Package(tmp_path_factory.mktemp("built"))
    lay_out(made.aot)
    shutil.copy(HERE / "kernels_to_ship.py", made.aot.parent / "kern.py")
    (made.aot.parent / "__init__.py").touch()
    made.python(str(HERE / "ship_triton.py"), str(made.aot))
    (made.aot.parent / "__init__.py").write_text(INSTALL)
    return made


@pytest.fixture
def package(built: Package, tmp_path: Path) -> Package:
    return built.copy(tmp_path)


@pytest.mark.parametrize(
    ("gpu", "target"), [(("cuda", 90), "cuda:sm_90a"), (("hip", "gfx942"), "hip:gfx942")]
)
def test_launches_are_served(built: Package, gpu: object, target: str) -> None:
    printed = built.run(
        """
        for _ in range(3):
            kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
        kern.scale[(1,)](loose, loose, 1000, BLOCK=64)
        kern.scale[(1,)](aligned, loose, 1000, BLOCK=64)
        kern.apply[(1,)](aligned, 1024, kern.twice, BLOCK=64)
        kern.tuned[(1,)](aligned, 1024)
        assert kern.tuned.best_config.kwargs == {"BLOCK": 256}
        assert nothing_compiled()
        print(*gpu.launches)
        """,
        gpu,
    )
    aligned, loose, apply, *tuned = (
        built.digest(kernel, number, target)
        for number, kernel in enumerate(["scale", "scale", "apply", "tuned", "tuned", "tuned"])
    )
    # Code for any address serves an aligned one; the tuner launches its best once more.
    expected = [aligned, aligned, aligned, loose, loose, apply, *tuned, tuned[2]]
    assert printed.split() == expected


def test_a_launch_is_looked_up_once(built: Package) -> None:
    printed = built.run("""
        from shipping._aot import _triton
        find, asked = _triton._variants.find, []
        _triton._variants.find = lambda *args: asked.append(args) or find(*args)
        for _ in range(5):
            kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
            kern.scale[(1,)](aligned, aligned, 2048, BLOCK=64)
        gpu.device = 1
        kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
        print(len(asked), nothing_compiled(), len(kern.scale.device_caches[1][0]))
    """)
    assert printed == "2 True 1"


def test_a_warm_up_is_served_and_hands_back_the_binary(built: Package) -> None:
    printed = built.run("""
        kernel = kern.scale.warmup(aligned, aligned, 1024, BLOCK=64, grid=(1,))
        kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
        assert nothing_compiled() and len(gpu.launches) == 1
        assert kernel.metadata.num_warps == 4 and kernel.metadata.target.arch == 90
        assert kernel.hash == kernel.metadata.hash
        print(kernel.hash, *kernel.metadata_group)
    """)
    assert printed.split()[0] == built.digest("scale", 0)
    assert printed.endswith(".cubin")


@pytest.mark.parametrize(
    "order",
    [
        "import triton; import shipping; from shipping import kern",
        "import triton.runtime.jit; import shipping; from shipping import kern",
        "import shipping; import triton; from shipping import kern",
        "import shipping; from shipping import kern; import triton.compiler",
    ],
)
def test_the_order_of_imports_never_matters(package: Package, order: str) -> None:
    # The functions are there before the kernels are installed, or after.
    (package.aot.parent / "__init__.py").write_text(f"from . import _aot, kern\n\n{INSTALL}")
    for text in (INSTALL, f"from . import kern\n{INSTALL}"):
        (package.aot.parent / "__init__.py").write_text(text)
        printed = package.run(
            f"""
            import sys
            finders = list(sys.meta_path)
            {order}
            import fake_gpu
            gpu = fake_gpu.plug_in("cuda", 90)
            aligned = fake_gpu.Tensor("fp16")
            for _ in range(2):
                shipping._aot.install()
            kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
            import triton.runtime.autotuner as tuner
            assert sys.meta_path == finders and tuner.__loader__ is tuner.__spec__.loader
            assert type(tuner.__loader__).__name__ == "SourceFileLoader"
            from triton.runtime.jit import JITFunction
            hook = JITFunction._do_compile
            print(gpu.compiles, len(hook._aot_asked), hook.__name__)
            """,
            begin="",
        )
        assert printed == "[] 1 _do_compile"


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
    expected = "a function that is passed to it is not what was compiled"
    assert strictly(package, args, function="apply") == expected


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


def unlaunchable(number: int, text: str) -> Callable[[dict[str, Any]], None]:
    def change(variant: dict[str, Any]) -> None:
        if variant["row"]["number"] == number:
            variant["metadata"]["unlaunchable"] = text
            variant["files"] = {}

    return change


@pytest.mark.parametrize("mode", ["", "strict"])
def test_a_tuner_passes_over_what_the_target_cannot_launch(package: Package, mode: str) -> None:
    memory = "out of resource: shared memory, 300000 needed, 232448 there"
    threads = "out of resource: threads, 2048 needed (64 warps of 32), 1024 there"
    package.edit(unlaunchable(4, memory))
    package.edit(unlaunchable(5, threads))
    printed = package.run(
        """
        from triton.runtime.errors import OutOfResources
        for config in kern.tuned.configs[1:]:
            try:
                kern.tuned.fn[(1,)](aligned, 1024, **config.all_kwargs())
            except OutOfResources as error:
                print(error.name, error.required, error.limit)
        kern.tuned[(1,)](aligned, 1024)
        print(kern.tuned.best_config.kwargs, nothing_compiled())
        """,
        AOT_RUNTIME=mode,
    )
    assert printed.split("\n") == [
        "shared memory 300000 232448",
        "threads 2048 1024",
        "{'BLOCK': 64} True",
    ]


@pytest.mark.parametrize("kept", [[4], [3, 5]])
def test_a_tuner_keeps_to_the_configurations_that_were_kept(
    package: Package, kept: list[int]
) -> None:
    path = package.aot / "manifest.json"
    package.edit(lambda v: v["metadata"]["triton"].update(kept=True))
    found = json.loads(path.read_text())
    variants = found["kernels"]["tuned"]["variants"]
    variants[:] = [v for v in variants if v["row"]["number"] in kept]
    path.write_text(manifest_text(found))
    printed = package.run(
        """
        for n in (1024, 2048):
            kern.tuned[(1,)](aligned, n)
        print([c.kwargs["BLOCK"] for c in kern.tuned.configs], nothing_compiled())
        """,
        AOT_RUNTIME="strict",
    )
    assert printed == f"{[[64, 128, 256][number - 3] for number in kept]} True"
    # Of another target nothing was kept, so that nothing is left out.
    code = "kern.tuned[(1,)](aligned, 1024); print(len(kern.tuned.configs), len(gpu.compiles))"
    assert package.run(code, ("cuda", 80)) == "3 3"


def test_packages_are_asked_in_order(built: Package, tmp_path: Path) -> None:
    """Both ship a function of a third one: the first that has the specialisation serves it."""
    both = built.copy(tmp_path)
    for other in ("one", "two"):
        built.copy(tmp_path, other)
        (tmp_path / other / "__init__.py").write_text(INSTALL)
    shutil.rmtree(both.aot)
    (both.aot.parent / "__init__.py").write_text("")
    one = Package(tmp_path)
    one.aot = tmp_path / "one" / "_aot"
    path = one.aot / "manifest.json"
    found = json.loads(path.read_text())
    found["kernels"]["scale"]["variants"] = [
        v for v in found["kernels"]["scale"]["variants"] if v["row"]["number"] == 1
    ]
    del found["kernels"]["apply"]
    path.write_text(manifest_text(found))
    for order in ("one, two", "two, one"):
        printed = both.run(
            f"""
            import fake_gpu
            import {order}
            from triton.runtime.jit import JITFunction
            from shipping import kern
            gpu = fake_gpu.plug_in("cuda", 90)
            aligned = fake_gpu.Tensor("fp16")
            kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
            kern.apply[(1,)](aligned, 1024, kern.twice, BLOCK=64)
            assert not gpu.compiles and len(JITFunction._do_compile._aot_asked) == 2
            print(gpu.launches[0])
            """,
            begin="",
            AOT_RUNTIME="strict",
        )
        assert printed == built.digest("scale", 1 if order == "one, two" else 0)


def test_threads_and_children_are_served(built: Package) -> None:
    printed = built.run("""
        import os, signal, threading, warnings
        start = threading.Barrier(8)
        def launch():
            start.wait()
            kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
            kern.tuned.fn[(1,)](aligned, 1024, BLOCK=64, num_warps=1)
        threads = [threading.Thread(target=launch) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert nothing_compiled() and len(gpu.launches) == 16
        child = os.fork()
        if not child:
            signal.alarm(30)
            kern.scale[(1,)](loose, loose, 1000, BLOCK=64)
            os._exit(0 if nothing_compiled() and len(gpu.launches) == 17 else 1)
        print(os.waitpid(child, 0)[1])
    """)
    assert printed == "0"


def test_a_tree_that_cannot_be_written_serves_and_stays(package: Package) -> None:
    before = sorted(map(str, package.aot.parent.rglob("*")))
    code = "kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64); print(nothing_compiled())"
    assert package.run(code, PYTHONDONTWRITEBYTECODE="1") == "True"
    assert sorted(map(str, package.aot.parent.rglob("*"))) == before


def test_the_interpreter_is_left_alone(built: Package) -> None:
    pytest.importorskip("numpy")
    printed = built.run(
        """
        import shipping
        from shipping import kern
        from shipping._aot import _triton
        print(type(kern.scale).__name__, _triton._variants._of)
        """,
        begin="",
        TRITON_INTERPRET="1",
        AOT_RUNTIME="strict",
    )
    assert printed == "InterpretedFunction {}"
