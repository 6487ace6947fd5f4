"""install() and ordinary Triton launches: what is shipped is served, and nothing compiles."""

import json
import shutil
from pathlib import Path

import pytest

from aot_build.core.manifest import manifest_text
from tests.runtime.packages import INSTALL, Package

pytestmark = [pytest.mark.triton, pytest.mark.slow]


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
