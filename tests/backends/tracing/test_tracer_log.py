"""The log: nothing is lost or torn, whoever writes at the same time or is killed meanwhile."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from aot_build.backends.tracing import records
from aot_build.backends.tracing.library import Library
from tests.backends.tracing.traced import Tracer

pytestmark = pytest.mark.compiler

MANY = r"""
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static int count, same;
static void look(int who, int n) {
    char path[9000] = "/none/";
    /* Lengths differ, so that records end at all offsets. */
    memset(path + 6, 'x', n % 61);
    sprintf(path + 6 + n % 61, "/%d/%d", same ? 0 : who, n);
    access(path, F_OK);
}
static void *work(void *who) {
    for (int n = 0; n < count; n++) look((int)(long)who, n);
    return 0;
}
static void again(int number) { static int n; look(1000, n++); }
int main(int words, char **word) {
    int threads = atoi(word[2]), processes = atoi(word[3]);
    count = atoi(word[4]), same = words > 5;
    if (!strcmp(word[1], "signals")) {
        signal(SIGALRM, again);
        ualarm(50, 50);
    }
    if (!strcmp(word[1], "endless")) for (int n = 0;; n++) look(atoi(word[2]), n % 50000);
    for (int p = 0; p < processes; p++)
        if (!fork()) {
            pthread_t started[64];
            for (long t = 0; t < threads; t++)
                pthread_create(&started[t], 0, work, (void *)(p * threads + t));
            for (int t = 0; t < threads; t++) pthread_join(started[t], 0);
            _exit(0);
        }
    while (wait(0) > 0);
    return 0;
}
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tracer(tmp_path_factory.mktemp("many"), Library("")).compile("many", MANY, "-pthread")


def expected(who: int, count: int) -> list[str]:
    return [f"/none/{'x' * (n % 61)}/{who}/{n}" for n in range(count)]


def told(log: records.Log) -> list[str]:
    return [path for kind, path in log.records if kind == "a" and path.startswith("/none/")]


@pytest.mark.parametrize("how", ["plain", "signals"])
def test_many_at_once(how: str, tracer: Tracer, many: Path) -> None:
    log = tracer.run([many, how, 4, 3, 1500])
    found = told(log)
    assert log.whole, log.reason
    for who in range(12):
        mine = [path for path in found if path.split("/")[3] == str(who)]
        assert mine == expected(who, 1500), "in the order of each thread, each once"
    assert len([p for p in found if p.split("/")[3] != "1000"]) == 12 * 1500


def test_the_same_of_many_is_told_about_once(tracer: Tracer, many: Path) -> None:
    found = told(tracer.run([many, "plain", 4, 2, 3000, "same"]))
    assert set(found) == set(expected(0, 3000))
    # Whoever looks at the very same moment tells it again; no more than one each.
    assert len(found) < 2 * 3000


def test_more_than_the_table_holds(tracer: Tracer, many: Path) -> None:
    """What finds no place among the hashes is told each time, but it is told."""
    log = tracer.run([many, "plain", 1, 1, 80000])
    assert log.whole, log.reason
    assert told(log) == expected(0, 80000)


def test_killed_in_the_middle(tracer: Tracer, many: Path) -> None:
    """Of those that go on nothing is lost, and what is left can be read."""
    env = tracer.env()
    for _ in range(12):
        killed = [subprocess.Popen([many, "endless", str(w), "0", "0"], env=env) for w in (77, 78)]
        subprocess.run([many, "plain", "2", "1", "500"], env=env, check=True, timeout=100)
        for each in killed:
            each.kill()
            each.wait()
    log = records.read(tracer.log_path)
    found = told(log)
    assert set(expected(0, 500)) | set(expected(1, 500)) <= set(found)
    assert set(found) <= {p for w in (0, 1, 77, 78) for p in expected(w, 50000)}, "none is torn"
    assert log.reason in ("", "a process was ended while it wrote")


def test_full(tracer: Tracer, many: Path) -> None:
    env = tracer.env()
    with open(tracer.log_path, "r+b") as stream:
        stream.truncate(_RECORDS + 64 * 100)
        stream.seek(16)
        stream.write(struct.pack("<Q", _RECORDS + 64 * 100))
    subprocess.run([many, "plain", "2", "2", "500"], env=env, check=True, timeout=100)
    log = records.read(tracer.log_path)
    assert log.reason == "the log is full"
    assert 0 < len(told(log)) < 500


_RECORDS = 4096 + 8 * 65536


