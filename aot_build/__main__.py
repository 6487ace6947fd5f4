"""`python -m aot_build`: the fast path first, with nothing imported; else the command line.

Kept free of imports: `build` on a tree in which nothing changed ends here.
"""

import sys

from aot_build.fastpath import nothing_to_do

if __name__ == "__main__":
    if nothing_to_do(sys.argv[1:]):
        sys.exit(0)
    from aot_build.cli import main

    sys.exit(main(sys.argv[1:]))
