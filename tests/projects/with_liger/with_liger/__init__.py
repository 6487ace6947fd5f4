"""liger-kernel's operations, without compiling at run time."""

from with_liger import _aot

_aot.install()
