"""Limits as the files of the kernel tell them."""

import os
import re
from pathlib import Path

import pytest

from aot_build.execute.limits import cgroup_folders, cpu_slots, memory_limit, oom_kills

GIB = 1 << 30
V2 = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = (
    "31 1 0:27 {base} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 1 0:28 {base} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def host(root: Path, files: dict[str, str]) -> Path:
    files = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   67108864 kB\n", **files}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


def test_without_cgroups(tmp_path: Path, cpus: None) -> None:
    root = host(tmp_path, {"proc/vmstat": "pgfault 5\noom_kill 3\n"})
    assert (cpu_slots(root), memory_limit(root), oom_kills(root)) == (16, 64 * GIB, 3)


def test_v2_takes_the_least_of_all_levels(tmp_path: Path, cpus: None) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/a/b/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/a/b/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/a/b/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            "sys/fs/cgroup/a/b/memory.events": "oom 9\noom_kill 2\noom_group_kill 7\n",
            "sys/fs/cgroup/a/memory.max": "max\n",
        },
    )
    assert (cpu_slots(root), memory_limit(root), oom_kills(root)) == (3, 6 * GIB, 2)


def test_v1(tmp_path: Path, cpus: None) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n",
            "proc/self/mountinfo": V1.format(base="/"),
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/job/memory.oom_control": "oom_kill_disable 0\noom_kill 1\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert (cpu_slots(root), memory_limit(root), oom_kills(root)) == (1, 3 * GIB, 1)


def test_in_a_container_the_mount_is_our_own_cgroup(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc/inner\n",
            "proc/self/mountinfo": V1.format(base="/docker/abc"),
        },
    )
    mount = root / "sys/fs/cgroup/memory"
    assert cgroup_folders("memory", root) == [mount / "inner", mount]


def test_a_cgroup_outside_of_the_mount_is_read_at_the_mount(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/elsewhere\n",
            "proc/self/mountinfo": V1.format(base="/docker/abc"),
        },
    )
    assert cgroup_folders("memory", root) == [root / "sys/fs/cgroup/memory"]


def test_without_proc_the_host_is_asked_otherwise(tmp_path: Path) -> None:
    # Other processes come and go between the two.
    assert abs(memory_limit(tmp_path) - _available()) < GIB
    assert memory_limit(tmp_path) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _available() -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


def test_of_this_machine() -> None:
    assert 1 <= cpu_slots() <= (os.cpu_count() or 1)
    assert 0 < memory_limit() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert oom_kills() >= 0
