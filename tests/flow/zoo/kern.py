"""Kernels that do what they should not: `bad`, by name, and `good` ones beside them.

Each leaves a file first where it can, so that its outcome tells of what it did after.
"""

import atexit
import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def good(out_dir, target, n):
    assert not os.environ.get("SPOILT") and os.getcwd() != "/"
    assert os.umask(0o22) == 0o22
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    Path(os.environ["TMPDIR"], "own").write_text("x")
    Path(out_dir, "table.txt").write_text(f"{n} squared is {n * n}\n" * 1000)


def bad(out_dir, target, what):
    Path(out_dir, "left.txt").write_text(what)
    globals()[what](out_dir)


# Ends of the process


def abort(out_dir):
    os.abort()


def segfault(out_dir):
    ctypes.string_at(0)


def exit_0(out_dir):
    os._exit(0)


def exit_3(out_dir):
    os._exit(3)


def kill_group(out_dir):
    os.kill(0, signal.SIGKILL)


def overflow_c_stack(out_dir):
    sys.setrecursionlimit(1 << 30)
    threading.stack_size(1 << 16)
    deep = type("Deep", (), {"__repr__": lambda self: repr(self)})
    repr(deep())


def leave_nothing(out_dir):
    os.unlink(os.path.join(out_dir, "left.txt"))


# Exceptions


def system_exit(out_dir):
    sys.exit("enough")


def interrupt(out_dir):
    raise KeyboardInterrupt


def overflow(out_dir):
    overflow(out_dir)


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("cannot be pickled")
        self.function = lambda: None
        self.lock = threading.Lock()


def unpicklable(out_dir):
    raise Unpicklable


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")

    __repr__ = __str__


def unprintable(out_dir):
    raise Unprintable


# Time


def loop(out_dir):
    while True:
        pass


def stop_itself(out_dir):
    os.kill(os.getpid(), signal.SIGSTOP)


def ignore_signals(out_dir):
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    grandchild(out_dir)
    time.sleep(600)


# Processes


def grandchild(out_dir):
    subprocess.Popen(["setsid", "sleep", "600"])


def grandchild_on_a_pipe(out_dir):
    """It holds whatever the worker holds."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)


def daemon(out_dir):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        os._exit(0)
    os.wait()


def fork_bomb(out_dir):
    for _ in range(50):
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)


def lingering_thread(out_dir):
    threading.Thread(target=time.sleep, args=(600,)).start()


def hanging_atexit(out_dir):
    atexit.register(time.sleep, 600)


# State of the process


def close_all(out_dir):
    os.closerange(0, 1 << 16)


def change_environment(out_dir):
    os.environ["SPOILT"] = "1"
    os.environ.pop("PATH")
    os.environ["TMPDIR"] = "/nowhere"
    os.putenv("LD_PRELOAD", "/nowhere.so")


def change_folder(out_dir):
    os.chdir("/")


def change_limits(out_dir):
    os.umask(0o777)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def spoil_streams(out_dir):
    sys.stdout = sys.stderr = None
    sys.modules.clear()


# Files


def delete_scratch(out_dir):
    shutil.rmtree(os.environ["TMPDIR"])


def delete_out_dir(out_dir):
    shutil.rmtree(out_dir)


def link_to_passwd(out_dir):
    os.symlink("/etc/passwd", os.path.join(out_dir, "passwd"))


def hard_name(out_dir):
    Path(out_dir, "a\nb").write_text("x")


def two_dots(out_dir):
    Path(out_dir, "a..b").write_text("fine")


def outside(out_dir):
    Path(out_dir, "..", f"outside-{os.getpid()}").write_text("x")


def device(out_dir):
    os.mkfifo(os.path.join(out_dir, "pipe"))


def many_files(out_dir):
    for number in range(10_000):
        Path(out_dir, str(number)).touch()


def print_much(out_dir):
    piece = b"y" * (1 << 20)
    for _ in range(100):
        os.write(1, piece)


def print_much_and_die(out_dir):
    print_much(out_dir)
    os.abort()


# Memory


def allocate(out_dir):
    """10 GB, every page of it touched."""
    kept = [bytes([number % 255 + 1]) * (64 << 20) for number in range(160)]
    Path(out_dir, "left.txt").write_text(str(len(kept)))


def allocate_under_limit(out_dir):
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    allocate(out_dir)


def compiler_is_starved(out_dir):
    script = "b = [bytes([n % 255 + 1]) * (64 << 20) for n in range(160)]"
    subprocess.run([sys.executable, "-c", script], check=True)
