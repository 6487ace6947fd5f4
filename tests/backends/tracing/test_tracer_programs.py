"""Programs that a traced one executes: by whatever call, with whatever environment."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aot_build.backends.tracing.library import Library
from tests.backends.tracing.traced import Tracer

pytestmark = pytest.mark.compiler

STARTER = r"""
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static char *none[] = {0};
static char *argv[] = {"reads", "sub/in", 0};
int main(int count, char **words) {
    const char *how = words[1];
    pid_t child = 0;
    if (strstr(how, "spawn")) {
        if (!strcmp(how, "spawn")) errno = posix_spawn(&child, "./reads", 0, 0, argv, none);
        if (!strcmp(how, "spawnp")) errno = posix_spawnp(&child, "reads", 0, 0, argv, none);
        if (!strcmp(how, "spawn_none")) errno = posix_spawn(&child, "./none", 0, 0, argv, none);
    } else if (!strcmp(how, "system")) {
        clearenv();
        return system("./reads sub/in");
    } else if (!strcmp(how, "popen")) {
        clearenv();
        return pclose(popen("./reads sub/in", "r"));
    } else if (!(child = vfork())) {
        if (!strcmp(how, "execve")) execve("./reads", argv, none);
        if (!strcmp(how, "execve_null")) execve("./reads", argv, 0);
        if (!strcmp(how, "execve_none")) execve("./none", argv, none);
        if (!strcmp(how, "execv")) execv("./reads", argv);
        if (!strcmp(how, "execvp")) execvp("reads", argv);
        if (!strcmp(how, "execvpe")) execvpe("reads", argv, none);
        if (!strcmp(how, "execl")) execl("./reads", "reads", "sub/in", (char *)0);
        if (!strcmp(how, "execlp")) execlp("reads", "reads", "sub/in", (char *)0);
        if (!strcmp(how, "execle")) execle("./reads", "reads", "sub/in", (char *)0, none);
        if (!strcmp(how, "fexecve")) fexecve(open("reads", O_RDONLY), argv, none);
        if (!strcmp(how, "execveat")) execveat(AT_FDCWD, "reads", argv, none, 0);
        if (!strcmp(how, "unset")) { clearenv(); execv("./reads", argv); }
        if (!strcmp(how, "preload")) {
            char *env[] = {"LD_PRELOAD=/none.so:/nothing.so", "AOT_TRACE_LOG=/none", 0};
            execve("./reads", argv, env);
        }
        _exit(9);
    }
    int status = 0;
    if (child > 0) waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}
"""
READS = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    open(words[1], O_RDONLY);
    printf("%s", getenv("LD_PRELOAD"));
    return 0;
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`starter`, and what it starts: `reads`, and `still`, which no loader loads."""
    folder = tmp_path_factory.mktemp("programs")
    tracer = Tracer(folder, Library(""))
    tracer.compile("starter", STARTER)
    tracer.compile("reads", READS)
    tracer.compile("still", READS, "-static")
    return folder


@pytest.fixture
def starting(tracer: Tracer, programs: Path) -> Tracer:
    for name in ("starter", "reads", "still"):
        shutil.copy2(programs / name, tracer.folder)
    tracer.write("sub/in")
    return tracer


@pytest.mark.parametrize(
    "how",
    ["spawn", "execve", "execve_null", "execv", "execl", "execle", "fexecve", "execveat", "unset",
     "preload"],
)  # fmt: skip
def test_started(how: str, starting: Tracer) -> None:
    log = starting.run(["./starter", how])
    found = [path.replace("./", "") for path in starting.below(log)]
    extra = ["r reads"] if how == "fexecve" else []
    assert found == [*extra, "x reads", "r sub/in"]
    assert log.whole, log.reason


def test_a_program_with_a_sanitizer(starting: Tracer) -> None:
    """It ends at once where anything else was loaded first."""
    try:
        starting.compile("reads", READS, "-fsanitize=address")
    except subprocess.CalledProcessError:
        pytest.skip("this compiler has no AddressSanitizer")
    log = starting.run(["./starter", "execle"])
    assert [path.replace("./", "") for path in starting.below(log)] == ["x reads", "r sub/in"]
    assert log.whole, log.reason


@pytest.mark.parametrize("how", ["execvp", "execvpe", "execlp", "spawnp"])
def test_searched(how: str, starting: Tracer) -> None:
    """Folders on the search path that lack it, a file that cannot be executed, then the one."""
    starting.write("empty/x")
    starting.write("closed/reads", mode=0o644)
    path = f"{starting.folder}/empty:{starting.folder}/closed::/usr/bin"
    log = starting.run([starting.folder / "starter", how], PATH=path)
    expected = ["a empty/reads", "s closed/reads", "x reads", "r sub/in"]
    assert starting.below(log) == expected
    assert log.whole, log.reason


@pytest.mark.parametrize("how", ["system", "popen"])
def test_libc_starts_the_shell(how: str, starting: Tracer) -> None:
    """Both run inside libc with an environment that the program has emptied."""
    log = starting.run(["./starter", how])
    assert ("x", "/bin/sh") in log.records
    assert [p.replace("./", "") for p in starting.below(log)][-2:] == ["x reads", "r sub/in"]
    assert log.whole, log.reason


@pytest.mark.parametrize("how", ["execve_none", "spawn_none"])
def test_nothing_to_start(how: str, starting: Tracer) -> None:
    log = starting.run(["./starter", how], status=9 if how.startswith("exec") else 0)
    assert starting.below(log) == ["a ./none"]
    assert log.whole, log.reason


