"""What programs that build have in common: their options, how they ask, wait and end.

Exit status: 0 done; 1 a kernel failed; 2 wrong usage or configuration; 130 interrupted.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from aot_build.arguments import positive
from aot_build.errors import AotBuildError, InputError
from aot_build.events import Summary
from aot_build.report import streams
from aot_build.report.display import add_options, open_console


def add_build_options(build: argparse.ArgumentParser) -> None:
    """Those of `build` that any program which builds takes."""
    build.add_argument("--json", action="store_true", help="print JSON on standard output")
    build.add_argument("--jobs", "-j", type=positive, metavar="N", help="processes at once")
    build.add_argument(
        "--keep-going",
        "-k",
        action=argparse.BooleanOptionalAction,
        help="build the others after a failure (default); --no-keep-going stops at the first",
    )
    build.add_argument("--target", "-t", action="append", metavar="T", help="repeatable")
    build.add_argument("--mode", "-m", metavar="M", help="debug, fast, release or tune")
    build.add_argument("--events", metavar="FILE", help="write the events, a JSON object a line")
    build.add_argument("--trace", metavar="FILE", help="write a trace for Perfetto")
    add_options(build)


def ask(
    chosen: argparse.Namespace,
    *,
    project: str,
    targets: Sequence[str] | None,
    kernels: Sequence[str] | None,
    folder: str = "",
) -> Summary:
    """Build as the options say, shown as they say; failures are told. Raises AotBuildError."""
    from aot_build.frontend import start
    from aot_build.report.keepsakes import listening

    with listening(open_console(chosen, sys.stderr), chosen.events, chosen.trace) as emit:
        asked = start(
            project,
            targets=targets,
            mode=chosen.mode,
            kernels=kernels,
            jobs=chosen.jobs,
            keep_going=chosen.keep_going,
            config_settings=pairs(getattr(chosen, "config", None)),
            folder=folder,
            emit=emit,
        )
        summary = asked.wait(check=False)
    if summary.failed:
        from aot_build.report.summary import tally

        streams.complain(tally(summary))
    return summary


def answer(chosen: argparse.Namespace, summary: Summary) -> int:
    """Print what the options ask for. The exit status."""
    if chosen.json:
        streams.answer(summary.to_json())
    return 1 if summary.failed else 0


def pairs(words: list[str] | None) -> dict[str, object]:
    """`-C key=value`, with or without the prefix that a wheel build needs."""
    found: dict[str, object] = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"-C takes key=value, not {word!r}")
        found[key if key.startswith("aot.") else f"aot.{key}"] = value
    return found


def run_command(
    parser: argparse.ArgumentParser,
    arguments: list[str],
    run: Callable[[argparse.Namespace], int],
) -> int:
    """Parse and run; whatever ends it becomes a message and an exit status."""
    streams.make_lenient()
    try:
        return _run(parser.parse_args(arguments), run)
    finally:
        streams.settle()


def _run(chosen: argparse.Namespace, run: Callable[[argparse.Namespace], int]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = run(chosen)
        sys.stdout.flush()
        return status
    except AotBuildError as error:
        streams.complain(error)
        return error.exit_status
    except KeyboardInterrupt:
        streams.complain("interrupted: what had finished is kept")
        return 130
    except BrokenPipeError:
        # Whoever read us has seen enough, as in `aot-build plan | head`.
        return 0
    except OSError as error:
        if error.errno not in streams.REFUSALS:
            raise
        streams.complain(f"the answer cannot be written: {error}")
        return 2


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
