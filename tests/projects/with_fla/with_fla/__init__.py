"""fla-core's gated delta rule, without compiling at run time."""

from with_fla import _aot

_aot.install()
