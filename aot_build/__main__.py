"""`aot-build`, `python -m aot_build`: the fast path first, with nothing imported; else the CLI."""

import os
import sys

from aot_build.fastpath import nothing_to_do, open_streams


def main() -> int:
    """Run the command line of this process. Returns the exit status."""
    open_streams()
    if nothing_to_do(sys.argv[1:]):
        # Nothing is open and nothing is left to say: taking the interpreter down in order would
        # cost a tenth of the whole.
        os._exit(0)
    from aot_build import cli

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
