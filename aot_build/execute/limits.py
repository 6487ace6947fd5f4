"""What this process may use of the machine: CPUs and memory, as the cgroups around it say.

Formats: cgroups(7), proc_pid_mountinfo(5); cpu.max, memory.max and memory.events of cgroup v2,
cpu.cfs_quota_us, memory.limit_in_bytes and memory.oom_control of v1 (the kernel's admin guide).
"""

import functools
import os
import re
import resource
import sys
from pathlib import Path

ROOT = Path("/")
FILES_OF_OWN = 40
"""Descriptors that a driver holds whatever runs: locks, logs, sockets, and what it reads."""
FILES_EACH = 2
"""Descriptors that a running job takes for a while."""


def cpu_slots(root: Path = ROOT) -> int:
    """How many CPUs may be kept busy: affinity and quotas, rounded up, at least 1.

    `root` is where `proc` and the mounted cgroups are looked for.
    """
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quotas = [_quota(folder) for folder in cgroup_folders("cpu", root)]
    return max(1, min([count, *(-(-quota // period) for quota, period in quotas if quota > 0)]))


def worker_slots(jobs: int | None) -> int:
    """How many processes may run at once: as many as was said, else as there are CPUs; fewer
    where this process may not open the files that it takes to hear of them."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(1, (files - FILES_OF_OWN) // FILES_EACH) if files > 0 else sys.maxsize
    return min(jobs or cpu_slots(), most)


def _quota(folder: Path) -> tuple[int, int]:
    """CPU microseconds in each period of microseconds; a quota of -1 is none."""
    words = _text(folder / "cpu.max").split()
    if len(words) != 2:
        words = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    quota, period = (_number(word) for word in words)
    return (quota, period) if quota is not None and period else (-1, 1)


def memory_limit(root: Path = ROOT) -> int:
    """Bytes that may be used from now on: the least room of the host and of each cgroup.

    Page cache that could be dropped counts as room, as in the host's MemAvailable.
    """
    rooms = [_room(folder) for folder in cgroup_folders("memory", root)]
    return min([_host_room(root), *(room for room in rooms if room is not None)])


def _host_room(root: Path) -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    if found:
        return int(found[1]) * 1024
    # No proc(5). Imported here: Linux needs none of it.
    import psutil

    return int(psutil.virtual_memory().available)


def _room(folder: Path) -> int | None:
    """Bytes left in one cgroup; None where it has no limit."""
    for most, now, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(_text(folder / most).strip())
        if limit is not None:
            used = _number(_text(folder / now).strip()) or 0
            dropped = _named(_text(folder / "memory.stat"), cache) or 0
            return max(0, limit - max(0, used - dropped))
    return None


def oom_kills(root: Path = ROOT) -> int:
    """How often the kernel has killed for lack of memory, in our cgroup or else on this host."""
    return _named(_text(_oom_file(root)), "oom_kill") or 0


@functools.cache
def _oom_file(root: Path) -> Path:
    """The file that counts: found once, for it is read around each job."""
    for folder in cgroup_folders("memory", root):
        for name in ("memory.events", "memory.oom_control"):
            if _named(_text(folder / name), "oom_kill") is not None:
                return folder / name
    return root / "proc/vmstat"


def cgroup_folders(controller: str, root: Path = ROOT) -> list[Path]:
    """Folders of the cgroups that this process is in, innermost first, of v1 and v2 alike."""
    own = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    found: list[Path] = []
    for line in _text(root / "proc/self/mountinfo").splitlines():
        words, _, rest = line.partition(" - ")
        base, mount = words.split()[3:5]
        kind, _, options = [*rest.split(), "", "", ""][:3]
        if kind == "cgroup2" and "" in own:
            found += _upwards(own[""], base, root / mount.lstrip("/"))
        elif kind == "cgroup" and controller in options.split(",") and controller in own:
            found += _upwards(own[controller], base, root / mount.lstrip("/"))
    return found


def _upwards(path: str, base: str, mount: Path) -> list[Path]:
    """From a cgroup to its mount. In a container the mount shows only what is below `base`."""
    inner = os.path.relpath(path, base)
    if inner.startswith(".."):
        inner = "."
    folder = mount / inner
    return [each for each in (folder, *folder.parents) if each.is_relative_to(mount)]


def _named(text: str, name: str) -> int | None:
    """The value of one `name value` line."""
    found = re.search(rf"^{name} (\d+)$", text, re.M)
    return int(found[1]) if found else None


def _number(word: str) -> int | None:
    return int(word) if word.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
