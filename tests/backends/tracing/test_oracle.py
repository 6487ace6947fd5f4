"""Nothing that the kernel saw inside a project is missing in the tracer's log."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aot_build.backends.tracing import library, records
from tests.backends.tracing.straced import calls, strace
from tests.backends.tracing.traced import Tracer

pytestmark = pytest.mark.compiler


def _permitted() -> bool:
    """Whether one may look at other processes' calls here; containers often forbid it."""
    if not shutil.which("strace"):
        return False
    return (
        subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0
    )


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    if not _permitted():
        pytest.skip("needs strace, and leave to trace")


def missing(tracer: Tracer, tmp_path: Path, command: list[str], at_least: int) -> list[str]:
    """Run it under both at once; what strace saw below the folder and the tracer did not tell."""
    env = tracer.env(PYTHONPATH="", TMPDIR=str(tracer.folder / "tmp"))
    (tracer.folder / "tmp").mkdir()
    changed = {name: value for name, value in env.items() if os.environ.get(name) != value}
    strace(command, tracer.folder, tmp_path / "strace", changed)
    log = records.read(tracer.log_path)
    assert log.whole, log.reason
    assert not [path for kind, path in log.records if kind == "u"]
    told: dict[str, str] = {}
    for kind, path in log.records:
        told[os.path.normpath(path)] = told.get(os.path.normpath(path), "") + kind
    lacking, seen = set(), set()
    for call in calls(tmp_path / "strace", tracer.folder, tracer.log_path):
        path = os.path.normpath(call.path)
        if path == str(tracer.folder) or path.startswith(f"{tracer.folder}/"):
            seen.add((call.kinds, path))
            if not set(call.kinds) & set(told.get(path, "")):
                name = os.path.relpath(path, tracer.folder)
                lacking.add(f"{call.name} {call.error} {name}: {call.kinds}, {told.get(path)}")
    assert len(seen) >= at_least, "strace was not understood"
    return sorted(lacking)


COMPILES = """
set -e
g++ -x c++-header pre/pre.hpp -o pre/pre.hpp.gch
g++ -c a.cpp -Iearly -isystem late -iquote quote -Inone -include forced.hpp -I. -o out/a.o -MD
g++ -c b.cpp -Iearly -Ilate -include pre/pre.hpp -save-temps=obj -g -o out/b.o
ar rcs lib/libb.a out/b.o
g++ @words.rsp
ln -s ../out/a.so lib/link.so
g++ -shared -fPIC -flto -O1 -x c++ -Iearly -Ilate empty.cpp -o out/lto.so
cp -r out copy && mv copy/a.so moved.so && rm -r copy
if test -e absent.h; then exit 1; fi
"""
EMBEDDED = 'asm(".section .rodata\\n.incbin \\"blob.bin\\"\\n.text");\n'
SOURCES = {
    "a.cpp": '#include <both.hpp>\n#include "own.hpp"\n#if __has_include(<maybe.hpp>)\n#endif\n'
             f"{EMBEDDED}int a() {{ return B + OWN; }}\n",
    "b.cpp": "#include <both.hpp>\nint b() { return B + PRE; }\n",
    "empty.cpp": "#include <both.hpp>\nint c() { return B; }\n",
    "forced.hpp": "#define FORCED 1\n",
    "quote/own.hpp": "#define OWN 1\n",
    "late/both.hpp": "#pragma once\n#include <vector>\n#define B 1\n",
    "early/other.hpp": "",
    "pre/pre.hpp": "#define PRE 1\n",
    "blob.bin": "bytes",
    "words.rsp": "-shared -fPIC -o out/a.so out/a.o -Lempty -Llib -lb -Wl,-rpath,/none",
    "lib/README": "", "empty/README": "", "out/README": "",
}  # fmt: skip


def test_cpp(tracer: Tracer, tmp_path: Path) -> None:
    """Headers in several folders, absent ones, a precompiled one; assembler, linker, LTO."""
    for name, content in SOURCES.items():
        tracer.write(name, content)
    assert missing(tracer, tmp_path, ["sh", "-c", COMPILES], 60) == []


