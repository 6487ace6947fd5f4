"""What the end of a worker and its answer, if any, amount to."""

import signal

from aot_build.execute import wire
from aot_build.execute.protocol import Job, JobEnd


def verdict(job: Job, ended: wire.Ended, answer: bytes) -> JobEnd:
    """The JobEnd. An answer counts only when it is complete and the exit status is 0."""
    tag, needed, body = _unpack(answer)
    payload = b""
    if ended.status == 0 and tag == wire.OK:
        outcome, reason, payload = "ok", "", body
    elif ended.status == 0 and tag:
        # What raised may have waited for a process that the kernel killed.
        outcome = "memory" if tag == wire.MEMORY or ended.starved else "error"
        reason = body.decode("utf-8", "replace")
    else:
        outcome, reason = _abnormal(job, ended)
    peak = max(ended.peak_bytes, needed)
    return JobEnd(job.id, outcome, payload, reason, ended.seconds, ended.cpu_seconds, peak)


def _unpack(answer: bytes) -> tuple[bytes, int, bytes]:
    """Tag, bytes of memory and body; the tag is empty where the answer is not complete."""
    if len(answer) < wire.ANSWER.size:
        return b"", 0, b""
    tag, needed, length = wire.ANSWER.unpack_from(answer)
    body = answer[wire.ANSWER.size :]
    return (tag, needed, body) if len(body) == length else (b"", 0, b"")


def _abnormal(job: Job, ended: wire.Ended) -> tuple[str, str]:
    if ended.note:
        return ("memory" if ended.starved else "crashed"), ended.note
    if ended.timed_out:
        return "timeout", f"no answer after {job.timeout:g} s"
    if ended.starved and ended.status == -signal.SIGKILL:
        return "memory", "killed by the kernel: out of memory"
    if ended.status < 0:
        return "crashed", f"ended by {signal_name(-ended.status)}"
    status = f" with status {ended.status}" if ended.status else ""
    return "crashed", f"exited{status} without an answer"


def signal_name(number: int) -> str:
    """SIGSEGV and the like; real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
