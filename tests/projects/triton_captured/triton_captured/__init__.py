"""Row sums, whose kernels are built ahead of time and launched in the ordinary way."""

from triton_captured import _aot

_aot.install()
