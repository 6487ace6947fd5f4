"""A driver as a program: the fast path first, little imported; else options, and the engine."""

import os

from aot_build import snapshot
from aot_build.errors import InputError
from aot_build.fastpath import answered, open_streams, plain_words
from aot_kernels.drivers.family import Order, order
from aot_kernels.tuned import VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

TAKES = ("--project", "--target", "--mode", "--jobs")
LISTS = ("--csv",)


def main(family: str, arguments: list[str]) -> int:
    """Run the driver of a family. Returns the exit status, where it returns."""
    open_streams()
    if _nothing_to_do(family, arguments):
        # As `aot-build` does: taking the interpreter down in order would take longer than all.
        os._exit(0)
    from aot_build.asking import run_command

    return run_command(_parser(family), arguments, lambda chosen: _build(family, chosen))


def _nothing_to_do(family: str, arguments: list[str]) -> bool:
    words = plain_words(arguments, TAKES, LISTS)
    if words is None:
        return False
    try:
        project = words.get("--project", [None])[-1]
        asked = order(family, project, words.get("--csv"), words.get("--target"))
    except InputError:
        # It is said by whoever knows all options.
        return False
    _read_tables(asked)
    shape = _shape(asked, words.get("--mode", [None])[-1])
    return answered(asked.project, shape, "--json" in words)


def _shape(asked: Order, mode: str | None) -> str:
    return snapshot.shape(asked.targets, mode, asked.kernels, folder=asked.folder)


def _read_tables(asked: Order) -> None:
    """Have the functions that list rows, which run in the engine's workers, read these tables."""
    if asked.tables:
        os.environ[VARIABLE] = asked.tables


def _build(family: str, chosen: "Namespace") -> int:
    from aot_build.asking import answer, ask

    asked = order(family, chosen.project, chosen.csv, chosen.target)
    _read_tables(asked)
    summary = ask(
        chosen,
        project=asked.project,
        targets=asked.targets,
        kernels=asked.kernels,
        folder=asked.folder,
    )
    if asked.tables and not summary.actions:
        snapshot.forget(asked.project, _shape(asked, chosen.mode))
        tables = asked.tables.replace(os.pathsep, "\n")
        targets = "\n".join(asked.targets or ())
        problem = f"no row of these tables is for {family} on these targets"
        raise InputError(problem, {"tables": tables, "targets": targets})
    return answer(chosen, summary)


def _parser(family: str) -> "ArgumentParser":
    from aot_build.arguments import Parser
    from aot_build.asking import add_build_options

    parser = Parser(
        prog=f"python -m aot_kernels.{family}",
        description=f"Compile the kernels of {family}: those that are declared, for the rows that "
        "ship; or for the rows of tuned tables those that tables feed.",
    )
    here = "default: this folder, where it declares aot_kernels; else the checkout of this driver"
    parser.add_argument("--project", metavar="DIR", help=here)
    tables = "tuned tables to take rows from, instead of those that ship"
    parser.add_argument("--csv", nargs="+", action="extend", metavar="FILE", help=tables)
    add_build_options(parser)
    return parser