def test_an_unfinished_record_is_passed_over(tracer: Tracer, many: Path) -> None:
    """Left by who was killed before the path was there, and by who was before the tail moved."""
    env = tracer.env()
    subprocess.run([many, "plain", "1", "1", "3"], env=env, check=True, timeout=100)
    with open(tracer.log_path, "r+b") as stream:
        stream.seek(24)
        (tail,) = struct.unpack("<Q", stream.read(8))
        stream.write(struct.pack("<I", 1))
        stream.seek(_RECORDS)
        (first,) = struct.unpack("<I", stream.read(4))
        stream.seek(_RECORDS)
        stream.write(struct.pack("<I", first & ~7 | 2))
        stream.seek(tail)
        stream.write(struct.pack("<I", 48 | 2) + b"a/no\0/no")
    before = records.read(tracer.log_path)
    subprocess.run([many, "plain", "2", "1", "3"], env=env, check=True, timeout=100)
    after = records.read(tracer.log_path)
    assert before.reason == after.reason == "a process was ended while it wrote"
    assert [*told(before), *expected(1, 3)] == told(after)
    assert set(expected(0, 3)[-2:]) <= set(told(before))
    assert not any(path.startswith("/no/") for _, path in after.records)


def test_order_is_that_of_the_first_time(tracer: Tracer) -> None:
    log = tracer.python(
        "import os\nfor name in 'bacbacab': os.path.exists(name); os.path.lexists(name)\n"
        "os.mkdir('a'); os.path.exists('a')"
    )
    assert tracer.below(log) == ["a b", "a a", "a c", "w a", "s a"]


def test_names_are_bytes(tracer: Tracer) -> None:
    names = [b"\xff\xfe", "ä ö\n".encode(), b"\xe1", b"a\xe1\x80", b"." * 250]
    script = "import os, sys; [os.path.exists(bytes.fromhex(name)) for name in sys.argv[1:]]"
    log = tracer.python(script, *[name.hex() for name in names])
    assert tracer.below(log) == [f"a {os.fsdecode(name)}" for name in names]


def test_a_folder_that_is_gone(tracer: Tracer) -> None:
    """A relative path is then of nowhere; none is found by it."""
    log = tracer.python("import os; os.mkdir('x'); os.chdir('x'); os.rmdir(os.getcwd());"
                        "os.path.exists('y'); os.stat('/')")  # fmt: skip
    assert tracer.below(log) == ["w x"]
    assert ("s", "/") in log.records
    assert log.whole


def test_no_room_to_map_it(tracer: Tracer) -> None:
    """A process with too little address space runs on, and the log says that it was not seen."""
    command = ["sh", "-c", "ulimit -v 100000; exec ls sub"]
    tracer.write("sub/in")
    log = tracer.run(command)
    assert tracer.out == "in\n"
    assert "a process could not map the log" in log.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the log is cut off"),
        (b"\0" * 8192, "this is no log"),
        (b"AOTTRACE\x63" + b"\0" * 8192, "this is no log"),
    ],
)
def test_not_a_log(content: bytes, reason: str, tracer: Tracer, many: Path) -> None:
    """Neither the library nor the reader takes it for one."""
    env = tracer.env()
    Path(tracer.log_path).write_bytes(content)
    subprocess.run([many, "plain", "1", "1", "1"], env=env, check=True, timeout=100)
    assert records.read(tracer.log_path) == records.Log([], reason)
    assert Path(tracer.log_path).read_bytes() == content


def test_no_log_to_read(tmp_path: Path) -> None:
    log = records.read(str(tmp_path / "none"))
    assert not log.whole
    assert log.reason.startswith("the log cannot be read")


AGAIN = """
import os, sys
from aot_build.backends.tracing import records
paths = sys.argv[1:]
for path in paths:
    records.create(path)
    assert records.begin(path)
    os.path.exists(path + '.none')
    records.end()
    os.path.exists(path + '.after')
assert not records.begin('/none/log')
"""


def test_one_process_writes_many_logs_in_turn(tracer: Tracer, tmp_path: Path) -> None:
    """As a process does that performs one action after the other."""
    paths = [str(tmp_path / f"{n}") for n in range(20)]
    tracer.python(AGAIN, *paths)
    for path in paths:
        log = records.read(path)
        assert ("a", f"{path}.none") in log.records
        assert ("a", f"{path}.after") not in log.records
        assert log.whole


def test_a_process_without_the_library() -> None:
    """Where it could not be built, all of this does nothing."""
    if records.loaded():
        pytest.skip("this process runs under the tracer")
    assert not records.begin("/none")
    with records.mute():
        records.end()


def test_a_signal_ends_only_who_gets_it(tracer: Tracer) -> None:
    log = tracer.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], -signal.SIGKILL)
    assert log.whole, log.reason
