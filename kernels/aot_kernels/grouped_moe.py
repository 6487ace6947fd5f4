"""The operator `aot_kernels.grouped_moe`; `python -m aot_kernels.grouped_moe` compiles its kernels.

Imported, this module is the operator: it can be called.
"""

import sys

from aot_kernels.drivers.operator import Operator

if __name__ == "__main__":
    from aot_kernels.drivers.program import main

    sys.exit(main("grouped_moe", sys.argv[1:]))

sys.modules[__name__].__class__ = Operator
