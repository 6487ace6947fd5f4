"""What the jobs of the tests do."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time


def null(payload):
    return b""


def echo(payload):
    return payload


def big(payload):
    return b"x" * int(payload)


def nap(payload):
    time.sleep(float(payload))
    return payload


def fail(payload):
    raise ValueError("boom")


def leave(payload):
    sys.exit("enough")


def interrupt(payload):
    raise KeyboardInterrupt


class Nasty(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")

    __repr__ = __str__


def nasty(payload):
    raise Nasty


def verbose(payload):
    raise ValueError("x" * 1_000_000)


def starve(payload):
    raise MemoryError("no room")


def text(payload):
    return "not bytes"


def abort(payload):
    os.abort()


def segfault(payload):
    ctypes.string_at(0)


def exit_quietly(payload):
    os._exit(0)


def exit_loudly(payload):
    os._exit(3)


def kill_group(payload):
    os.kill(0, signal.SIGKILL)


def loop_of_causes(payload):
    first, second = ValueError("round"), KeyError("and round")
    first.__cause__, second.__cause__ = second, first
    raise first


def no_memory_for_a_file(payload):
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def call(payload):
    """Raise for what a shell comes to, as functions of projects do for their compilers."""
    subprocess.run(["sh", "-c", payload], check=True, stderr=subprocess.PIPE)
    return b""


def wrapped_call(payload):
    """As Triton does for its assembler: another exception in its place."""
    try:
        call(payload)
    except subprocess.CalledProcessError:
        raise RuntimeError("the compiler failed") from None


def print_much(payload):
    line = b"x" * 1023 + b"\n"
    os.write(1, b"first\n")
    for _ in range(int(payload)):
        os.write(1, line)
    os.write(1, b"last\n")
    os.abort()


def print_for_ever(payload):
    while True:
        os.write(1, b"x" * (1 << 20))


def link_log(payload):
    """Put a link to something of the user's where the log is."""
    os.unlink(os.readlink("/proc/self/fd/1"))
    os.symlink(payload, os.readlink("/proc/self/fd/1").removesuffix(" (deleted)"))
    return b""


def grow(payload):
    """Take more and more memory, in steps that are seen."""
    kept = []
    for _ in range(3):
        kept.append(b"x" * (100 << 20))
        time.sleep(0.6)
    return b""


def shrink(payload):
    """Take memory, and do without it after a while."""
    kept = [b"x" * (200 << 20)]
    time.sleep(1.2)
    kept.clear()
    time.sleep(1.2)
    return b""


def close_everything(payload):
    os.closerange(0, 4096)
    return b"lost"


def close_and_reuse(payload):
    os.closerange(0, 4096)
    for number in range(64):
        os.open(f"file{number}", os.O_WRONLY | os.O_CREAT)
    return b"not for a file"


def spoil(payload):
    os.chdir("/")
    os.environ["SPOILT"] = "1"
    os.environ.pop("PATH", None)
    sys.path.clear()
    return b""


def where(payload):
    import tempfile

    rows = [os.getcwd(), tempfile.gettempdir(), os.environ.get("SPOILT", ""), *payload.split()]
    rows += [os.environ.get(payload.decode(), "")] if payload else []
    return "\n".join(map(str, rows)).encode()


def standing(payload):
    """Group leader, SIGINT, SIGTERM, threads, bytecode."""
    return repr(
        (
            os.getpgid(0) == os.getpid() == os.getsid(0),
            signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
            signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(),
            sys.dont_write_bytecode,
            os.path.exists(sys.pycache_prefix),
            os.read(0, 1),
        )
    ).encode()


def descriptors(payload):
    found = {}
    for number in range(256):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}").partition(":")[0]
        except OSError:
            continue
    return repr(found).encode()


def talk(payload):
    print("from Python")
    os.system("echo from a child")
    ctypes.CDLL(None).puts(b"from C")
    print("to stderr", file=sys.stderr)
    return b""


def whisper_and_die(payload):
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)


SLEEPER = "import os, time; os.setsid(); print('up', flush=True); time.sleep(60)"


def sleeper(detach=True):
    """A process that has a session of its own."""
    child = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE)
    child.stdout.readline()
    return child


def family(payload):
    """Sleep for ever with a child, a child in another session, and an orphan in yet another."""
    subprocess.Popen(["sleep", "60"])
    sleeper()
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])"
    subprocess.run([sys.executable, "-c", script], check=True)
    time.sleep(60)


def leave_running(payload):
    return str(sleeper().pid).encode()


def use_helper(payload):
    """A helper whose starter is gone still belongs to the running job."""
    started = subprocess.run("sleep 1.2 & echo $!", shell=True, capture_output=False, stdout=-1)
    pid = int(started.stdout)
    time.sleep(0.8)
    os.kill(pid, 0)
    return b"alive"


def allocate(payload):
    block = bytearray(int(payload))
    for place in range(0, len(block), 4096):
        block[place] = 1
    return b""


def allocate_for_long(payload):
    script = f"b = bytearray({int(payload)}); b[::4096] = b'x' * len(b[::4096]); "
    subprocess.run([sys.executable, "-c", script + "import time; time.sleep(1.2)"], check=True)
    return b""


def burn(payload):
    deadline = time.process_time() + float(payload)
    while time.process_time() < deadline:
        pass
    return b""


def imported(payload):
    return repr([name in sys.modules for name in payload.decode().split()]).encode()


def kill_parent(payload):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def kill_parent_with_family(payload):
    sleeper()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def answer_and_linger(payload):
    threading.Thread(target=time.sleep, args=(60,)).start()
    return b"done"


def threads_of_torch(payload):
    import torch

    return str(torch.get_num_threads()).encode()
