"""What a command shows on the way: its options, and the display that they ask for."""

import argparse
import importlib.util
import os
from typing import TYPE_CHECKING, TextIO

from aot_build.errors import EnvironmentProblem

if TYPE_CHECKING:
    from aot_build.report.console import Console

PROGRESS = ("auto", "tty", "plain", "none")
"""As BuildKit calls them: a live display where stderr is a terminal; that; lines; neither."""


def add_options(command: argparse.ArgumentParser) -> None:
    """`--progress`, `--verbose` and `--quiet`."""
    command.add_argument(
        "--progress",
        choices=PROGRESS,
        default="auto",
        metavar="HOW",
        help="auto (default), tty (a live display), plain (a line now and then) or none",
    )
    told = command.add_mutually_exclusive_group()
    for word, text in (("verbose", "a line for each action"), ("quiet", "failures alone")):
        short, long = f"-{word[0]}", f"--{word}"
        told.add_argument(
            short, long, dest="verbosity", action="store_const", const=word.upper(), help=text
        )


def open_console(chosen: argparse.Namespace, stream: TextIO) -> "Console":
    """The display that the options ask for. Raises EnvironmentProblem where `tty` needs rich."""
    from aot_build.report.console import Console
    from aot_build.report.narration import Verbosity

    verbosity = Verbosity[chosen.verbosity or "NORMAL"]
    progress = chosen.progress
    if progress == "auto":
        progress = "none" if verbosity == Verbosity.QUIET else _fitting(stream)
    if progress != "tty":
        return Console(stream, verbosity, progress=progress == "plain")
    if not _has_rich():
        hint = "pip install 'aot-build[rich]'"
        raise EnvironmentProblem("--progress tty needs rich, which is not installed", None, hint)
    from aot_build.report.live import LiveConsole

    return LiveConsole(stream, verbosity)


def _fitting(stream: TextIO) -> str:
    able = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return "tty" if able and _has_rich() else "plain"


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None
