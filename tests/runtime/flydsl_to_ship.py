"""The module of a package with a FlyDSL kernel: the smallest that there is."""

import flydsl.compiler as flyc
import flydsl.expr as fx


@flyc.kernel
def idle(A: fx.Tensor):
    fx.thread_idx.x  # noqa: B018


@flyc.jit
def launch(A: fx.Tensor, stream: fx.Stream = fx.Stream(None)):  # noqa: B008
    idle(A).launch(grid=(1, 1, 1), block=(64, 1, 1), stream=stream)
