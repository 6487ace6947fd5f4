"""An order performed in a new interpreter, for a worker that found the wrong packages imported.

It costs the imports that the forkserver spares others. The interpreter is the worker's child: it
writes into the same log, dies with it, and the worker ends as it ended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback

import msgspec

from aot_build.core.ending import ERROR, ProgramDied, end_of_exception

_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from aot_build.backends.fresh import main; main(int(sys.argv[1]))"
)


class Raised(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The entry raised: what whoever reads of it is told."""

    module: str
    name: str
    text: str
    end: str
    """Of the program that led to it: see core/ending.py."""


class Returned(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The entry returned."""

    answer: bytes


_answers = msgspec.msgpack.Decoder(Raised | Returned)


def perform_afresh(payload: bytes) -> bytes:
    """What `work.perform` returns or raises, in an interpreter of its own. Where that ends without
    an answer, this process ends likewise."""
    # As in a worker: no bytecode is read or written.
    options = ("-P", "-B", "-X", f"pycache_prefix={os.devnull}/pycache")
    # Files, where a pipe would be held open by whatever the action leaves running.
    with tempfile.TemporaryFile() as order, tempfile.TemporaryFile() as channel:
        order.write(payload)
        order.seek(0)
        command = [sys.executable, *options, "-c", _START, str(channel.fileno()), *sys.path]
        ended = subprocess.run(command, stdin=order, pass_fds=(channel.fileno(),))
        channel.seek(0)
        answer = channel.read()
    if ended.returncode < 0:
        with contextlib.suppress(OSError):
            signal.signal(-ended.returncode, signal.SIG_DFL)
        os.kill(os.getpid(), -ended.returncode)
    if not answer:
        os._exit(ended.returncode)
    answered = _answers.decode(answer)
    if isinstance(answered, Returned):
        return answered.answer
    died = None if answered.end == ERROR else ProgramDied(answered.end, answered.text)
    if died is not None and answered.name == ProgramDied.__qualname__:
        raise died
    kind = type(answered.name, (Exception,), {"__module__": answered.module})
    raise kind(answered.text) from died


def main(descriptor: int) -> None:
    """Perform the order that stands on standard input; answer on the descriptor."""
    from aot_build.backends.work import perform

    answer: Raised | Returned
    try:
        answer = Returned(perform(sys.stdin.buffer.read()))
    except BaseException as error:
        traceback.print_exc()
        kind, end = type(error), end_of_exception(error)
        answer = Raised(kind.__module__, kind.__qualname__, str(error), end)
    with open(descriptor, "wb") as channel:
        channel.write(msgspec.msgpack.encode(answer))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # As a worker ends: what the action left behind has no say in it.
    os._exit(0)
