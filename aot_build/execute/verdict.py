"""What the end of a worker and its answer, if any, amount to."""

import signal

from aot_build.core.ending import signal_name
from aot_build.execute import wire
from aot_build.execute.printed import last_lines, settle
from aot_build.execute.protocol import Job, JobEnd

NO_MEMORY = "killed by the kernel: out of memory"
WORDLESS = {"crashed", "timeout", "nothing"}
"""Ends whose reason says little without what the job printed last."""


def verdict(job: Job, ended: wire.Ended, answer: bytes) -> JobEnd:
    """The JobEnd. An answer counts only when it is complete and the exit status is 0.

    What the job printed is cut where it is long.
    """
    tag, needed, body = _unpack(answer)
    payload = b""
    if ended.status == 0 and tag == wire.OK:
        outcome, reason, payload = "ok", "", body
    elif ended.status == 0 and tag:
        outcome, reason = _raised(tag, ended), body.decode("utf-8", "replace")
    else:
        outcome, reason = _abnormal(job, ended)
        if outcome in WORDLESS and job.log and (said := last_lines(job.log)):
            reason = f"{reason}; it said last:\n{said}"
    if job.log:
        settle(job.log)
    peak = max(ended.peak_bytes, needed)
    return JobEnd(job.id, outcome, payload, reason, ended.seconds, ended.cpu_seconds, peak)


def _unpack(answer: bytes) -> tuple[bytes, int, bytes]:
    """Tag, bytes of memory and body; the tag is empty where the answer is not complete."""
    if len(answer) < wire.ANSWER.size:
        return b"", 0, b""
    tag, needed, length = wire.ANSWER.unpack_from(answer)
    body = answer[wire.ANSWER.size :]
    return (tag, needed, body) if len(body) == length else (b"", 0, b"")


def _raised(tag: bytes, ended: wire.Ended) -> str:
    if tag == wire.CRASHED:
        return "crashed"
    if tag == wire.MEMORY or ended.starved:
        # What raised may have waited for a process that the kernel killed: a second try is cheap.
        return "memory"
    return "crashed" if tag == wire.KILLED else "error"


def _abnormal(job: Job, ended: wire.Ended) -> tuple[str, str]:
    if ended.note:
        return ("memory" if ended.starved else "crashed"), ended.note
    if ended.timed_out:
        return "timeout", f"no answer after {job.timeout:g} s"
    if ended.starved and ended.status == -signal.SIGKILL:
        return "memory", NO_MEMORY
    if ended.status < 0:
        return "crashed", f"ended by {signal_name(-ended.status)}"
    if ended.status == 0:
        return "nothing", "exited without an answer"
    return "crashed", f"exited with status {ended.status} without an answer"