@pytest.mark.parametrize("what", ["folder", "text"])
def test_not_to_be_started(what: str, starting: Tracer) -> None:
    (starting.folder / "reads").unlink()
    starting.write("reads/x" if what == "folder" else "reads", "text")
    log = starting.run(["./starter", "execve"], status=9)
    assert starting.below(log) == ["s ./reads"]
    assert log.whole, log.reason


def test_what_was_preloaded_stays(starting: Tracer) -> None:
    starting.run(["./starter", "preload"])
    assert starting.out == f"{starting.library.path}:/none.so:/nothing.so"


NOTE = r".section .note.go.buildid,\"a\",@note\n.long 4, 4, 4\n.asciz \"Go\"\n.byte 0, 1, 2, 3, 4"
GO = f'asm("{NOTE}");'


@pytest.mark.parametrize("kind", ["static", "script", "go", "set-uid", "set-gid"])
def test_unseen(kind: str, starting: Tracer) -> None:
    """What the loader does not load, or does not trust, is told as such."""
    reads = starting.folder / "reads"
    if kind == "static":
        shutil.copy2(starting.folder / "still", reads)
    elif kind == "go":
        starting.compile("reads", f"{GO}\n{READS}")
    elif kind == "script":
        starting.write("reads", f"#! {starting.folder}/still x\n", 0o755)
    else:
        if os.getuid():
            pytest.skip("needs root, to give a file away")
        os.chown(reads, 12345, 12345)
        bit = stat.S_ISUID if kind == "set-uid" else stat.S_ISGID
        reads.chmod(0o755 | bit)
    log = starting.run(["./starter", "execve"])
    found = [record.replace("./", "") for record in starting.below(log)]
    expected = {"script": ["x reads", "u still"], "go": ["u reads", "r sub/in"]}
    assert found == expected.get(kind, ["u reads"])
    assert log.whole, log.reason


def test_a_program_that_never_arrives(starting: Tracer) -> None:
    """Its loader is another one, or cannot start it: that something ran unseen is noticed."""
    lib = starting.compile("libgone.so", "int gone;", "-shared", "-fPIC")
    starting.compile("reads", READS, f"-L{starting.folder}", "-Wl,--no-as-needed", "-lgone")
    lib.unlink()
    log = starting.run(["./starter", "execve"], status=127)
    assert log.strays and not log.whole


def test_script(starting: Tracer) -> None:
    starting.write("reads", "#!/bin/sh\nread line < $1\ntest -e none\n", 0o755)
    starting.write("sub/in", "line\n")
    log = starting.run(["./starter", "execve"], status=1)
    found = [record.replace("./", "") for record in starting.below(log)]
    assert found == ["x reads", "r reads", "r sub/in", "a none"]
    assert ("x", "/bin/sh") in log.records


def test_text_without_an_interpreter(starting: Tracer) -> None:
    """execvp has the shell run it."""
    starting.write("reads", "test -e none\n", 0o755)
    log = starting.run([starting.folder / "starter", "execvp"], status=1, PATH=":/usr/bin")
    assert "x reads" in starting.below(log)
    assert "a none" in starting.below(log)
    assert log.whole, log.reason


PYTHON = """
import os, subprocess, sys
os.listdir('sub')
open('sub/in').close()
subprocess.run(['./reads', 'sub/one'], env={})
os.environ.clear()
subprocess.run(['./reads', 'sub/two'])
os.system('./reads sub/three')
subprocess.run('./reads sub/four', shell=True, close_fds=False)
os.posix_spawn('./reads', ['reads', 'sub/five'], {})
os.wait()
if not os.fork():
    os.stat('sub')
    os._exit(0)
os.wait()
"""


def test_python(starting: Tracer) -> None:
    log = starting.python(PYTHON)
    found = [record.replace("./", "") for record in starting.below(log)]
    assert found == [
        "d sub", "r sub/in", "x reads", "a sub/one", "a sub/two", "a sub/three", "a sub/four",
        "a sub/five", "s sub",
    ]  # fmt: skip
    assert log.whole, log.reason


def test_make(starting: Tracer) -> None:
    starting.write("Makefile", "-include none.mk\nout: sub/in\n\tcp sub/in out\n")
    log = starting.run(["make", "-j2"])
    found = set(starting.below(log))
    assert {"r Makefile", "a none.mk", "s sub/in", "r sub/in", "w out"} <= found
    assert log.whole, log.reason


MUTED = """
import os, subprocess, threading
from aot_build.backends.tracing import records

os.stat('sub')
with records.mute(), records.mute():
    os.path.exists('muted')
    thread = threading.Thread(target=os.stat, args=['sub/in'])
    thread.start()
    thread.join()
    subprocess.run(['./reads', 'sub/child'])
os.path.exists('heard')
assert records.begin(f'{os.getcwd()}.log', muted=True)
os.path.exists('quiet')
subprocess.run(['./reads', 'sub/last'])
records.end()
os.path.exists('after')
subprocess.run(['./reads', 'sub/after'], env={})
"""


def test_muted(starting: Tracer) -> None:
    """A muted thread, then a muted process, and what they start; then nothing."""
    log = starting.python(MUTED)
    found = [record.replace("./", "") for record in starting.below(log)]
    assert found == ["s sub", "s sub/in", "x reads", "a sub/child", "a heard", "a sub/last"]
    assert log.whole, log.reason


def test_without_a_log_nothing_is_told(starting: Tracer) -> None:
    script = "from aot_build.backends.tracing import records; print(records.loaded())"
    env = starting.env()
    del env["AOT_TRACE_LOG"]
    words = [sys.executable, "-c", script]
    assert subprocess.check_output(words, env=env, text=True) == "True\n"
