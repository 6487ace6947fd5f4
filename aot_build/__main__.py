"""`aot-build`, `python -m aot_build`: the fast path first, with nothing imported; else the CLI."""

import os
import sys

from aot_build.fastpath import nothing_to_do


def main() -> int:
    """Run the command line of this process. Returns the exit status."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_streams()
    if nothing_to_do(sys.argv[1:]):
        # Nothing is open and nothing is left to say: taking the interpreter down in order would
        # cost a tenth of the whole.
        os._exit(0)
    from aot_build import cli

    return cli.main(sys.argv[1:])


def _open_streams() -> None:
    """Started with a standard stream closed, read and write nothing there: the next file that is
    opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode))


if __name__ == "__main__":
    sys.exit(main())