SCRIPT = """
set -e
mkdir -p deep/er out
ls -lR . > listing
find . -name '*.txt' -newer listing | sort > found
for each in deep/*.txt none*.txt *; do test -e "$each" || true; done
cat in.txt | sort | tee out/sorted > /dev/null
readlink -f link; realpath link; cp -p in.txt out/copy; install -m 755 in.txt out/installed
mv out/copy out/moved; ln out/moved out/hard; ln -sf moved out/soft; touch -d @0 out/new
chmod 600 out/new; cmp in.txt out/moved; sed -i s/a/b/ out/moved; tar cf out/all.tar in.txt deep
mktemp -d > out/name; grep -r line . > /dev/null; head -c 3 < in.txt; rm -rf deep
du -s . > /dev/null; make -s -f rules out/made; env -i /bin/sh -c 'test -e gone || ls out'
"""


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell(shell: str, tracer: Tracer, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    tracer.write("in.txt", "line\n")
    tracer.write("rules", "-include none.mk\nout/made: in.txt $(wildcard *.zip)\n\tcp $< $@\n")
    (tracer.folder / "link").symlink_to("in.txt")
    assert missing(tracer, tmp_path, [shell, "-c", SCRIPT], 50) == []


WORKER = """
import ctypes, ctypes.util, glob, os, pathlib, shutil, sqlite3, subprocess, sys, tempfile, zipfile
sys.path.insert(0, os.getcwd())
import package.module
try:
    import package.gone
except ImportError:
    pass
os.stat('package'); os.path.exists('none'); os.listdir('.'); list(os.scandir('package'))
pathlib.Path('package').resolve(); os.path.realpath('package/../none/x'); glob.glob('**/*.py')
list(os.walk('.')); open('new', 'x').close(); open('new', 'r+').close(); open('new', 'a').close()
os.replace('new', 'newer'); shutil.copytree('package', 'copy'); shutil.rmtree('copy')
with tempfile.NamedTemporaryFile() as file, zipfile.ZipFile(file, 'w') as archive:
    archive.write('newer')
base = sqlite3.connect('base.db'); base.execute('create table t (x)'); base.commit(); base.close()
folder = os.open('package', os.O_RDONLY); os.open('module.py', os.O_RDONLY, dir_fd=folder)
os.stat('none', dir_fd=folder) if os.access('none', os.F_OK, dir_fd=folder) else os.listdir(folder)
subprocess.run(['cat', 'newer'], check=True); subprocess.run('cat none*', shell=True)
subprocess.run([sys.executable, '-c', 'import package.module'], env={'PYTHONPATH': '.'}, check=True)
if not os.fork():
    open('newer').close()
    os.chdir('package'); open('module.py').close()
    os._exit(0)
os.wait()
try:
    ctypes.CDLL('./none.so')
except OSError:
    pass
"""


def test_python(tracer: Tracer, tmp_path: Path) -> None:
    """Imports, walks, temporary files, a database, children by each way."""
    tracer.write("package/__init__.py")
    tracer.write("package/module.py", "x = 1\n")
    assert missing(tracer, tmp_path, [sys.executable, "-c", WORKER], 45) == []


@pytest.mark.nvcc
@pytest.mark.slow
def test_nvcc(tracer: Tracer, tmp_path: Path) -> None:
    tracer.write("k.cu", '#include <h.cuh>\n#if __has_include("no.cuh")\n#endif\n'
                         "__global__ void k(float *x) { *x = H; }\n")  # fmt: skip
    tracer.write("late/h.cuh", "#define H 1.f\n")
    tracer.write("early/README")
    command = ["nvcc", "-cubin", "-arch=sm_90", "-Iearly", "-Ilate", "k.cu", "-o", "k.cubin"]
    assert missing(tracer, tmp_path, command, 10) == []


KERNEL = """
import triton
import triton.language as tl

@triton.jit
def add(x, n, B: tl.constexpr):
    o = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(x + o, tl.load(x + o, mask=o < n) + 1, mask=o < n)
"""
COMPILE = """
import sys
sys.path.insert(0, '.')
import kernel, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
source = ASTSource(kernel.add, {'x': '*fp32', 'n': 'i32', 'B': 'constexpr'}, {(2,): 128})
triton.compile(source, target=GPUTarget('cuda', 90, 32))
"""


@pytest.mark.triton
@pytest.mark.slow
def test_triton(tracer: Tracer, tmp_path: Path) -> None:
    """It writes its cache below the project, and starts ptxas."""
    tracer.write("kernel.py", KERNEL)
    words = ["env", "TRITON_CACHE_DIR=triton", sys.executable, "-c", COMPILE]
    assert missing(tracer, tmp_path, words, 20) == []


def test_the_oracle_sees_what_is_missing(tracer: Tracer, tmp_path: Path) -> None:
    """A program that asks the kernel itself passes the tracer by."""
    script = (
        "import ctypes; ctypes.CDLL(None).syscall(257, -100, b'in.txt', 0, 0);"
        "ctypes.CDLL(None).syscall(257, -100, b'none', 0, 0)"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("knows the number of openat on x86_64 alone")
    tracer.write("in.txt")
    found = missing(tracer, tmp_path, [sys.executable, "-c", script], 2)
    assert found == ["openat  in.txt: rxu, None", "openat ENOENT none: a, None"]
    assert library.LOG_VARIABLE == "AOT_TRACE_LOG"
